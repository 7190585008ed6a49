// RUN: axonc opt %s --split-input-file --pass-pipeline "split-feed-forward"

// Ten sequences of 128 tokens, widened to 4096 in bf16, are 80 KiB per partition: two blocks of five
// sequences. The residual and the bias of the second dot follow; what does not vary over tokens is
// not cut.
// CHECK-LABEL: func.func @feed_forward
// CHECK:       %[[X0:.*]] = "neuron.slice"(%arg0) {limit = [5, 128, 1024], start = [0, 0, 0]
// CHECK:       %[[H0:.*]] = "neuron.dot"(%[[X0]], %arg1)
// CHECK:       -> tensor<5x128x4096xbf16>
// CHECK:       %[[R0:.*]] = "neuron.slice"(%arg3) {limit = [5, 128, 1024], start = [0, 0, 0]
// CHECK:       %[[Y0:.*]] = "neuron.dot"(%[[H0]], %arg2, %[[R0]], %arg4)
// CHECK:       "neuron.broadcast"({{.*}}) {dims = [2]} : (tensor<1024xf32>) -> tensor<5x128x1024xf32>
// CHECK:       %[[X1:.*]] = "neuron.slice"(%arg0) {limit = [10, 128, 1024], start = [5, 0, 0]
// CHECK:       %[[H1:.*]] = "neuron.dot"(%[[X1]], %arg1)
// CHECK:       %[[Y1:.*]] = "neuron.dot"(%[[H1]], %arg2
// CHECK:       "neuron.concatenate"(%[[Y0]], %[[Y1]]) {dimension = 0
func.func @feed_forward(%x: tensor<10x128x1024xbf16>, %w1: tensor<4096x1024xbf16>,
    %w2: tensor<1024x4096xbf16>, %r: tensor<10x128x1024xf32>, %b: tensor<1024xf32>)
    -> tensor<10x128x1024xf32> {
  %h = "neuron.dot"(%x, %w1) ({
  ^bb0(%acc: tensor<10x128x4096xf32>):
    %g = "neuron.gelu"(%acc) : (tensor<10x128x4096xf32>) -> tensor<10x128x4096xf32>
    %n = "neuron.convert"(%g) : (tensor<10x128x4096xf32>) -> tensor<10x128x4096xbf16>
    "neuron.yield"(%n) : (tensor<10x128x4096xbf16>) -> ()
  }) {lhs_batch = [], rhs_batch = [], lhs_contract = [2], rhs_contract = [1]}
    : (tensor<10x128x1024xbf16>, tensor<4096x1024xbf16>) -> tensor<10x128x4096xbf16>
  %y = "neuron.dot"(%h, %w2, %r, %b) ({
  ^bb0(%acc: tensor<10x128x1024xf32>, %res: tensor<10x128x1024xf32>, %bias: tensor<1024xf32>):
    %w = "neuron.broadcast"(%bias) {dims = [2]} : (tensor<1024xf32>) -> tensor<10x128x1024xf32>
    %s = "neuron.add"(%acc, %w) : (tensor<10x128x1024xf32>, tensor<10x128x1024xf32>)
      -> tensor<10x128x1024xf32>
    %t = "neuron.add"(%s, %res) : (tensor<10x128x1024xf32>, tensor<10x128x1024xf32>)
      -> tensor<10x128x1024xf32>
    "neuron.yield"(%t) : (tensor<10x128x1024xf32>) -> ()
  }) {lhs_batch = [], rhs_batch = [], lhs_contract = [2], rhs_contract = [1]}
    : (tensor<10x128x4096xbf16>, tensor<1024x4096xbf16>, tensor<10x128x1024xf32>, tensor<1024xf32>)
    -> tensor<10x128x1024xf32>
  return %y : tensor<10x128x1024xf32>
}

// -----

