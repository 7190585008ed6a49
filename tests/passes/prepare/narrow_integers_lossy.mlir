// RUN: axonc opt %s --pass-pipeline "narrow-integers{allow-lossy=true}"

// CHECK: stablehlo.multiply %arg0, %arg0 : tensor<4xi32>
func.func @main(%x: tensor<4xi64>) -> tensor<4xi64> {
  %0 = stablehlo.multiply %x, %x : tensor<4xi64>
  return %0 : tensor<4xi64>
}
