// RUN: axonc opt %s --split-input-file --pass-pipeline "fuse-elementwise,fuse-dot-epilogue"

// The bias and the activation move into the dot.
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    "neuron.dot"(%arg0, %arg1, %arg2) ({
// CHECK-NEXT:    ^bb0(%arg3: tensor<4x8xf32>, %arg4: tensor<8xf32>):
// CHECK-NEXT:      "neuron.broadcast"(%arg4)
// CHECK-NEXT:      "neuron.add"
// CHECK-NEXT:      "neuron.gelu"
// CHECK-NEXT:      "neuron.yield"
func.func @main(%x: tensor<4x8xbf16>, %w: tensor<8x8xbf16>, %b: tensor<8xf32>) -> tensor<4x8xf32> {
  %0 = "neuron.dot"(%x, %w) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]} : (tensor<4x8xbf16>, tensor<8x8xbf16>) -> tensor<4x8xf32>
  %1 = "neuron.broadcast"(%b) {dims = [1]} : (tensor<8xf32>) -> tensor<4x8xf32>
  %2 = "neuron.add"(%0, %1) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %3 = "neuron.gelu"(%2) : (tensor<4x8xf32>) -> tensor<4x8xf32>
  return %3 : tensor<4x8xf32>
}

// -----
// A bf16 result is rounded before the epilogue goes on.
// CHECK-LABEL: func.func @main
// CHECK:         ^bb0([[ACC:%.+]]: tensor<4x8xf32>):
// CHECK-NEXT:      [[R:%.+]] = "neuron.convert"([[ACC]]) : (tensor<4x8xf32>) -> tensor<4x8xbf16>
// CHECK-NEXT:      "neuron.exp"([[R]])
func.func @main(%x: tensor<4x8xbf16>, %w: tensor<8x8xbf16>) -> tensor<4x8xbf16> {
  %0 = "neuron.dot"(%x, %w) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]} : (tensor<4x8xbf16>, tensor<8x8xbf16>) -> tensor<4x8xbf16>
  %1 = "neuron.exp"(%0) : (tensor<4x8xbf16>) -> tensor<4x8xbf16>
  return %1 : tensor<4x8xbf16>
}

// -----
// A dot read twice keeps its result.
// CHECK-LABEL: func.func @main
// CHECK:         "neuron.dot"(%arg0, %arg1) ({
// CHECK-NEXT:    })
// CHECK:         "neuron.fused"
func.func @main(%x: tensor<4x8xf32>, %w: tensor<8x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %0 = "neuron.dot"(%x, %w) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]} : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  %1 = "neuron.exp"(%0) : (tensor<4x8xf32>) -> tensor<4x8xf32>
  return %0, %1 : tensor<4x8xf32>, tensor<4x8xf32>
}
