// RUN: axonc opt %s --split-input-file --pass-pipeline "recognize-layer-norm"

// rms norm: x * rsqrt(mean(x * x) + epsilon) * gamma
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    %0 = "neuron.rms_norm"(%arg0, %arg1) {epsilon = 9.765625E-4 : f64}
// CHECK-NEXT:    return %0
func.func @main(%x: tensor<4x8xf32>, %g: tensor<8xf32>) -> tensor<4x8xf32> {
  %eighth = "neuron.constant"() {value = dense<0.125> : tensor<4xf32>} : () -> tensor<4xf32>
  %epsilon = "neuron.constant"() {value = dense<0.0009765625> : tensor<4xf32>} : () -> tensor<4xf32>
  %0 = "neuron.multiply"(%x, %x) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %1 = "neuron.reduce"(%0) {kind = "sum", dims = [1]} : (tensor<4x8xf32>) -> tensor<4xf32>
  %2 = "neuron.multiply"(%1, %eighth) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %3 = "neuron.add"(%2, %epsilon) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %4 = "neuron.rsqrt"(%3) : (tensor<4xf32>) -> tensor<4xf32>
  %5 = "neuron.broadcast"(%4) {dims = [0]} : (tensor<4xf32>) -> tensor<4x8xf32>
  %6 = "neuron.multiply"(%x, %5) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %7 = "neuron.broadcast"(%g) {dims = [1]} : (tensor<8xf32>) -> tensor<4x8xf32>
  %8 = "neuron.multiply"(%6, %7) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %8 : tensor<4x8xf32>
}

// -----
// The mean of seven of eight elements: no norm.
// CHECK-LABEL: func.func @main
// CHECK:         "neuron.rsqrt"
// CHECK-NOT:     _norm"
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %seventh = "neuron.constant"() {value = dense<0.142857149> : tensor<4xf32>} : () -> tensor<4xf32>
  %0 = "neuron.multiply"(%x, %x) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %1 = "neuron.reduce"(%0) {kind = "sum", dims = [1]} : (tensor<4x8xf32>) -> tensor<4xf32>
  %2 = "neuron.multiply"(%1, %seventh) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %4 = "neuron.rsqrt"(%2) : (tensor<4xf32>) -> tensor<4xf32>
  %5 = "neuron.broadcast"(%4) {dims = [0]} : (tensor<4xf32>) -> tensor<4x8xf32>
  %6 = "neuron.multiply"(%x, %5) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %6 : tensor<4x8xf32>
}
