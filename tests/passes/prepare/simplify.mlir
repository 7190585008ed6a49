// RUN: axonc opt %s --pass-pipeline "simplify"

// Calls are inlined, unused functions and dead arithmetic vanish.
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    %0 = stablehlo.multiply %arg0, %arg0
// CHECK-NEXT:    %1 = stablehlo.composite "axonc.gelu" %0
// CHECK-NEXT:    return %1
// An unknown composite is replaced by its decomposition, a known one keeps it.
// CHECK:       func.func private @gelu
// CHECK-NOT:   @unused
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = call @square(%x) : (tensor<4xf32>) -> tensor<4xf32>
  %zero = stablehlo.constant dense<0.0> : tensor<4xf32>
  %1 = stablehlo.add %0, %zero : tensor<4xf32>
  %2 = stablehlo.composite "axonc.gelu" %1 {composite_attributes = {approximate = "none"}, decomposition = @gelu} : (tensor<4xf32>) -> tensor<4xf32>
  %3 = stablehlo.composite "somebody.identity" %2 {decomposition = @identity} : (tensor<4xf32>) -> tensor<4xf32>
  return %3 : tensor<4xf32>
}
func.func private @square(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = stablehlo.multiply %x, %x : tensor<4xf32>
  return %0 : tensor<4xf32>
}
func.func private @gelu(%x: tensor<4xf32>) -> tensor<4xf32> {
  return %x : tensor<4xf32>
}
func.func private @identity(%x: tensor<4xf32>) -> tensor<4xf32> {
  return %x : tensor<4xf32>
}
func.func private @unused(%x: tensor<4xf32>) -> tensor<4xf32> {
  return %x : tensor<4xf32>
}
