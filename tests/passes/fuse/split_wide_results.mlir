// RUN: axonc opt %s --split-input-file --pass-pipeline "split-wide-results{result-bytes=2048 block-bytes=1024}"

// 128 x 2000 logits in float32 are 8000 bytes per partition: blocks of 512 columns, one PSUM bank. The
// weight is cut along its free dim, the bias that varies over columns as well.
// CHECK-LABEL: func.func @logits
// CHECK:       %[[W0:.*]] = "neuron.slice"(%arg1) {limit = [512, 64], start = [0, 0]
// CHECK:       %[[B0:.*]] = "neuron.slice"(%arg2) {limit = [512], start = [0]
// CHECK:       %[[Y0:.*]] = "neuron.dot"(%arg0, %[[W0]], %[[B0]])
// CHECK:       -> tensor<128x512xf32>
// CHECK:       "neuron.slice"(%arg1) {limit = [2000, 64], start = [1536, 0]
// CHECK:       %[[Y3:.*]] = "neuron.dot"
// CHECK:       -> tensor<128x464xf32>
// CHECK:       %[[Y:.*]] = "neuron.concatenate"(%[[Y0]], {{.*}}, %[[Y3]]) {dimension = 1
// CHECK:       %[[R:.*]] = "neuron.reshape"(%[[Y]])
// CHECK:       return %[[R]]
func.func @logits(%x: tensor<128x64xf32>, %w: tensor<2000x64xf32>, %b: tensor<2000xf32>)
    -> tensor<1x128x2000xf32> {
  %y = "neuron.dot"(%x, %w, %b) ({
  ^bb0(%acc: tensor<128x2000xf32>, %bias: tensor<2000xf32>):
    %wide = "neuron.broadcast"(%bias) {dims = [1]} : (tensor<2000xf32>) -> tensor<128x2000xf32>
    %s = "neuron.add"(%acc, %wide) : (tensor<128x2000xf32>, tensor<128x2000xf32>) -> tensor<128x2000xf32>
    "neuron.yield"(%s) : (tensor<128x2000xf32>) -> ()
  }) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [1]}
    : (tensor<128x64xf32>, tensor<2000x64xf32>, tensor<2000xf32>) -> tensor<128x2000xf32>
  %r = "neuron.reshape"(%y) : (tensor<128x2000xf32>) -> tensor<1x128x2000xf32>
  return %r : tensor<1x128x2000xf32>
}

// -----

// A conversion of the result is done block by block.
// CHECK-LABEL: func.func @converted
// CHECK:       %[[Y0:.*]] = "neuron.dot"
// CHECK:       %[[C0:.*]] = "neuron.fused"(%[[Y0]])
// CHECK:       "neuron.concatenate"(%[[C0]],
func.func @converted(%x: tensor<128x64xbf16>, %w: tensor<2000x64xbf16>) -> tensor<128x2000xf32> {
  %y = "neuron.dot"(%x, %w) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1],
    rhs_contract = [1]} : (tensor<128x64xbf16>, tensor<2000x64xbf16>) -> tensor<128x2000xbf16>
  %c = "neuron.fused"(%y) ({
  ^bb0(%a: tensor<128x2000xbf16>):
    %d = "neuron.convert"(%a) : (tensor<128x2000xbf16>) -> tensor<128x2000xf32>
    "neuron.yield"(%d) : (tensor<128x2000xf32>) -> ()
  }) : (tensor<128x2000xbf16>) -> tensor<128x2000xf32>
  return %c : tensor<128x2000xf32>
}

// -----

// Left alone: something else reads the dot, too.
// CHECK-LABEL: func.func @read_twice
// CHECK-NOT:   neuron.concatenate
func.func @read_twice(%x: tensor<128x64xf32>, %w: tensor<2000x64xf32>)
    -> (tensor<128x2000xf32>, tensor<128xf32>) {
  %y = "neuron.dot"(%x, %w) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1],
    rhs_contract = [1]} : (tensor<128x64xf32>, tensor<2000x64xf32>) -> tensor<128x2000xf32>
  %m = "neuron.reduce"(%y) {kind = "max", dims = [1]} : (tensor<128x2000xf32>) -> tensor<128xf32>
  return %y, %m : tensor<128x2000xf32>, tensor<128xf32>
}

// -----

// Left alone: small enough.
// CHECK-LABEL: func.func @small
// CHECK-NOT:   neuron.concatenate
func.func @small(%x: tensor<128x64xf32>, %w: tensor<200x64xf32>) -> tensor<128x200xf32> {
  %y = "neuron.dot"(%x, %w) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1],
    rhs_contract = [1]} : (tensor<128x64xf32>, tensor<200x64xf32>) -> tensor<128x200xf32>
  return %y : tensor<128x200xf32>
}
