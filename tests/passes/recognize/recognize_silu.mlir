// RUN: axonc opt %s --split-input-file --pass-pipeline "recognize-silu"

// CHECK-LABEL: func.func @main
// CHECK-NEXT:    [[L:%.+]] = "neuron.logistic"(%arg0)
// CHECK-NEXT:    [[S:%.+]] = "neuron.silu"(%arg0)
// CHECK-NEXT:    return [[L]], [[S]]
func.func @main(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %one = "neuron.constant"() {value = dense<1.0> : tensor<4xf32>} : () -> tensor<4xf32>
  %0 = "neuron.negate"(%x) : (tensor<4xf32>) -> tensor<4xf32>
  %1 = "neuron.exp"(%0) : (tensor<4xf32>) -> tensor<4xf32>
  %2 = "neuron.add"(%one, %1) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %3 = "neuron.divide"(%one, %2) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %4 = "neuron.multiply"(%x, %3) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %3, %4 : tensor<4xf32>, tensor<4xf32>
}