// Two long sequences: cut into sequences, and each again along its tokens.
// CHECK-LABEL: func.func @long_sequences
// CHECK:       "neuron.slice"(%arg0) {limit = [1, 2048, 256], start = [0, 0, 0]
// CHECK:       -> tensor<1x768x4096xbf16>
// CHECK:       "neuron.concatenate"{{.*}}dimension = 1{{.*}} -> tensor<1x2048x256xf32>
// CHECK:       "neuron.concatenate"{{.*}}dimension = 0{{.*}} -> tensor<2x2048x256xf32>
func.func @long_sequences(%x: tensor<2x2048x256xbf16>, %w1: tensor<256x4096xbf16>,
    %w2: tensor<4096x256xbf16>) -> tensor<2x2048x256xf32> {
  %h = "neuron.dot"(%x, %w1) ({
  ^bb0(%acc: tensor<2x2048x4096xf32>):
    %n = "neuron.convert"(%acc) : (tensor<2x2048x4096xf32>) -> tensor<2x2048x4096xbf16>
    "neuron.yield"(%n) : (tensor<2x2048x4096xbf16>) -> ()
  }) {lhs_batch = [], rhs_batch = [], lhs_contract = [2], rhs_contract = [0]}
    : (tensor<2x2048x256xbf16>, tensor<256x4096xbf16>) -> tensor<2x2048x4096xbf16>
  %y = "neuron.dot"(%h, %w2) ({
  }) {lhs_batch = [], rhs_batch = [], lhs_contract = [2], rhs_contract = [0]}
    : (tensor<2x2048x4096xbf16>, tensor<4096x256xbf16>) -> tensor<2x2048x256xf32>
  return %y : tensor<2x2048x256xf32>
}

// -----

// What is small enough stays one chain.
// CHECK-LABEL: func.func @small
// CHECK-NOT:   neuron.slice
func.func @small(%x: tensor<128x1024xbf16>, %w1: tensor<1024x4096xbf16>,
    %w2: tensor<4096x1024xbf16>) -> tensor<128x1024xf32> {
  %h = "neuron.dot"(%x, %w1) ({
  ^bb0(%acc: tensor<128x4096xf32>):
    %n = "neuron.convert"(%acc) : (tensor<128x4096xf32>) -> tensor<128x4096xbf16>
    "neuron.yield"(%n) : (tensor<128x4096xbf16>) -> ()
  }) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]}
    : (tensor<128x1024xbf16>, tensor<1024x4096xbf16>) -> tensor<128x4096xbf16>
  %y = "neuron.dot"(%h, %w2) ({
  }) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]}
    : (tensor<128x4096xbf16>, tensor<4096x1024xbf16>) -> tensor<128x1024xf32>
  return %y : tensor<128x1024xf32>
}

// -----

// An intermediate with another reader has to be whole.
// CHECK-LABEL: func.func @other_reader
// CHECK-NOT:   neuron.slice
func.func @other_reader(%x: tensor<2048x256xbf16>, %w1: tensor<256x4096xbf16>,
    %w2: tensor<4096x256xbf16>) -> (tensor<2048x256xf32>, tensor<2048x4096xbf16>) {
  %h = "neuron.dot"(%x, %w1) ({
  ^bb0(%acc: tensor<2048x4096xf32>):
    %n = "neuron.convert"(%acc) : (tensor<2048x4096xf32>) -> tensor<2048x4096xbf16>
    "neuron.yield"(%n) : (tensor<2048x4096xbf16>) -> ()
  }) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]}
    : (tensor<2048x256xbf16>, tensor<256x4096xbf16>) -> tensor<2048x4096xbf16>
  %y = "neuron.dot"(%h, %w2) ({
  }) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]}
    : (tensor<2048x4096xbf16>, tensor<4096x256xbf16>) -> tensor<2048x256xf32>
  return %y, %h : tensor<2048x256xf32>, tensor<2048x4096xbf16>
}

// -----

// Tokens that make no whole row tiles are not cut.
// CHECK-LABEL: func.func @ragged
// CHECK-NOT:   neuron.slice
func.func @ragged(%x: tensor<7x301x256xbf16>, %w1: tensor<256x4096xbf16>,
    %w2: tensor<4096x256xbf16>) -> tensor<7x301x256xf32> {
  %h = "neuron.dot"(%x, %w1) ({
  ^bb0(%acc: tensor<7x301x4096xf32>):
    %n = "neuron.convert"(%acc) : (tensor<7x301x4096xf32>) -> tensor<7x301x4096xbf16>
    "neuron.yield"(%n) : (tensor<7x301x4096xbf16>) -> ()
  }) {lhs_batch = [], rhs_batch = [], lhs_contract = [2], rhs_contract = [0]}
    : (tensor<7x301x256xbf16>, tensor<256x4096xbf16>) -> tensor<7x301x4096xbf16>
  %y = "neuron.dot"(%h, %w2) ({
  }) {lhs_batch = [], rhs_batch = [], lhs_contract = [2], rhs_contract = [0]}
    : (tensor<7x301x4096xbf16>, tensor<4096x256xbf16>) -> tensor<7x301x256xf32>
  return %y : tensor<7x301x256xf32>
}
