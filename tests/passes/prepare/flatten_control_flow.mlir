// RUN: axonc opt %s --pass-pipeline "flatten-control-flow" --split-input-file

// A loop whose iterations are known is unrolled; the counter becomes constants.
// CHECK-LABEL: func.func @main
// CHECK-NOT:     stablehlo.while
// CHECK:         %[[a:.*]] = stablehlo.tanh %arg0
// CHECK:         %[[b:.*]] = stablehlo.tanh %[[a]]
// CHECK:         return %[[b]]
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %zero = stablehlo.constant dense<0> : tensor<i32>
  %0:2 = stablehlo.while(%i = %zero, %a = %x) : tensor<i32>, tensor<4xf32>
  cond {
    %two = stablehlo.constant dense<2> : tensor<i32>
    %c = stablehlo.compare LT, %i, %two : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  } do {
    %one = stablehlo.constant dense<1> : tensor<i32>
    %n = stablehlo.add %i, %one : tensor<i32>
    %b = stablehlo.tanh %a : tensor<4xf32>
    stablehlo.return %n, %b : tensor<i32>, tensor<4xf32>
  }
  return %0#1 : tensor<4xf32>
}

// -----

// Rows that a loop writes one after the other, here from the last to the first, are concatenated.
// CHECK-LABEL: func.func @main
// CHECK:         %[[a:.*]] = stablehlo.tanh %arg0
// CHECK:         %[[b:.*]] = stablehlo.tanh %[[a]]
// CHECK:         %[[c:.*]] = stablehlo.concatenate %[[b]], %[[a]], dim = 0
// CHECK:         return %[[c]]
func.func @main(%x: tensor<1x4xf32>, %y: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %one = stablehlo.constant dense<1> : tensor<i32>
  %zero = stablehlo.constant dense<0> : tensor<i32>
  %0:3 = stablehlo.while(%i = %one, %a = %x, %s = %y)
      : tensor<i32>, tensor<1x4xf32>, tensor<2x4xf32>
  cond {
    %c = stablehlo.compare GE, %i, %zero : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  } do {
    %n = stablehlo.subtract %i, %one : tensor<i32>
    %b = stablehlo.tanh %a : tensor<1x4xf32>
    %t = stablehlo.dynamic_update_slice %s, %b, %i, %zero
        : (tensor<2x4xf32>, tensor<1x4xf32>, tensor<i32>, tensor<i32>) -> tensor<2x4xf32>
    stablehlo.return %n, %b, %t : tensor<i32>, tensor<1x4xf32>, tensor<2x4xf32>
  }
  return %0#2 : tensor<2x4xf32>
}

// -----

// All branches are computed; a number that is no branch's means the last.
// CHECK-LABEL: func.func @main
// CHECK:         %[[s:.*]] = stablehlo.sine %arg1
// CHECK:         %[[c:.*]] = stablehlo.cosine %arg1
// CHECK:         %[[p:.*]] = stablehlo.compare EQ, %arg0, %{{.*}}
// CHECK:         %[[r:.*]] = stablehlo.select %[[p]], %[[s]], %[[c]]
// CHECK:         return %[[r]]
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

// A loop whose iterations depend on data stays.
// CHECK-LABEL: func.func @main
// CHECK:         stablehlo.while
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

// A loop of many iterations stays, says how often it runs, and runs several of them at a time; what
// is left comes after it.
// CHECK-LABEL: func.func @main
// CHECK:         %[[r:.*]]:2 = stablehlo.while
// CHECK:         attributes {neuron.count = 200 : i64}
// CHECK:           stablehlo.tanh
// CHECK:           stablehlo.tanh
// CHECK:           stablehlo.return
// CHECK:         %[[t:.*]] = stablehlo.tanh %[[r]]#1
// CHECK:         return %[[t]]
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %zero = stablehlo.constant dense<0> : tensor<i32>
  %0:2 = stablehlo.while(%i = %zero, %a = %x) : tensor<i32>, tensor<4xf32>
  cond {
    %n = stablehlo.constant dense<20001> : tensor<i32>
    %c = stablehlo.compare LT, %i, %n : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  } do {
    %one = stablehlo.constant dense<1> : tensor<i32>
    %n = stablehlo.add %i, %one : tensor<i32>
    %b = stablehlo.tanh %a : tensor<4xf32>
    stablehlo.return %n, %b : tensor<i32>, tensor<4xf32>
  }
  return %0#1 : tensor<4xf32>
}

// -----

// Branches that are dear stay: the machine jumps to one.
// CHECK-LABEL: func.func @main
// CHECK:         stablehlo.if
func.func @main(%p: tensor<i1>, %x: tensor<1024x1024xf32>) -> tensor<1024x1024xf32> {
  %0 = "stablehlo.if"(%p) ({
    %1 = stablehlo.dot_general %x, %x, contracting_dims = [1] x [0]
      : (tensor<1024x1024xf32>, tensor<1024x1024xf32>) -> tensor<1024x1024xf32>
    stablehlo.return %1 : tensor<1024x1024xf32>
  }, {
    %1 = stablehlo.dot_general %x, %x, contracting_dims = [0] x [1]
      : (tensor<1024x1024xf32>, tensor<1024x1024xf32>) -> tensor<1024x1024xf32>
    stablehlo.return %1 : tensor<1024x1024xf32>
  }) : (tensor<i1>) -> tensor<1024x1024xf32>
  return %0 : tensor<1024x1024xf32>
}
