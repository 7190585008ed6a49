// RUN: axonc opt %s --split-input-file --pass-pipeline "merge-views"

// A broadcast of a broadcast of a reshape reads the vector itself.
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    "neuron.broadcast"(%arg0) {dims = [2]} : (tensor<8xf32>) -> tensor<2x4x8xf32>
// CHECK-NEXT:    return
func.func @main(%b: tensor<8xf32>) -> tensor<2x4x8xf32> {
  %0 = "neuron.reshape"(%b) : (tensor<8xf32>) -> tensor<1x1x8xf32>
  %1 = "neuron.broadcast"(%0) {dims = [0, 1, 2]} : (tensor<1x1x8xf32>) -> tensor<1x4x8xf32>
  %2 = "neuron.broadcast"(%1) {dims = [0, 1, 2]} : (tensor<1x4x8xf32>) -> tensor<2x4x8xf32>
  return %2 : tensor<2x4x8xf32>
}

// -----
// Broadcasts that repeat nothing and transposes of size-1 dims are reshapes; chains of reshapes are one.
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    "neuron.reshape"(%arg0) : (tensor<4x8xf32>) -> tensor<32xf32>
// CHECK-NEXT:    return
func.func @main(%x: tensor<4x8xf32>) -> tensor<32xf32> {
  %0 = "neuron.broadcast"(%x) {dims = [0, 2]} : (tensor<4x8xf32>) -> tensor<4x1x8xf32>
  %1 = "neuron.transpose"(%0) {permutation = [1, 0, 2]} : (tensor<4x1x8xf32>) -> tensor<1x4x8xf32>
  %2 = "neuron.reshape"(%1) : (tensor<1x4x8xf32>) -> tensor<32xf32>
  return %2 : tensor<32xf32>
}

// -----
// Two transposes that undo each other vanish.
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    return %arg0
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = "neuron.transpose"(%x) {permutation = [1, 0]} : (tensor<4x8xf32>) -> tensor<8x4xf32>
  %1 = "neuron.transpose"(%0) {permutation = [1, 0]} : (tensor<8x4xf32>) -> tensor<4x8xf32>
  return %1 : tensor<4x8xf32>
}

// -----
// A reshape between a transpose and a broadcast may really move data: left alone.
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    "neuron.transpose"
// CHECK-NEXT:    "neuron.reshape"
// CHECK-NEXT:    "neuron.broadcast"
func.func @main(%x: tensor<4x8xf32>) -> tensor<2x32xf32> {
  %0 = "neuron.transpose"(%x) {permutation = [1, 0]} : (tensor<4x8xf32>) -> tensor<8x4xf32>
  %1 = "neuron.reshape"(%0) : (tensor<8x4xf32>) -> tensor<32xf32>
  %2 = "neuron.broadcast"(%1) {dims = [1]} : (tensor<32xf32>) -> tensor<2x32xf32>
  return %2 : tensor<2x32xf32>
}
