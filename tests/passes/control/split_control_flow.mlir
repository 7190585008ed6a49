// RUN: axonc opt %s --pass-pipeline "split-control-flow" --split-input-file

// The condition is computed before the loop and at the end of its body; what goes round has places.
// CHECK-LABEL: // block 0; while: {block 1}; block 2
// CHECK:       // ---- block 0
// CHECK:       func.func @main(%arg0: tensor<i32> {{.*}}neuron.name = "arg0"
// CHECK:         %[[c:.*]] = stablehlo.compare LT, %arg0
// CHECK:         %[[n:.*]] = stablehlo.convert %[[c]] : (tensor<i1>) -> tensor<i32>
// CHECK:         return %arg0, %[[n]]
// CHECK:       // ---- block 1
// CHECK:       func.func @main(%arg0: tensor<i32> {{.*}}neuron.name = "place:0", neuron.place
// CHECK:         %[[a:.*]] = stablehlo.add %arg0, %arg0
// CHECK:         %[[c:.*]] = stablehlo.compare LT, %[[a]]
// CHECK:         %[[n:.*]] = stablehlo.convert %[[c]]
// CHECK:         return %[[a]], %[[n]]
// CHECK:       // ---- block 2
// CHECK:       func.func @main(%arg0: tensor<i32> {neuron.name = "place:0"})
// CHECK-NEXT:    return %arg0
func.func @main(%x: tensor<i32>) -> tensor<i32> {
  %0 = stablehlo.while(%i = %x) : tensor<i32>
  cond {
    %ten = stablehlo.constant dense<10> : tensor<i32>
    %c = stablehlo.compare LT, %i, %ten : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  } do {
    %n = stablehlo.add %i, %i : tensor<i32>
    stablehlo.return %n : tensor<i32>
  }
  return %0 : tensor<i32>
}

// -----

// What every iteration hands on as it got it is read from where it was; constants are made anew.
// CHECK-LABEL: // block 0; 9 times: {block 1}; block 2
// CHECK:       // ---- block 1
// CHECK:       func.func @main(%arg0: tensor<4xf32> {{.*}}"place:0"{{.*}}, %arg1: tensor<4xf32> {neuron.name = "w"
// CHECK:         %[[k:.*]] = stablehlo.constant dense<2.0
// CHECK:         %[[m:.*]] = stablehlo.multiply %arg0, %arg1
// CHECK:         %[[a:.*]] = stablehlo.add %[[m]], %[[k]]
// CHECK:         return %[[a]] : tensor<4xf32>
func.func @main(%x: tensor<4xf32>, %w: tensor<4xf32> {neuron.name = "w", neuron.weight})
    -> tensor<4xf32> {
  %two = stablehlo.constant dense<2.0> : tensor<4xf32>
  %true = stablehlo.constant dense<true> : tensor<i1>
  %0:2 = stablehlo.while(%v = %w, %a = %x) : tensor<4xf32>, tensor<4xf32>
  attributes {neuron.count = 9 : i64}
  cond {
    stablehlo.return %true : tensor<i1>
  } do {
    %m = stablehlo.multiply %a, %v : tensor<4xf32>
    %b = stablehlo.add %m, %two : tensor<4xf32>
    stablehlo.return %v, %b : tensor<4xf32>, tensor<4xf32>
  }
  return %0#1 : tensor<4xf32>
}

// -----

// A branch by number: the last one is for all other numbers. Both write one place.
// CHECK-LABEL: // block 0; case: 0 {block 1} else {block 2}; block 3
// CHECK:       // ---- block 1
// CHECK:         stablehlo.sine
// CHECK:       // ---- block 2
// CHECK:         stablehlo.cosine
func.func @main(%k: tensor<i32>, %x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = "stablehlo.case"(%k) ({
    %1 = stablehlo.sine %x : tensor<4xf32>
    stablehlo.return %1 : tensor<4xf32>
  }, {
    %1 = stablehlo.cosine %x : tensor<4xf32>
    stablehlo.return %1 : tensor<4xf32>
  }) : (tensor<i32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

// Leaves alone what has no control flow.
// CHECK-LABEL: module {
// CHECK-NEXT:    func.func @main
// CHECK-NEXT:      %0 = stablehlo.sine
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = stablehlo.sine %x : tensor<4xf32>
  return %0 : tensor<4xf32>
}
