// RUN: axonc opt %s --split-input-file --pass-pipeline "recognize-layer-norm"

// rms norm: x * rsqrt(mean(x * x) + epsilon) * gamma
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    %0 = "neuron.rms_norm"(%arg0, %arg1) {epsilon = 9.765625E-4 : f64}
// CHECK-NEXT:    return %0
func.func @main(%x: tensor<4x8xf32>, %g: tensor<8xf32>) -> tensor<4x8xf32> {
  %eighth = "neuron.constant"() {value = dense<0.125> : tensor<4xf32>} : () -> tensor<4xf32>
  %epsilon = "neuron.constant"() {value = dense<0.0009765625> : tensor<4xf32>} : () -> tensor<4xf32>
  %0 = "neuron.multiply"(%x, %x) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %1 = "neuron.reduce"(%0) {kind = "sum", dims = [1]} : (tensor<4x8xf32>) -> tensor<4xf32>
  %2 = "neuron.multiply"(%1, %eighth) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %3 = "neuron.add"(%2, %epsilon) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %4 = "neuron.rsqrt"(%3) : (tensor<4xf32>) -> tensor<4xf32>
  %5 = "neuron.broadcast"(%4) {dims = [0]} : (tensor<4xf32>) -> tensor<4x8xf32>
  %6 = "neuron.multiply"(%x, %5) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %7 = "neuron.broadcast"(%g) {dims = [1]} : (tensor<8xf32>) -> tensor<4x8xf32>
  %8 = "neuron.multiply"(%6, %7) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %8 : tensor<4x8xf32>
}

// -----
// The mean of seven of eight elements: no norm.
// CHECK-LABEL: func.func @main
// CHECK:         "neuron.rsqrt"
// CHECK-NOT:     _norm"
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %seventh = "neuron.constant"() {value = dense<0.142857149> : tensor<4xf32>} : () -> tensor<4xf32>
  %0 = "neuron.multiply"(%x, %x) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %1 = "neuron.reduce"(%0) {kind = "sum", dims = [1]} : (tensor<4x8xf32>) -> tensor<4xf32>
  %2 = "neuron.multiply"(%1, %seventh) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %4 = "neuron.rsqrt"(%2) : (tensor<4xf32>) -> tensor<4xf32>
  %5 = "neuron.broadcast"(%4) {dims = [0]} : (tensor<4xf32>) -> tensor<4x8xf32>
  %6 = "neuron.multiply"(%x, %5) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %6 : tensor<4x8xf32>
}

// -----

// layer norm: (x - mean(x)) * rsqrt(mean((x - mean(x))^2) + epsilon) * gamma + beta
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    [[Y:%.+]] = "neuron.layer_norm"(%arg0, %arg1, %arg2) {epsilon = 9.765625E-4 : f64}
// CHECK-NEXT:    return [[Y]]
func.func @main(%x: tensor<4x16xf32>, %g: tensor<16xf32>, %b: tensor<16xf32>) -> tensor<4x16xf32> {
  %n = "neuron.constant"() {value = dense<1.600000e+01> : tensor<4xf32>} : () -> tensor<4xf32>
  %e = "neuron.constant"() {value = dense<9.765625e-04> : tensor<4xf32>} : () -> tensor<4xf32>
  %s = "neuron.reduce"(%x) {dims = [1], kind = "sum"} : (tensor<4x16xf32>) -> tensor<4xf32>
  %m = "neuron.divide"(%s, %n) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %mb = "neuron.broadcast"(%m) {dims = [0]} : (tensor<4xf32>) -> tensor<4x16xf32>
  %c = "neuron.subtract"(%x, %mb) : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %q = "neuron.multiply"(%c, %c) : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %qs = "neuron.reduce"(%q) {dims = [1], kind = "sum"} : (tensor<4x16xf32>) -> tensor<4xf32>
  %v = "neuron.divide"(%qs, %n) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %ve = "neuron.add"(%v, %e) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %r = "neuron.rsqrt"(%ve) : (tensor<4xf32>) -> tensor<4xf32>
  %rb = "neuron.broadcast"(%r) {dims = [0]} : (tensor<4xf32>) -> tensor<4x16xf32>
  %cr = "neuron.multiply"(%c, %rb) : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %gb = "neuron.broadcast"(%g) {dims = [1]} : (tensor<16xf32>) -> tensor<4x16xf32>
  %cg = "neuron.multiply"(%cr, %gb) : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %bb = "neuron.broadcast"(%b) {dims = [1]} : (tensor<16xf32>) -> tensor<4x16xf32>
  %y = "neuron.add"(%cg, %bb) : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  return %y : tensor<4x16xf32>
}

// -----

// A bounded variance is another function: epsilon below the bound would never count.
// CHECK-LABEL: func.func @main
// CHECK-NOT:   rms_norm
// CHECK:       return
func.func @main(%x: tensor<4x16xf32>) -> tensor<4x16xf32> {
  %n = "neuron.constant"() {value = dense<1.600000e+01> : tensor<4xf32>} : () -> tensor<4xf32>
  %e = "neuron.constant"() {value = dense<9.765625e-04> : tensor<4xf32>} : () -> tensor<4xf32>
  %t = "neuron.constant"() {value = dense<1.000000e+02> : tensor<4xf32>} : () -> tensor<4xf32>
  %q = "neuron.multiply"(%x, %x) : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %qs = "neuron.reduce"(%q) {dims = [1], kind = "sum"} : (tensor<4x16xf32>) -> tensor<4xf32>
  %v = "neuron.divide"(%qs, %n) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %w = "neuron.minimum"(%v, %t) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %ve = "neuron.add"(%w, %e) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %r = "neuron.rsqrt"(%ve) : (tensor<4xf32>) -> tensor<4xf32>
  %rb = "neuron.broadcast"(%r) {dims = [0]} : (tensor<4xf32>) -> tensor<4x16xf32>
  %y = "neuron.multiply"(%x, %rb) : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  return %y : tensor<4x16xf32>
}
