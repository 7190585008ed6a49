// RUN: axonc opt %s --split-input-file --pass-pipeline "add-before-reduce"

// A bias and a residual that both cores hold are added before the sum, half of them on each core;
// that half is made early, apart from the product.
// CHECK-LABEL: func.func @main
// CHECK:       %[[S:.*]] = "neuron.fused"(%arg2, %arg3)
// CHECK:       %[[B:.*]] = "neuron.broadcast"
// CHECK:       %[[A:.*]] = "neuron.add"(%[[B]]
// CHECK:       dense<5.000000e-01>
// CHECK:       %[[P:.*]] = "neuron.dot"(%arg0, %arg1)
// CHECK:       %[[T:.*]] = "neuron.add"(%[[P]], %[[S]])
// CHECK:       %[[R:.*]] = "neuron.all_reduce"(%[[T]])
// CHECK-NEXT:  return %[[R]]
module attributes {mhlo.num_partitions = 2 : i32, mhlo.num_replicas = 1 : i32} {
func.func @main(%h: tensor<4x8xf32> {neuron.parts = [0, 1]},
    %w: tensor<8x8xf32> {neuron.parts = [0, 1]}, %b: tensor<8xf32> {neuron.parts = [0, 0]},
    %x: tensor<4x8xf32> {neuron.parts = [0, 0]}) -> tensor<4x8xf32> {
  %0 = "neuron.dot"(%h, %w) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1],
    rhs_contract = [0]} : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  %1 = "neuron.all_reduce"(%0) {groups = [[0, 1]], kind = "sum"}
    : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %2 = "neuron.broadcast"(%b) {dims = [1]} : (tensor<8xf32>) -> tensor<4x8xf32>
  %3 = "neuron.add"(%1, %2) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %4 = "neuron.add"(%x, %3) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %4 : tensor<4x8xf32>
}
}

// -----

// What each core has its own of stays behind the sum: half of the one and half of the other is
// neither.
// CHECK-LABEL: func.func @main
// CHECK:       %[[P:.*]] = "neuron.dot"(%arg0, %arg1)
// CHECK:       %[[R:.*]] = "neuron.all_reduce"(%[[P]])
// CHECK:       "neuron.add"(%[[R]], %arg2)
module attributes {mhlo.num_partitions = 2 : i32, mhlo.num_replicas = 1 : i32} {
func.func @main(%h: tensor<4x8xf32> {neuron.parts = [0, 1]},
    %w: tensor<8x8xf32> {neuron.parts = [0, 1]}, %x: tensor<4x8xf32> {neuron.parts = [0, 1]})
    -> tensor<4x8xf32> {
  %0 = "neuron.dot"(%h, %w) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1],
    rhs_contract = [0]} : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  %1 = "neuron.all_reduce"(%0) {groups = [[0, 1]], kind = "sum"}
    : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %2 = "neuron.add"(%1, %x) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %2 : tensor<4x8xf32>
}
}

// -----

// Two groups: %x is equal within each (cores 0 and 1, 2 and 3), %y is not; a sum that two
// operations read stays what it is.
// CHECK-LABEL: func.func @main
// CHECK:       %[[R:.*]] = "neuron.all_reduce"({{.*}}) {groups = {{\[\[}}0, 1], [2, 3]], kind = "sum"}
// CHECK:       %[[Y:.*]] = "neuron.add"(%[[R]], %arg3)
// CHECK:       "neuron.add"(%[[Y]], %[[Y]])
module attributes {mhlo.num_partitions = 4 : i32, mhlo.num_replicas = 1 : i32} {
func.func @main(%h: tensor<4x8xf32>, %w: tensor<8x8xf32>,
    %x: tensor<4x8xf32> {neuron.parts = [0, 0, 1, 1]},
    %y: tensor<4x8xf32> {neuron.parts = [0, 1, 0, 1]}) -> tensor<4x8xf32> {
  %0 = "neuron.dot"(%h, %w) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1],
    rhs_contract = [0]} : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  %1 = "neuron.all_reduce"(%0) {groups = [[0, 1], [2, 3]], kind = "sum"}
    : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %2 = "neuron.add"(%1, %x) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %3 = "neuron.add"(%2, %y) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %4 = "neuron.add"(%3, %3) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %4 : tensor<4x8xf32>
}
}

// -----

// In a repeated block: what it carries is equal in the first round (%x is) and in the next ones (a
// sum is), so the residual goes before the sum. The second carried value becomes one core's own.
// CHECK-LABEL: func.func private @block_0
// CHECK:       %[[S:.*]] = "neuron.fused"(%arg0)
// CHECK:       "neuron.add"({{.*}}, %[[S]])
// CHECK:       "neuron.all_reduce"
// CHECK-NEXT:  %[[Q:.*]] = "neuron.dot"(%arg1, %arg2)
// CHECK:       %[[Z:.*]] = "neuron.all_reduce"(%[[Q]])
// CHECK-NEXT:  "neuron.add"(%[[Z]], %arg1)
module attributes {mhlo.num_partitions = 2 : i32, mhlo.num_replicas = 1 : i32} {
func.func @main(%x: tensor<8x8xf32> {neuron.parts = [0, 0]},
    %w0: tensor<8x8xf32> {neuron.parts = [0, 1]}, %w1: tensor<8x8xf32> {neuron.parts = [0, 1]})
    -> tensor<8x8xf32> {
  %0, %1 = "neuron.repeat"(%x, %x, %w0, %w1) {callee = @block_0, count = 2 : i64,
    carried = 2 : i64, invariant = 0 : i64, operandSegmentSizes = array<i32: 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>,
    resultSegmentSizes = array<i32: 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
    : (tensor<8x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>)
    -> (tensor<8x8xf32>, tensor<8x8xf32>)
  return %0 : tensor<8x8xf32>
}
func.func private @block_0(%x: tensor<8x8xf32>, %y: tensor<8x8xf32>, %w: tensor<8x8xf32>)
    -> (tensor<8x8xf32>, tensor<8x8xf32>) {
  %0 = "neuron.dot"(%x, %w) ({}) {operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0>, lhs_batch = [], rhs_batch = [], lhs_contract = [1],
    rhs_contract = [0]} : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  %1 = "neuron.all_reduce"(%0) {groups = [[0, 1]], kind = "sum"}
    : (tensor<8x8xf32>) -> tensor<8x8xf32>
  %2 = "neuron.add"(%1, %x) : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  %3 = "neuron.dot"(%y, %w) ({}) {operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0>, lhs_batch = [], rhs_batch = [], lhs_contract = [1],
    rhs_contract = [0]} : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  %4 = "neuron.all_reduce"(%3) {groups = [[0, 1]], kind = "sum"}
    : (tensor<8x8xf32>) -> tensor<8x8xf32>
  %5 = "neuron.add"(%4, %y) : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  %6 = "neuron.add"(%5, %w) : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  return %2, %6 : tensor<8x8xf32>, tensor<8x8xf32>
}
}
