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
