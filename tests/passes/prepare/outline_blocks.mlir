// RUN: axonc opt %s --split-input-file --pass-pipeline "outline-blocks{min-ops=2}"

// Three layers, each with a bias of its own, a scale for all, and a constant made again within.
// CHECK-LABEL: func.func @main
// CHECK:         %0 = "neuron.repeat"(%arg0, %arg1, %arg2, %arg3, %arg4)
// CHECK-SAME:      callee = @block_0, carried = 1 : i64, count = 3 : i64, invariant = 1 : i64
// CHECK-NEXT:    return %0
// CHECK-LABEL: func.func private @block_0
// CHECK-SAME:    (%arg0: tensor<4xf32>, %arg1: tensor<4xf32>, %arg2: tensor<4xf32>)
// CHECK-NEXT:    %0 = stablehlo.multiply %arg0, %arg1
// CHECK-NEXT:    %1 = stablehlo.add %0, %arg2
// CHECK-NEXT:    %cst = stablehlo.constant dense<0.000000e+00>
// CHECK-NEXT:    %2 = stablehlo.maximum %1, %cst
// CHECK-NEXT:    return %2
func.func @main(%x: tensor<4xf32>, %s: tensor<4xf32>, %a: tensor<4xf32>, %b: tensor<4xf32>, %c: tensor<4xf32>) -> tensor<4xf32> {
  %zero = stablehlo.constant dense<0.0> : tensor<4xf32>
  %0 = stablehlo.multiply %x, %s : tensor<4xf32>
  %1 = stablehlo.add %0, %a : tensor<4xf32>
  %2 = stablehlo.maximum %1, %zero : tensor<4xf32>
  %3 = stablehlo.multiply %2, %s : tensor<4xf32>
  %4 = stablehlo.add %3, %b : tensor<4xf32>
  %5 = stablehlo.maximum %4, %zero : tensor<4xf32>
  %6 = stablehlo.multiply %5, %s : tensor<4xf32>
  %7 = stablehlo.add %6, %c : tensor<4xf32>
  %8 = stablehlo.maximum %7, %zero : tensor<4xf32>
  return %8 : tensor<4xf32>
}

// -----

// What each block returns of @main is collected.
// CHECK-LABEL: func.func @main
// CHECK:         %0:4 = "neuron.repeat"(%arg0)
// CHECK-SAME:      carried = 1 : i64, count = 3 : i64, invariant = 0 : i64
// CHECK-NEXT:    return %0#0, %0#1, %0#2, %0#3
// CHECK-LABEL: func.func private @block_0
// CHECK-NEXT:    %0 = stablehlo.tanh %arg0
// CHECK-NEXT:    %1 = stablehlo.negate %0
// CHECK-NEXT:    %2 = stablehlo.sine %0
// CHECK-NEXT:    return %1, %2
func.func @main(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) {
  %0 = stablehlo.tanh %x : tensor<4xf32>
  %1 = stablehlo.negate %0 : tensor<4xf32>
  %2 = stablehlo.sine %0 : tensor<4xf32>
  %3 = stablehlo.tanh %1 : tensor<4xf32>
  %4 = stablehlo.negate %3 : tensor<4xf32>
  %5 = stablehlo.sine %3 : tensor<4xf32>
  %6 = stablehlo.tanh %4 : tensor<4xf32>
  %7 = stablehlo.negate %6 : tensor<4xf32>
  %8 = stablehlo.sine %6 : tensor<4xf32>
  return %7, %2, %5, %8 : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
}

// -----

// Equal operations, but the third block reads what the first made: left alone.
// CHECK-LABEL: func.func @main
// CHECK-NOT:     neuron.repeat
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = stablehlo.tanh %x : tensor<4xf32>
  %1 = stablehlo.add %0, %x : tensor<4xf32>
  %2 = stablehlo.tanh %1 : tensor<4xf32>
  %3 = stablehlo.add %2, %1 : tensor<4xf32>
  %4 = stablehlo.tanh %3 : tensor<4xf32>
  %5 = stablehlo.add %4, %1 : tensor<4xf32>
  return %5 : tensor<4xf32>
}
