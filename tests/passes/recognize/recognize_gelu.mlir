// RUN: axonc opt %s --split-input-file --pass-pipeline "recognize-gelu"

// CHECK-LABEL: func.func @main
// CHECK-NEXT:    %0 = "neuron.gelu"(%arg0) : (tensor<4xf32>) -> tensor<4xf32>
// CHECK-NEXT:    return %0
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %half = "neuron.constant"() {value = dense<0.5> : tensor<4xf32>} : () -> tensor<4xf32>
  %one = "neuron.constant"() {value = dense<1.0> : tensor<4xf32>} : () -> tensor<4xf32>
  %root = "neuron.constant"() {value = dense<0.707106769> : tensor<4xf32>} : () -> tensor<4xf32>
  %0 = "neuron.multiply"(%root, %x) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %1 = "neuron.erf"(%0) : (tensor<4xf32>) -> tensor<4xf32>
  %2 = "neuron.add"(%1, %one) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %3 = "neuron.multiply"(%x, %2) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %4 = "neuron.multiply"(%half, %3) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %4 : tensor<4xf32>
}

// -----
// One constant off by a percent: not gelu.
// CHECK-LABEL: func.func @main
// CHECK:         "neuron.erf"
// CHECK-NOT:     "neuron.gelu"
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %half = "neuron.constant"() {value = dense<0.5> : tensor<4xf32>} : () -> tensor<4xf32>
  %one = "neuron.constant"() {value = dense<1.0> : tensor<4xf32>} : () -> tensor<4xf32>
  %root = "neuron.constant"() {value = dense<0.7> : tensor<4xf32>} : () -> tensor<4xf32>
  %0 = "neuron.multiply"(%root, %x) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %1 = "neuron.erf"(%0) : (tensor<4xf32>) -> tensor<4xf32>
  %2 = "neuron.add"(%1, %one) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %3 = "neuron.multiply"(%x, %2) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %4 = "neuron.multiply"(%half, %3) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %4 : tensor<4xf32>
}

// -----
// A cone over two values is left alone.
// CHECK-LABEL: func.func @main
// CHECK-NOT:     "neuron.gelu"
func.func @main(%x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<4xf32> {
  %half = "neuron.constant"() {value = dense<0.5> : tensor<4xf32>} : () -> tensor<4xf32>
  %one = "neuron.constant"() {value = dense<1.0> : tensor<4xf32>} : () -> tensor<4xf32>
  %root = "neuron.constant"() {value = dense<0.707106769> : tensor<4xf32>} : () -> tensor<4xf32>
  %0 = "neuron.multiply"(%root, %x) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %1 = "neuron.erf"(%0) : (tensor<4xf32>) -> tensor<4xf32>
  %2 = "neuron.add"(%1, %one) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %3 = "neuron.multiply"(%y, %2) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %4 = "neuron.multiply"(%half, %3) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %4 : tensor<4xf32>
}
