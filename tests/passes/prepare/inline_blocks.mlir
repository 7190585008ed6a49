// RUN: axonc opt %s --pass-pipeline "outline-blocks{min-ops=2},inline-blocks"

// Outlined and inlined again, the program is what it was; no function is left.
// CHECK-LABEL: func.func @main
// CHECK:         [[A:%.+]] = stablehlo.multiply %arg0, %arg0
// CHECK-NEXT:    [[B:%.+]] = stablehlo.add [[A]], %arg1
// CHECK-NEXT:    [[C:%.+]] = stablehlo.multiply [[B]], [[B]]
// CHECK-NEXT:    [[D:%.+]] = stablehlo.add [[C]], %arg2
// CHECK-NEXT:    [[E:%.+]] = stablehlo.multiply [[D]], [[D]]
// CHECK-NEXT:    [[F:%.+]] = stablehlo.add [[E]], %arg3
// CHECK-NEXT:    return [[F]], [[A]], [[C]], [[E]]
// CHECK-NOT:   @block_0
func.func @main(%x: tensor<4xf32>, %a: tensor<4xf32>, %b: tensor<4xf32>, %c: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) {
  %0 = stablehlo.multiply %x, %x : tensor<4xf32>
  %1 = stablehlo.add %0, %a : tensor<4xf32>
  %2 = stablehlo.multiply %1, %1 : tensor<4xf32>
  %3 = stablehlo.add %2, %b : tensor<4xf32>
  %4 = stablehlo.multiply %3, %3 : tensor<4xf32>
  %5 = stablehlo.add %4, %c : tensor<4xf32>
  return %5, %0, %2, %4 : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
}
