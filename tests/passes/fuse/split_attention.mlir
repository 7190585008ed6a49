// RUN: axonc opt %s --split-input-file --pass-pipeline "split-attention{scores-bytes=4096}"

// Eight heads of 128 x 128 scores need 4 KiB per partition; the budget holds eight, so nothing changes.
// CHECK-LABEL: func.func @fits
// CHECK:         "neuron.dot"(%arg0, %arg1)
// CHECK-NOT:     "neuron.concatenate"
func.func @fits(%q: tensor<8x128x64xf32>, %k: tensor<8x128x64xf32>, %v: tensor<8x128x64xf32>) -> tensor<8x128x64xf32> {
  %s = "neuron.dot"(%q, %k) ({}) {lhs_batch = [0], lhs_contract = [2], rhs_batch = [0], rhs_contract = [2]} : (tensor<8x128x64xf32>, tensor<8x128x64xf32>) -> tensor<8x128x128xf32>
  %p = "neuron.softmax"(%s) {axis = 2 : i64} : (tensor<8x128x128xf32>) -> tensor<8x128x128xf32>
  %o = "neuron.dot"(%p, %v) ({}) {lhs_batch = [0], lhs_contract = [2], rhs_batch = [0], rhs_contract = [1]} : (tensor<8x128x128xf32>, tensor<8x128x64xf32>) -> tensor<8x128x64xf32>
  return %o : tensor<8x128x64xf32>
}

// -----
// Sixteen do not fit: two groups of eight, each with its mask; heads of 64 are cut in pairs.
// CHECK-LABEL: func.func @splits
// CHECK:         [[Q:%.+]] = "neuron.slice"(%arg0) {limit = [8, 128, 64], start = [0, 0, 0]
// CHECK:         [[S:%.+]] = "neuron.dot"([[Q]], {{%.+}}, %arg3) ({
// CHECK:           tensor<8x128x128xf32>
// CHECK:         "neuron.softmax"([[S]])
// CHECK:         "neuron.slice"(%arg0) {limit = [16, 128, 64], start = [8, 0, 0]
// CHECK:         "neuron.concatenate"({{.+}}) {dimension = 0 : i64
func.func @splits(%q: tensor<16x128x64xf32>, %k: tensor<16x128x64xf32>, %v: tensor<16x128x64xf32>, %m: tensor<128xf32>) -> tensor<16x128x64xf32> {
  %s = "neuron.dot"(%q, %k, %m) ({
  ^bb0(%a: tensor<16x128x128xf32>, %b: tensor<128xf32>):
    %c = "neuron.broadcast"(%b) {dims = [2]} : (tensor<128xf32>) -> tensor<16x128x128xf32>
    %d = "neuron.add"(%a, %c) : (tensor<16x128x128xf32>, tensor<16x128x128xf32>) -> tensor<16x128x128xf32>
    "neuron.yield"(%d) : (tensor<16x128x128xf32>) -> ()
  }) {lhs_batch = [0], lhs_contract = [2], rhs_batch = [0], rhs_contract = [2]} : (tensor<16x128x64xf32>, tensor<16x128x64xf32>, tensor<128xf32>) -> tensor<16x128x128xf32>
  %p = "neuron.softmax"(%s) {axis = 2 : i64} : (tensor<16x128x128xf32>) -> tensor<16x128x128xf32>
  %o = "neuron.dot"(%p, %v) ({}) {lhs_batch = [0], lhs_contract = [2], rhs_batch = [0], rhs_contract = [1]} : (tensor<16x128x128xf32>, tensor<16x128x64xf32>) -> tensor<16x128x64xf32>
  return %o : tensor<16x128x64xf32>
}

// -----
// Scores with another consumer stay whole.
// CHECK-LABEL: func.func @read_twice
// CHECK-NOT:     "neuron.slice"
// CHECK-NOT:     "neuron.concatenate"
func.func @read_twice(%q: tensor<16x128x64xf32>, %k: tensor<16x128x64xf32>, %v: tensor<16x128x64xf32>) -> (tensor<16x128x64xf32>, tensor<16x128x128xf32>) {
  %s = "neuron.dot"(%q, %k) ({}) {lhs_batch = [0], lhs_contract = [2], rhs_batch = [0], rhs_contract = [2]} : (tensor<16x128x64xf32>, tensor<16x128x64xf32>) -> tensor<16x128x128xf32>
  %p = "neuron.softmax"(%s) {axis = 2 : i64} : (tensor<16x128x128xf32>) -> tensor<16x128x128xf32>
  %o = "neuron.dot"(%p, %v) ({}) {lhs_batch = [0], lhs_contract = [2], rhs_batch = [0], rhs_contract = [1]} : (tensor<16x128x128xf32>, tensor<16x128x64xf32>) -> tensor<16x128x64xf32>
  return %o, %s : tensor<16x128x64xf32>, tensor<16x128x128xf32>
}

// -----
// The scores of one head of 512 queries and 1024 keys need 16 KiB: blocks of 128 queries, one row tile.
// CHECK-LABEL: func.func @long
// CHECK:         [[Q:%.+]] = "neuron.slice"(%arg0) {limit = [128, 64], start = [0, 0]
// CHECK:         [[S:%.+]] = "neuron.dot"([[Q]], %arg1)
// CHECK:         [[P:%.+]] = "neuron.softmax"([[S]])
// CHECK:         [[O:%.+]] = "neuron.dot"(%arg2, [[P]])
// CHECK:         tensor<64x128xf32>
// CHECK:         "neuron.concatenate"([[O]], {{.+}}) {dimension = 1 : i64
func.func @long(%q: tensor<512x64xf32>, %k: tensor<1024x64xf32>, %v: tensor<1024x64xf32>) -> tensor<64x512xf32> {
  %s = "neuron.dot"(%q, %k) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [1]} : (tensor<512x64xf32>, tensor<1024x64xf32>) -> tensor<512x1024xf32>
  %p = "neuron.softmax"(%s) {axis = 1 : i64} : (tensor<512x1024xf32>) -> tensor<512x1024xf32>
  %o = "neuron.dot"(%v, %p) ({}) {lhs_batch = [], lhs_contract = [0], rhs_batch = [], rhs_contract = [1]} : (tensor<1024x64xf32>, tensor<512x1024xf32>) -> tensor<64x512xf32>
  return %o : tensor<64x512xf32>
}
