// RUN: axonc opt %s --split-input-file --pass-pipeline "fold-batch-norm"

// ((x - mean) * inverse) * gamma + beta: the product of the two vectors is made first, and the mean is added negated.
// CHECK-LABEL: func.func @main
// CHECK:       [[C:%.+]] = "neuron.convolution"
// CHECK:       [[N:%.+]] = "neuron.negate"(%arg2)
// CHECK-NEXT:  [[B:%.+]] = "neuron.broadcast"([[N]]) {dims = [1]}
// CHECK-NEXT:  [[D:%.+]] = "neuron.add"([[C]], [[B]])
// CHECK:       [[S:%.+]] = "neuron.multiply"(%arg3, %arg4)
// CHECK-NEXT:  [[W:%.+]] = "neuron.broadcast"([[S]]) {dims = [1]}
// CHECK-NEXT:  [[M:%.+]] = "neuron.multiply"([[D]], [[W]])
// CHECK:       [[R:%.+]] = "neuron.add"([[M]],
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

// (x + m) * s is no x * s + m * s where x is near -m: left alone.
// CHECK-LABEL: func.func @main
// CHECK:       [[C:%.+]] = "neuron.convolution"
// CHECK:       [[A:%.+]] = "neuron.add"([[C]],
// CHECK:       [[M:%.+]] = "neuron.multiply"([[A]],
// CHECK:       return [[M]]
func.func @main(%x: tensor<1x3x4xf32>, %w: tensor<8x3x1xf32>, %m: tensor<8xf32>, %i: tensor<8xf32>, %g: tensor<8xf32>, %b: tensor<8xf32>) -> tensor<1x8x4xf32> {
  %c = "neuron.convolution"(%x, %w) ({}) {lhs_dims = [0, 1, 2], rhs_dims = [0, 1, 2], result_dims = [0, 1, 2], groups = 1 : i64, strides = [1], low = [0], high = [0], lhs_dilation = [1], rhs_dilation = [1], reversal = [0]} : (tensor<1x3x4xf32>, tensor<8x3x1xf32>) -> tensor<1x8x4xf32>
  %0 = "neuron.broadcast"(%m) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %1 = "neuron.add"(%c, %0) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  %2 = "neuron.broadcast"(%i) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %3 = "neuron.multiply"(%1, %2) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  return %3 : tensor<1x8x4xf32>
}

// -----

// A division by a vector stays one: it may be by zero, and a product with the inverse rounds twice.
// CHECK-LABEL: func.func @main
// CHECK-NOT:   "neuron.reciprocal"
// CHECK:       "neuron.divide"
// CHECK:       "neuron.multiply"
// CHECK:       return
func.func @main(%x: tensor<1x3x4xf32>, %w: tensor<8x3x1xf32>, %m: tensor<8xf32>, %i: tensor<8xf32>, %g: tensor<8xf32>, %b: tensor<8xf32>) -> tensor<1x8x4xf32> {
  %c = "neuron.convolution"(%x, %w) ({}) {lhs_dims = [0, 1, 2], rhs_dims = [0, 1, 2], result_dims = [0, 1, 2], groups = 1 : i64, strides = [1], low = [0], high = [0], lhs_dilation = [1], rhs_dilation = [1], reversal = [0]} : (tensor<1x3x4xf32>, tensor<8x3x1xf32>) -> tensor<1x8x4xf32>
  %0 = "neuron.broadcast"(%m) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %1 = "neuron.divide"(%c, %0) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  %2 = "neuron.broadcast"(%i) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %3 = "neuron.multiply"(%1, %2) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  return %3 : tensor<1x8x4xf32>
}

// -----

// The product in the middle is read by something else: left alone.
// CHECK-LABEL: func.func @main
// CHECK:       [[C:%.+]] = "neuron.convolution"
// CHECK:       [[A:%.+]] = "neuron.multiply"([[C]],
// CHECK:       [[B:%.+]] = "neuron.multiply"([[A]],
// CHECK:       "neuron.add"([[A]], [[B]])
func.func @main(%x: tensor<1x3x4xf32>, %w: tensor<8x3x1xf32>, %m: tensor<8xf32>, %i: tensor<8xf32>, %g: tensor<8xf32>, %b: tensor<8xf32>) -> tensor<1x8x4xf32> {
  %c = "neuron.convolution"(%x, %w) ({}) {lhs_dims = [0, 1, 2], rhs_dims = [0, 1, 2], result_dims = [0, 1, 2], groups = 1 : i64, strides = [1], low = [0], high = [0], lhs_dilation = [1], rhs_dilation = [1], reversal = [0]} : (tensor<1x3x4xf32>, tensor<8x3x1xf32>) -> tensor<1x8x4xf32>
  %0 = "neuron.broadcast"(%m) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %1 = "neuron.multiply"(%c, %0) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  %2 = "neuron.broadcast"(%i) {dims = [1]} : (tensor<8xf32>) -> tensor<1x8x4xf32>
  %3 = "neuron.multiply"(%1, %2) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  %4 = "neuron.add"(%1, %3) : (tensor<1x8x4xf32>, tensor<1x8x4xf32>) -> tensor<1x8x4xf32>
  return %4 : tensor<1x8x4xf32>
}
