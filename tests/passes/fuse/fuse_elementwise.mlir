// RUN: axonc opt %s --split-input-file --pass-pipeline "fuse-elementwise"

// One graph; the broadcast and the splat are inside, the vector is an input.
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    "neuron.fused"(%arg0, %arg1) ({
// CHECK-NEXT:    ^bb0(%arg2: tensor<4x8xf32>, %arg3: tensor<8xf32>):
// CHECK-NEXT:      "neuron.broadcast"(%arg3)
// CHECK-NEXT:      "neuron.add"
// CHECK-NEXT:      "neuron.constant"
// CHECK-NEXT:      "neuron.multiply"
// CHECK-NEXT:      "neuron.yield"
// CHECK-NEXT:    })
// CHECK-NEXT:    return
func.func @main(%x: tensor<4x8xf32>, %b: tensor<8xf32>) -> tensor<4x8xf32> {
  %two = "neuron.constant"() {value = dense<2.0> : tensor<4x8xf32>} : () -> tensor<4x8xf32>
  %0 = "neuron.broadcast"(%b) {dims = [1]} : (tensor<8xf32>) -> tensor<4x8xf32>
  %1 = "neuron.add"(%x, %0) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %2 = "neuron.multiply"(%1, %two) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %2 : tensor<4x8xf32>
}

// -----
// What two groups read is computed once, in a group of its own.
// CHECK-LABEL: func.func @main
// CHECK:         [[E:%.+]] = "neuron.fused"(%arg0)
// CHECK:           "neuron.exp"
// CHECK:         "neuron.fused"([[E]])
// CHECK:           "neuron.negate"
// CHECK:         "neuron.fused"([[E]])
// CHECK:           "neuron.sqrt"
func.func @main(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %0 = "neuron.exp"(%x) : (tensor<4xf32>) -> tensor<4xf32>
  %1 = "neuron.negate"(%0) : (tensor<4xf32>) -> tensor<4xf32>
  %2 = "neuron.sqrt"(%0) : (tensor<4xf32>) -> tensor<4xf32>
  return %1, %2 : tensor<4xf32>, tensor<4xf32>
}

// -----
// A diamond inside one group stays one group.
// CHECK-LABEL: func.func @main
// CHECK-COUNT-1: "neuron.fused"
// CHECK-NOT:     "neuron.fused"
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = "neuron.exp"(%x) : (tensor<4xf32>) -> tensor<4xf32>
  %1 = "neuron.negate"(%0) : (tensor<4xf32>) -> tensor<4xf32>
  %2 = "neuron.multiply"(%0, %1) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %2 : tensor<4xf32>
}

// -----
// A constant that is no splat, and a broadcast that permutes, are inputs.
// CHECK-LABEL: func.func @main
// CHECK:         [[C:%.+]] = "neuron.constant"
// CHECK:         [[B:%.+]] = "neuron.broadcast"
// CHECK:         "neuron.fused"([[C]], [[B]])
func.func @main(%x: tensor<2x1xf32>) -> tensor<2x2xf32> {
  %c = "neuron.constant"() {value = dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>} : () -> tensor<2x2xf32>
  %0 = "neuron.broadcast"(%x) {dims = [1, 0]} : (tensor<2x1xf32>) -> tensor<2x2xf32>
  %1 = "neuron.add"(%c, %0) : (tensor<2x2xf32>, tensor<2x2xf32>) -> tensor<2x2xf32>
  return %1 : tensor<2x2xf32>
}
