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
