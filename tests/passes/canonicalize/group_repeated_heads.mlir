// RUN: axonc opt %s --split-input-file --pass-pipeline "group-repeated-heads"

// Eight queries to a key: the repeat is a batch dim of its own in both operands and the result.
// CHECK-LABEL: func.func @grouped_queries
// CHECK:       %[[K:.*]] = "neuron.broadcast"(%arg1)
// CHECK:       %[[Q:.*]] = "neuron.reshape"(%arg0) : (tensor<2x32x7x64xf32>) -> tensor<2x4x8x7x64xf32>
// CHECK:       %[[S:.*]] = "neuron.dot"(%[[Q]], %[[K]])
// CHECK-NEXT:  {{.*}}lhs_batch = [0, 1, 2], lhs_contract = [4]
// CHECK-SAME:  rhs_batch = [0, 1, 2], rhs_contract = [4]
// CHECK-SAME:  -> tensor<2x4x8x7x9xf32>
// CHECK:       "neuron.reshape"(%[[S]]) : (tensor<2x4x8x7x9xf32>) -> tensor<2x32x7x9xf32>
func.func @grouped_queries(%q: tensor<2x32x7x64xf32>, %k: tensor<2x4x9x64xf32>)
    -> tensor<2x32x7x9xf32> {
  %0 = "neuron.broadcast"(%k) {dims = [0, 1, 3, 4]} : (tensor<2x4x9x64xf32>)
    -> tensor<2x4x8x9x64xf32>
  %1 = "neuron.reshape"(%0) : (tensor<2x4x8x9x64xf32>) -> tensor<2x32x9x64xf32>
  %2 = "neuron.dot"(%q, %1) ({}) {lhs_batch = [0, 1], rhs_batch = [0, 1], lhs_contract = [3],
    rhs_contract = [3]} : (tensor<2x32x7x64xf32>, tensor<2x32x9x64xf32>) -> tensor<2x32x7x9xf32>
  return %2 : tensor<2x32x7x9xf32>
}

// -----

// One token: the queries of a key are the rows of one product, and nothing is repeated.
// CHECK-LABEL: func.func @one_token
// CHECK-NOT:   neuron.broadcast
// CHECK:       %[[Q:.*]] = "neuron.reshape"(%arg0) : (tensor<1x32x1x64xf32>) -> tensor<1x4x8x1x64xf32>
// CHECK:       "neuron.dot"(%[[Q]], %arg1)
// CHECK-NEXT:  {{.*}}lhs_batch = [0, 1], lhs_contract = [4]
// CHECK-SAME:  rhs_batch = [0, 1], rhs_contract = [3]
// CHECK-SAME:  -> tensor<1x4x8x1x9xf32>
func.func @one_token(%q: tensor<1x32x1x64xf32>, %k: tensor<1x4x9x64xf32>) -> tensor<1x32x1x9xf32> {
  %0 = "neuron.broadcast"(%k) {dims = [0, 1, 3, 4]} : (tensor<1x4x9x64xf32>)
    -> tensor<1x4x8x9x64xf32>
  %1 = "neuron.reshape"(%0) : (tensor<1x4x8x9x64xf32>) -> tensor<1x32x9x64xf32>
  %2 = "neuron.dot"(%q, %1) ({}) {lhs_batch = [0, 1], rhs_batch = [0, 1], lhs_contract = [3],
    rhs_contract = [3]} : (tensor<1x32x1x64xf32>, tensor<1x32x9x64xf32>) -> tensor<1x32x1x9xf32>
  return %2 : tensor<1x32x1x9xf32>
}

// -----

// Left alone: the copies are outermost, so that head h reads key h % 4.
// CHECK-LABEL: func.func @interleaved
// CHECK:       "neuron.dot"(%arg0, %{{.*}})
// CHECK-NEXT:  {{.*}}-> tensor<32x7x9xf32>
func.func @interleaved(%q: tensor<32x7x64xf32>, %k: tensor<4x9x64xf32>) -> tensor<32x7x9xf32> {
  %0 = "neuron.broadcast"(%k) {dims = [1, 2, 3]} : (tensor<4x9x64xf32>) -> tensor<8x4x9x64xf32>
  %1 = "neuron.reshape"(%0) : (tensor<8x4x9x64xf32>) -> tensor<32x9x64xf32>
  %2 = "neuron.dot"(%q, %1) ({}) {lhs_batch = [0], rhs_batch = [0], lhs_contract = [2],
    rhs_contract = [2]} : (tensor<32x7x64xf32>, tensor<32x9x64xf32>) -> tensor<32x7x9xf32>
  return %2 : tensor<32x7x9xf32>
}

// -----

// Left alone: a contracted dim is repeated.
// CHECK-LABEL: func.func @contracted
// CHECK:       "neuron.dot"(%arg0, %{{.*}})
// CHECK-NEXT:  {{.*}}lhs_contract = [1]
func.func @contracted(%q: tensor<7x32xf32>, %k: tensor<9x4xf32>) -> tensor<7x9xf32> {
  %0 = "neuron.broadcast"(%k) {dims = [0, 1]} : (tensor<9x4xf32>) -> tensor<9x4x8xf32>
  %1 = "neuron.reshape"(%0) : (tensor<9x4x8xf32>) -> tensor<9x32xf32>
  %2 = "neuron.dot"(%q, %1) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1],
    rhs_contract = [1]} : (tensor<7x32xf32>, tensor<9x32xf32>) -> tensor<7x9xf32>
  return %2 : tensor<7x9xf32>
}
