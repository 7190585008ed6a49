// RUN: axonc opt %s --split-input-file --pass-pipeline "split-reductions{row-bytes=4096}"

// 64 x 32 x 4 numbers of float32 for each result: the largest dim but the innermost one is last.
// CHECK-LABEL: func.func @groups
// CHECK-NEXT:  %[[P:.*]] = "neuron.reduce"(%arg0) {dims = [2, 4], kind = "sum"}
// CHECK-SAME:    -> tensor<1x64x8xf32>
// CHECK-NEXT:  %[[R:.*]] = "neuron.reduce"(%[[P]]) {dims = [1], kind = "sum"}
// CHECK-NEXT:  return %[[R]]
func.func @groups(%x: tensor<1x64x32x8x4xf32>) -> tensor<1x8xf32> {
  %y = "neuron.reduce"(%x) {dims = [1, 2, 4], kind = "sum"}
    : (tensor<1x64x32x8x4xf32>) -> tensor<1x8xf32>
  return %y : tensor<1x8xf32>
}

// -----

// Sums of bf16 are rounded once.
// CHECK-LABEL: func.func @narrow
// CHECK-NEXT:  %[[W:.*]] = "neuron.convert"(%arg0)
// CHECK-NEXT:  %[[P:.*]] = "neuron.reduce"(%[[W]]) {dims = [2]
// CHECK-NEXT:  %[[R:.*]] = "neuron.reduce"(%[[P]]) {dims = [1]
// CHECK-NEXT:  %[[N:.*]] = "neuron.convert"(%[[R]])
// CHECK-SAME:    -> tensor<8xbf16>
func.func @narrow(%x: tensor<8x64x64xbf16>) -> tensor<8xbf16> {
  %y = "neuron.reduce"(%x) {dims = [1, 2], kind = "sum"} : (tensor<8x64x64xbf16>) -> tensor<8xbf16>
  return %y : tensor<8xbf16>
}

// -----

// A maximum is one of the numbers: nothing is rounded.
// CHECK-LABEL: func.func @maximum
// CHECK-NOT:   neuron.convert
// CHECK:       "neuron.reduce"(%arg0) {dims = [2], kind = "max"}
func.func @maximum(%x: tensor<8x64x64xbf16>) -> tensor<8xbf16> {
  %y = "neuron.reduce"(%x) {dims = [1, 2], kind = "max"} : (tensor<8x64x64xbf16>) -> tensor<8xbf16>
  return %y : tensor<8xbf16>
}

// -----

// Left alone: short rows.
// CHECK-LABEL: func.func @short
// CHECK-NEXT:  "neuron.reduce"(%arg0) {dims = [1, 2]
func.func @short(%x: tensor<8x16x64xf32>) -> tensor<8xf32> {
  %y = "neuron.reduce"(%x) {dims = [1, 2], kind = "sum"} : (tensor<8x16x64xf32>) -> tensor<8xf32>
  return %y : tensor<8xf32>
}

// -----

// Left alone: everything is reduced.
// CHECK-LABEL: func.func @everything
// CHECK-NEXT:  "neuron.reduce"(%arg0) {dims = [0, 1, 2]
func.func @everything(%x: tensor<8x64x64xf32>) -> tensor<f32> {
  %y = "neuron.reduce"(%x) {dims = [0, 1, 2], kind = "sum"} : (tensor<8x64x64xf32>) -> tensor<f32>
  return %y : tensor<f32>
}

// -----

// Left alone: one dim of more than one element.
// CHECK-LABEL: func.func @one_dim
// CHECK-NEXT:  "neuron.reduce"(%arg0) {dims = [1, 2]
func.func @one_dim(%x: tensor<8x1x4096xf32>) -> tensor<8xf32> {
  %y = "neuron.reduce"(%x) {dims = [1, 2], kind = "sum"} : (tensor<8x1x4096xf32>) -> tensor<8xf32>
  return %y : tensor<8xf32>
}
