// RUN: axonc opt %s --pass-pipeline "inline-calls"

// Calls are inlined and unused functions vanish; equal operations and dead arithmetic stay.
// CHECK-LABEL: func.func @main
// CHECK:         %0 = stablehlo.multiply %arg0, %arg0
// CHECK-NEXT:    %1 = stablehlo.multiply %arg0, %arg0
// CHECK-NEXT:    %2 = stablehlo.add %0, %cst
// An unknown composite is replaced by its decomposition, a known one keeps it.
// CHECK-NEXT:    %3 = stablehlo.composite "axonc.gelu" %2
// CHECK-NEXT:    return %3, %1
// CHECK:       func.func private @gelu
// CHECK-NOT:   @unused
func.func @main(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %0 = call @square(%x) : (tensor<4xf32>) -> tensor<4xf32>
  %1 = call @square(%x) : (tensor<4xf32>) -> tensor<4xf32>
  %zero = stablehlo.constant dense<0.0> : tensor<4xf32>
  %2 = stablehlo.add %0, %zero : tensor<4xf32>
  %3 = stablehlo.composite "axonc.gelu" %2 {composite_attributes = {approximate = "none"}, decomposition = @gelu} : (tensor<4xf32>) -> tensor<4xf32>
  %4 = stablehlo.composite "somebody.identity" %3 {decomposition = @identity} : (tensor<4xf32>) -> tensor<4xf32>
  return %4, %1 : tensor<4xf32>, tensor<4xf32>
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
