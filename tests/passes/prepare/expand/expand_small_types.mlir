// RUN: axonc opt %s --split-input-file --pass-pipeline "expand-small-types"

// A sum in a byte, cut to its four bits.
// CHECK-LABEL: func.func @main
// CHECK-SAME: tensor<4xi8> {neuron.host_dtype = "i4"}
// CHECK: [[SUM:%.+]] = stablehlo.add %arg0, %{{.+}} : tensor<4xi8>
// CHECK: [[HIGH:%.+]] = stablehlo.shift_left [[SUM]]
// CHECK: [[CUT:%.+]] = stablehlo.shift_right_arithmetic [[HIGH]]
// CHECK: return [[CUT]]
func.func @main(%x: tensor<4xi4>) -> tensor<4xi4> {
  %c = stablehlo.constant dense<[-8, 1, 2, 7]> : tensor<4xi4>
  %0 = stablehlo.add %x, %c : tensor<4xi4>
  return %0 : tensor<4xi4>
}

// -----
// What moves elements leaves them as they are.
// CHECK-LABEL: func.func @main
// CHECK-SAME: tensor<2x3xui8> {neuron.host_dtype = "f8E4M3FN"}
// CHECK-NEXT: stablehlo.transpose
// CHECK-NEXT: return
func.func @main(%x: tensor<2x3xf8E4M3FN>) -> tensor<3x2xf8E4M3FN> {
  %0 = stablehlo.transpose %x, dims = [1, 0] : (tensor<2x3xf8E4M3FN>) -> tensor<3x2xf8E4M3FN>
  return %0 : tensor<3x2xf8E4M3FN>
}

// -----
// CHECK: error: stablehlo.convert: a conversion to f8E8M0FNU
func.func @main(%x: tensor<4xf32>) -> tensor<4xf8E8M0FNU> {
  %0 = stablehlo.convert %x : (tensor<4xf32>) -> tensor<4xf8E8M0FNU>
  return %0 : tensor<4xf8E8M0FNU>
}
