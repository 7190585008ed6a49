// RUN: axonc opt %s --split-input-file --pass-pipeline "choose-layouts"

// The result of a product has the rows that the next one contracts: no transpose anywhere.
// CHECK-LABEL: func.func @chain_of_products
func.func @chain_of_products(%x: tensor<128x256xf32>, %v: tensor<256x512xf32>, %w: tensor<512x384xf32>) -> tensor<128x384xf32> {
  // CHECK: %[[H:.*]] = "neuron.dot"
  // CHECK-NEXT: layout.rows = [1], layout.stationary = "rhs"
  %h = "neuron.dot"(%x, %v) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]} : (tensor<128x256xf32>, tensor<256x512xf32>) -> tensor<128x512xf32>
  // CHECK: "neuron.dot"(%[[H]],
  // CHECK-NEXT: layout.stationary = "{{lhs|rhs}}"
  // CHECK-NOT: transpose
  %y = "neuron.dot"(%h, %w) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]} : (tensor<128x512xf32>, tensor<512x384xf32>) -> tensor<128x384xf32>
  return %y : tensor<128x384xf32>
}

// A reduction has its axis off the partitions, and its operand follows.
// CHECK-LABEL: func.func @softmax_axis_is_free
func.func @softmax_axis_is_free(%x: tensor<128x256xf32>, %w: tensor<256x64xf32>) -> tensor<128x64xf32> {
  // CHECK: "neuron.dot"
  // CHECK-NEXT: layout.rows = [0], layout.stationary = "lhs"
  %s = "neuron.dot"(%x, %w) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]} : (tensor<128x256xf32>, tensor<256x64xf32>) -> tensor<128x64xf32>
  // CHECK: "neuron.softmax"
  // CHECK-SAME: layout.rows = [0]
  %p = "neuron.softmax"(%s) {axis = 1 : i64} : (tensor<128x64xf32>) -> tensor<128x64xf32>
  return %p : tensor<128x64xf32>
}

// Relabelling ops carry the rows through: heads and their features together are what was one dim.
// CHECK-LABEL: func.func @relabelling
func.func @relabelling(%x: tensor<128x256xf32>, %w: tensor<256x256xf32>, %k: tensor<4x128x64xf32>) -> tensor<4x128x128xf32> {
  // CHECK: "neuron.dot"
  // CHECK-NEXT: layout.rows = [1]
  %q = "neuron.dot"(%x, %w) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]} : (tensor<128x256xf32>, tensor<256x256xf32>) -> tensor<128x256xf32>
  // CHECK: "neuron.reshape"
  // CHECK-SAME: layout.rows = [1, 2]
  %h = "neuron.reshape"(%q) : (tensor<128x256xf32>) -> tensor<128x4x64xf32>
  // CHECK: "neuron.transpose"
  // CHECK-SAME: layout.rows = [0, 2]
  %t = "neuron.transpose"(%h) {permutation = [1, 0, 2]} : (tensor<128x4x64xf32>) -> tensor<4x128x64xf32>
  // CHECK: "neuron.dot"
  // CHECK-NEXT: layout.batch_rows = 1
  %s = "neuron.dot"(%t, %k) ({}) {lhs_batch = [0], rhs_batch = [0], lhs_contract = [2], rhs_contract = [2]} : (tensor<4x128x64xf32>, tensor<4x128x64xf32>) -> tensor<4x128x128xf32>
  return %s : tensor<4x128x128xf32>
}

// One attention block: queries and keys have heads and features on rows, values the tokens,
// scores the queries (softmax runs along the free dim), the context again heads and features.
// Only the probabilities change rows, from queries to keys.
// CHECK-LABEL: func.func @attention
func.func @attention(%x: tensor<128x256xf32>, %wq: tensor<256x256xf32>, %wk: tensor<256x256xf32>, %wv: tensor<256x256xf32>, %wo: tensor<256x256xf32>) -> tensor<128x256xf32> {
  // CHECK: "neuron.dot"(%{{.*}}, %arg1)
  // CHECK-NEXT: layout.rows = [1]
  %q0 = "neuron.dot"(%x, %wq) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]} : (tensor<128x256xf32>, tensor<256x256xf32>) -> tensor<128x256xf32>
  // CHECK: "neuron.dot"(%{{.*}}, %arg2)
  // CHECK-NEXT: layout.rows = [1]
  %k0 = "neuron.dot"(%x, %wk) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]} : (tensor<128x256xf32>, tensor<256x256xf32>) -> tensor<128x256xf32>
  // CHECK: "neuron.dot"(%{{.*}}, %arg3)
  // CHECK-NEXT: layout.rows = [0]
  %v0 = "neuron.dot"(%x, %wv) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]} : (tensor<128x256xf32>, tensor<256x256xf32>) -> tensor<128x256xf32>
  %q1 = "neuron.reshape"(%q0) : (tensor<128x256xf32>) -> tensor<128x4x64xf32>
  %k1 = "neuron.reshape"(%k0) : (tensor<128x256xf32>) -> tensor<128x4x64xf32>
  %v1 = "neuron.reshape"(%v0) : (tensor<128x256xf32>) -> tensor<128x4x64xf32>
  %q = "neuron.transpose"(%q1) {permutation = [1, 0, 2]} : (tensor<128x4x64xf32>) -> tensor<4x128x64xf32>
  %k = "neuron.transpose"(%k1) {permutation = [1, 0, 2]} : (tensor<128x4x64xf32>) -> tensor<4x128x64xf32>
  %v = "neuron.transpose"(%v1) {permutation = [1, 0, 2]} : (tensor<128x4x64xf32>) -> tensor<4x128x64xf32>
  // CHECK: "neuron.dot"
  // CHECK-NEXT: layout.batch_rows = 1 : i64, layout.rows = [1]
  %s = "neuron.dot"(%q, %k) ({}) {lhs_batch = [0], rhs_batch = [0], lhs_contract = [2], rhs_contract = [2]} : (tensor<4x128x64xf32>, tensor<4x128x64xf32>) -> tensor<4x128x128xf32>
  // CHECK: "neuron.softmax"
  // CHECK-SAME: layout.rows = [1]
  %p = "neuron.softmax"(%s) {axis = 2 : i64} : (tensor<4x128x128xf32>) -> tensor<4x128x128xf32>
  // CHECK: "neuron.dot"
  // CHECK-NEXT: layout.rows = [0, 2]
  %c = "neuron.dot"(%p, %v) ({}) {lhs_batch = [0], rhs_batch = [0], lhs_contract = [2], rhs_contract = [1]} : (tensor<4x128x128xf32>, tensor<4x128x64xf32>) -> tensor<4x128x64xf32>
  %t = "neuron.transpose"(%c) {permutation = [1, 0, 2]} : (tensor<4x128x64xf32>) -> tensor<128x4x64xf32>
  // CHECK: "neuron.reshape"
  // CHECK-SAME: layout.rows = [1]
  %r = "neuron.reshape"(%t) : (tensor<128x4x64xf32>) -> tensor<128x256xf32>
  %o = "neuron.dot"(%r, %wo) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]} : (tensor<128x256xf32>, tensor<256x256xf32>) -> tensor<128x256xf32>
  return %o : tensor<128x256xf32>
}
