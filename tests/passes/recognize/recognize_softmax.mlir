// RUN: axonc opt %s --split-input-file --pass-pipeline "recognize-softmax"

// CHECK-LABEL: func.func @main
// CHECK-NEXT:    %0 = "neuron.softmax"(%arg0) {axis = 1 : i64}
// CHECK-NEXT:    return %0
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = "neuron.reduce"(%x) {kind = "max", dims = [1]} : (tensor<4x8xf32>) -> tensor<4xf32>
  %1 = "neuron.broadcast"(%0) {dims = [0]} : (tensor<4xf32>) -> tensor<4x8xf32>
  %2 = "neuron.subtract"(%x, %1) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %3 = "neuron.exp"(%2) : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %4 = "neuron.reduce"(%3) {kind = "sum", dims = [1]} : (tensor<4x8xf32>) -> tensor<4xf32>
  %5 = "neuron.reciprocal"(%4) : (tensor<4xf32>) -> tensor<4xf32>
  %6 = "neuron.broadcast"(%5) {dims = [0]} : (tensor<4xf32>) -> tensor<4x8xf32>
  %7 = "neuron.multiply"(%6, %3) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %7 : tensor<4x8xf32>
}

// -----
// Normalised by the sum over another dim: no softmax.
// CHECK-LABEL: func.func @main
// CHECK-NOT:     "neuron.softmax"
func.func @main(%x: tensor<8x8xf32>) -> tensor<8x8xf32> {
  %3 = "neuron.exp"(%x) : (tensor<8x8xf32>) -> tensor<8x8xf32>
  %4 = "neuron.reduce"(%3) {kind = "sum", dims = [1]} : (tensor<8x8xf32>) -> tensor<8xf32>
  %6 = "neuron.broadcast"(%4) {dims = [1]} : (tensor<8xf32>) -> tensor<8x8xf32>
  %7 = "neuron.divide"(%3, %6) : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  return %7 : tensor<8x8xf32>
}
