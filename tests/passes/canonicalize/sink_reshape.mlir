// RUN: axonc opt %s --split-input-file --pass-pipeline "sink-reshape"

// The bias is added in the shape of the dot; a splat follows; the reshape comes last.
// CHECK-LABEL: func.func @main
// CHECK:         [[DOT:%.+]] = "neuron.dot"
// CHECK:         [[B:%.+]] = "neuron.broadcast"(%arg2) {dims = [1]} : (tensor<64xf32>) -> tensor<128x64xf32>
// CHECK:         [[ADD:%.+]] = "neuron.add"([[DOT]], [[B]]) : (tensor<128x64xf32>
// CHECK:         "neuron.multiply"([[ADD]], {{%.+}}) : (tensor<128x64xf32>
// CHECK:         "neuron.reshape"({{.*}}) : (tensor<128x64xf32>) -> tensor<1x128x64xf32>
func.func @main(%x: tensor<128x8xf32>, %w: tensor<8x64xf32>, %b: tensor<64xf32>) -> tensor<1x128x64xf32> {
  %two = "neuron.constant"() {value = dense<2.0> : tensor<1x128x64xf32>} : () -> tensor<1x128x64xf32>
  %0 = "neuron.dot"(%x, %w) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]} : (tensor<128x8xf32>, tensor<8x64xf32>) -> tensor<128x64xf32>
  %1 = "neuron.reshape"(%0) : (tensor<128x64xf32>) -> tensor<1x128x64xf32>
  %2 = "neuron.broadcast"(%b) {dims = [2]} : (tensor<64xf32>) -> tensor<1x128x64xf32>
  %3 = "neuron.add"(%1, %2) : (tensor<1x128x64xf32>, tensor<1x128x64xf32>) -> tensor<1x128x64xf32>
  %4 = "neuron.multiply"(%3, %two) : (tensor<1x128x64xf32>, tensor<1x128x64xf32>) -> tensor<1x128x64xf32>
  return %4 : tensor<1x128x64xf32>
}

// -----
// A reshape read twice stays where it is.
// CHECK-LABEL: func.func @main
// CHECK:         "neuron.dot"
// CHECK:         "neuron.reshape"
// CHECK:         "neuron.exp"{{.*}} : (tensor<1x128x64xf32>)
func.func @main(%x: tensor<128x8xf32>, %w: tensor<8x64xf32>) -> (tensor<1x128x64xf32>, tensor<1x128x64xf32>) {
  %0 = "neuron.dot"(%x, %w) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]} : (tensor<128x8xf32>, tensor<8x64xf32>) -> tensor<128x64xf32>
  %1 = "neuron.reshape"(%0) : (tensor<128x64xf32>) -> tensor<1x128x64xf32>
  %2 = "neuron.exp"(%1) : (tensor<1x128x64xf32>) -> tensor<1x128x64xf32>
  return %1, %2 : tensor<1x128x64xf32>, tensor<1x128x64xf32>
}
