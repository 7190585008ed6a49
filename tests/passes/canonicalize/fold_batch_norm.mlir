// RUN: axonc opt %s --split-input-file --pass-pipeline "fold-batch-norm"

// ((x - mean) * inverse) * gamma + beta: scale and shift are computed on vectors.
// CHECK-LABEL: func.func @main
// CHECK:       [[C:%.+]] = "neuron.convolution"
// CHECK:       [[N:%.+]] = "neuron.negate"(%arg2)
// CHECK-NEXT:  [[S:%.+]] = "neuron.multiply"(%arg3, %arg4)
// CHECK-NEXT:  [[WS:%.+]] = "neuron.broadcast"([[S]]) {dims = [1]}
// CHECK-NEXT:  [[M:%.+]] = "neuron.multiply"([[C]], [[WS]])
// CHECK-NEXT:  [[P:%.+]] = "neuron.multiply"([[N]], [[S]])
// CHECK-NEXT:  [[T:%.+]] = "neuron.add"([[P]], %arg5)
// CHECK-NEXT:  [[WT:%.+]] = "neuron.broadcast"([[T]]) {dims = [1]}
// CHECK-NEXT:  [[R:%.+]] = "neuron.add"([[M]], [[WT]])
// CHECK-NEXT:  return [[R]]
func.func @main(%x: tensor<1x3x4xf32>, %w: tensor<8x3x1xf32>, %m: tensor<8xf32>, %i: tensor<8xf32>, %g: tensor<8xf32>, %b: tensor<8xf32>) -> tensor<1x8x4xf32> {
  %c = "neuron.convolution"(%x, %w) ({}) {lhs_dims = [0, 1, 2], rhs_dims = [0, 1, 2], result_dims = [0, 1, 2], groups = 1 : i64, strides = [1], low = [0], high = [0], lhs_dilation = [1], rhs_dilation = [1], reversal = [0]} : (tensor<1x3x4xf32>, tensor<8x3x1xf32>) -> tensor<1x8x4xf32>
  %0 = "neuron.broadcast"(%m) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %1 = "neuron.subtract"(%c, %0) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  %2 = "neuron.broadcast"(%i) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %3 = "neuron.multiply"(%1, %2) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  %4 = "neuron.broadcast"(%g) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %5 = "neuron.multiply"(%3, %4) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  %6 = "neuron.broadcast"(%b) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %7 = "neuron.add"(%5, %6) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  return %7 : tensor<1x8x4xf32>
}

// -----

// Divisions and a difference the other way round: b - (x + m) / g.
// CHECK-LABEL: func.func @main
// CHECK:       [[C:%.+]] = "neuron.convolution"
// CHECK-DAG:   [[R:%.+]] = "neuron.reciprocal"(%arg3)
// CHECK-DAG:   [[S:%.+]] = "neuron.multiply"([[R]],
// CHECK:       [[P:%.+]] = "neuron.multiply"(%arg2, [[S]])
// CHECK-NEXT:  "neuron.add"([[P]], %arg4)
// CHECK-NOT:   "neuron.divide"
func.func @main(%x: tensor<1x3x4xf32>, %w: tensor<8x3x1xf32>, %m: tensor<8xf32>, %g: tensor<8xf32>, %b: tensor<8xf32>) -> tensor<1x8x4xf32> {
  %c = "neuron.convolution"(%x, %w) ({}) {lhs_dims = [0, 1, 2], rhs_dims = [0, 1, 2], result_dims = [0, 1, 2], groups = 1 : i64, strides = [1], low = [0], high = [0], lhs_dilation = [1], rhs_dilation = [1], reversal = [0]} : (tensor<1x3x4xf32>, tensor<8x3x1xf32>) -> tensor<1x8x4xf32>
  %0 = "neuron.broadcast"(%m) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %1 = "neuron.add"(%0, %c) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  %2 = "neuron.broadcast"(%g) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %3 = "neuron.divide"(%1, %2) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  %4 = "neuron.broadcast"(%b) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %5 = "neuron.subtract"(%4, %3) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  return %5 : tensor<1x8x4xf32>
}

// -----

// A vector along another dim ends the chain; one multiplication and one addition are left alone.
// CHECK-LABEL: func.func @main
// CHECK-NOT:   "neuron.negate"
// CHECK:       "neuron.multiply"
// CHECK-SAME:  tensor<1x8x4xf32>
// CHECK:       "neuron.add"
// CHECK:       "neuron.subtract"
// CHECK-SAME:  tensor<1x8x4xf32>
func.func @main(%x: tensor<1x3x4xf32>, %w: tensor<8x3x1xf32>, %g: tensor<8xf32>, %b: tensor<8xf32>, %o: tensor<4xf32>) -> tensor<1x8x4xf32> {
  %c = "neuron.convolution"(%x, %w) ({}) {lhs_dims = [0, 1, 2], rhs_dims = [0, 1, 2], result_dims = [0, 1, 2], groups = 1 : i64, strides = [1], low = [0], high = [0], lhs_dilation = [1], rhs_dilation = [1], reversal = [0]} : (tensor<1x3x4xf32>, tensor<8x3x1xf32>) -> tensor<1x8x4xf32>
  %0 = "neuron.broadcast"(%g) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %1 = "neuron.multiply"(%c, %0) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  %2 = "neuron.broadcast"(%b) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %3 = "neuron.add"(%1, %2) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  %4 = "neuron.broadcast"(%o) {dims = [2]} : (tensor<4xf32>) -> tensor<1x8x4xf32>
  %5 = "neuron.subtract"(%3, %4) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  return %5 : tensor<1x8x4xf32>
}

// -----

// A residual is added before the shift.
// CHECK-LABEL: func.func @main
// CHECK:       [[M:%.+]] = "neuron.multiply"
// CHECK-SAME:  tensor<1x8x4xf32>
// CHECK-NEXT:  [[A:%.+]] = "neuron.add"([[M]], %arg4)
// CHECK:       "neuron.add"([[A]],
func.func @main(%x: tensor<1x3x4xf32>, %w: tensor<8x3x1xf32>, %m: tensor<8xf32>, %g: tensor<8xf32>, %r: tensor<1x8x4xf32>) -> tensor<1x8x4xf32> {
  %c = "neuron.convolution"(%x, %w) ({}) {lhs_dims = [0, 1, 2], rhs_dims = [0, 1, 2], result_dims = [0, 1, 2], groups = 1 : i64, strides = [1], low = [0], high = [0], lhs_dilation = [1], rhs_dilation = [1], reversal = [0]} : (tensor<1x3x4xf32>, tensor<8x3x1xf32>) -> tensor<1x8x4xf32>
  %0 = "neuron.broadcast"(%m) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %1 = "neuron.subtract"(%c, %0) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  %2 = "neuron.broadcast"(%g) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %3 = "neuron.multiply"(%1, %2) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  %4 = "neuron.add"(%r, %3) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  return %4 : tensor<1x8x4xf32>
}
