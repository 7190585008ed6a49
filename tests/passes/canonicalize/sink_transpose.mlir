// RUN: axonc opt %s --split-input-file --pass-pipeline "sink-transpose"

// Attention scores: the head transposes and the transpose of the keys become dot dims.
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    "neuron.dot"(%arg0, %arg1)
// CHECK:         lhs_batch = [0, 2], lhs_contract = [3]
// CHECK-SAME:    rhs_batch = [0, 2], rhs_contract = [3]
func.func @main(%q: tensor<1x16x4x8xf32>, %k: tensor<1x16x4x8xf32>) -> tensor<1x4x16x16xf32> {
  %0 = "neuron.transpose"(%q) {permutation = [0, 2, 1, 3]} : (tensor<1x16x4x8xf32>) -> tensor<1x4x16x8xf32>
  %1 = "neuron.transpose"(%k) {permutation = [0, 2, 1, 3]} : (tensor<1x16x4x8xf32>) -> tensor<1x4x16x8xf32>
  %2 = "neuron.transpose"(%1) {permutation = [0, 1, 3, 2]} : (tensor<1x4x16x8xf32>) -> tensor<1x4x8x16xf32>
  %3 = "neuron.dot"(%0, %2) ({}) {lhs_batch = [0, 1], lhs_contract = [3], rhs_batch = [0, 1], rhs_contract = [2]} : (tensor<1x4x16x8xf32>, tensor<1x4x8x16xf32>) -> tensor<1x4x16x16xf32>
  return %3 : tensor<1x4x16x16xf32>
}

// -----
// A transpose that changes the order of the free dims stays.
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    "neuron.transpose"
func.func @main(%x: tensor<2x3x8xf32>, %w: tensor<8x5xf32>) -> tensor<3x2x5xf32> {
  %0 = "neuron.transpose"(%x) {permutation = [1, 0, 2]} : (tensor<2x3x8xf32>) -> tensor<3x2x8xf32>
  %1 = "neuron.dot"(%0, %w) ({}) {lhs_batch = [], lhs_contract = [2], rhs_batch = [], rhs_contract = [0]} : (tensor<3x2x8xf32>, tensor<8x5xf32>) -> tensor<3x2x5xf32>
  return %1 : tensor<3x2x5xf32>
}
