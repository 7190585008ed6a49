// RUN: axonc opt %s --split-input-file --pass-pipeline "auto-cast{mode=matmult type=bf16}"

// Operands are converted once, before reshapes; the result stays f32.
// CHECK-LABEL: func.func @main
// CHECK-DAG:     [[X:%.+]] = "neuron.convert"(%arg0) : (tensor<2x4x8xf32>) -> tensor<2x4x8xbf16>
// CHECK-DAG:     [[W:%.+]] = "neuron.convert"(%arg1) : (tensor<8x8xf32>) -> tensor<8x8xbf16>
// CHECK:         [[R:%.+]] = "neuron.reshape"([[X]]) : (tensor<2x4x8xbf16>) -> tensor<8x8xbf16>
// CHECK:         "neuron.dot"([[R]], [[W]])
// CHECK:         -> tensor<8x8xf32>
// CHECK-NOT:     "neuron.convert"
// CHECK:         "neuron.dot"([[R]], [[R]])
func.func @main(%x: tensor<2x4x8xf32>, %w: tensor<8x8xf32>) -> (tensor<8x8xf32>, tensor<8x8xf32>) {
  %0 = "neuron.reshape"(%x) : (tensor<2x4x8xf32>) -> tensor<8x8xf32>
  %1 = "neuron.dot"(%0, %w) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]} : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  %2 = "neuron.dot"(%0, %0) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]} : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  return %1, %2 : tensor<8x8xf32>, tensor<8x8xf32>
}
