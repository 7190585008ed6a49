// RUN: axonc opt %s --split-input-file --pass-pipeline "plan-casts{mode=matmult type=bf16 weight-dtype=fp8_e4m3 overrides=second=fp32;third=fp16/int8}"

// The default of the options; overrides by name; a storage type is for weights only.
// CHECK-LABEL: func.func @main
// CHECK:         "neuron.gather_rows"(%arg0, %arg2) {cast.compute = "bf16", cast.weight = "fp8_e4m3"}
// CHECK:         "neuron.dot"
// CHECK-NEXT:    cast.compute = "bf16", cast.weight = "fp8_e4m3"
// CHECK:         "neuron.dot"
// CHECK-NEXT:    cast.compute = "fp32", cast.weight = "same"
// CHECK:         "neuron.dot"
// CHECK-NEXT:    cast.compute = "fp16", cast.weight = "int8"
// CHECK:         "neuron.dot"
// CHECK-NEXT:    cast.compute = "bf16", cast.weight = "same"
func.func @main(%t: tensor<16x8xf32> {neuron.name = "t", neuron.weight}, %w: tensor<8x8xf32> {neuron.name = "w", neuron.weight}, %i: tensor<8xi32>) -> tensor<8x8xf32> {
  %0 = "neuron.gather_rows"(%t, %i) : (tensor<16x8xf32>, tensor<8xi32>) -> tensor<8x8xf32>
  %1 = "neuron.dot"(%0, %w) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]} : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  %2 = "neuron.dot"(%1, %w) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]} : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32> loc("second")
  %3 = "neuron.dot"(%2, %w) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]} : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32> loc("third")
  %4 = "neuron.dot"(%3, %3) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]} : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  return %4 : tensor<8x8xf32>
}

// -----

// Layers that are one block are taken apart before: an error, not a guess.
// CHECK: error: neuron.repeat: casts are chosen layer by layer, and the layers are one block
func.func @main(%x: tensor<4xf32>, %a: tensor<4xf32>, %b: tensor<4xf32>) -> tensor<4xf32> {
  %0 = "neuron.repeat"(%x, %a, %b) {callee = @block_0, carried = 1, count = 2, invariant = 0, operandSegmentSizes = array<i32: 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>, resultSegmentSizes = array<i32: 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>} : (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
func.func private @block_0(%x: tensor<4xf32>, %w: tensor<4xf32>) -> tensor<4xf32> {
  %0 = "neuron.add"(%x, %w) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
