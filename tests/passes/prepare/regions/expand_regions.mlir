// RUN: axonc opt %s --split-input-file --pass-pipeline "expand-regions"

// A product of polynomials' pairs: neighbours are combined, then what is left over.
// CHECK-LABEL: func.func @pairs
func.func @pairs(%x: tensor<3xf32>, %y: tensor<3xf32>, %i: tensor<f32>, %j: tensor<f32>) -> (tensor<f32>, tensor<f32>) {
  // CHECK: stablehlo.slice %arg0 [2:3]
  // CHECK: stablehlo.slice %arg0 [0:2:2]
  // CHECK: stablehlo.slice %arg0 [1:2:2]
  // CHECK-NOT: stablehlo.reduce
  %r:2 = "stablehlo.reduce"(%x, %y, %i, %j) <{dimensions = array<i64: 0>}> ({
  ^b(%a: tensor<f32>, %b: tensor<f32>, %c: tensor<f32>, %d: tensor<f32>):
    %p = stablehlo.multiply %a, %c : tensor<f32>
    %q = stablehlo.multiply %a, %d : tensor<f32>
    %s = stablehlo.add %q, %b : tensor<f32>
    stablehlo.return %p, %s : tensor<f32>, tensor<f32>
  }) : (tensor<3xf32>, tensor<3xf32>, tensor<f32>, tensor<f32>) -> (tensor<f32>, tensor<f32>)
  return %r#0, %r#1 : tensor<f32>, tensor<f32>
}

// -----

// Tensors that have nothing to do with each other are reduced by engines, each for itself.
// CHECK-LABEL: func.func @apart
func.func @apart(%x: tensor<3xf32>, %y: tensor<3xi32>, %i: tensor<f32>, %j: tensor<i32>) -> (tensor<f32>, tensor<i32>) {
  // CHECK: stablehlo.reduce(%arg0 init: %arg2) applies stablehlo.add
  // CHECK: stablehlo.reduce(%arg1 init: %arg3) applies stablehlo.maximum
  %r:2 = "stablehlo.reduce"(%x, %y, %i, %j) <{dimensions = array<i64: 0>}> ({
  ^b(%a: tensor<f32>, %b: tensor<i32>, %c: tensor<f32>, %d: tensor<i32>):
    %p = stablehlo.add %a, %c : tensor<f32>
    %q = stablehlo.maximum %b, %d : tensor<i32>
    stablehlo.return %p, %q : tensor<f32>, tensor<i32>
  }) : (tensor<3xf32>, tensor<3xi32>, tensor<f32>, tensor<i32>) -> (tensor<f32>, tensor<i32>)
  return %r#0, %r#1 : tensor<f32>, tensor<i32>
}

// -----

// What engines do is left.
// CHECK-LABEL: func.func @plain
func.func @plain(%x: tensor<3xf32>, %i: tensor<f32>) -> tensor<f32> {
  // CHECK-NEXT: stablehlo.reduce(%arg0 init: %arg1) applies stablehlo.multiply
  // CHECK-NEXT: return
  %r = stablehlo.reduce(%x init: %i) applies stablehlo.multiply across dimensions = [0] : (tensor<3xf32>, tensor<f32>) -> tensor<f32>
  return %r : tensor<f32>
}

// -----

// Elements of windows that do not overlap are columns of rows.
// CHECK-LABEL: func.func @rows
func.func @rows(%x: tensor<6xi32>, %i: tensor<i32>) -> tensor<3xi32> {
  // CHECK: %[[ROWS:.*]] = stablehlo.reshape %arg0 : (tensor<6xi32>) -> tensor<3x2xi32>
  // CHECK-DAG: stablehlo.slice %[[ROWS]] [0:3, 0:2:2]
  // CHECK-DAG: stablehlo.slice %[[ROWS]] [0:3, 1:2:2]
  // CHECK: stablehlo.xor
  %r = "stablehlo.reduce_window"(%x, %i) <{window_dimensions = array<i64: 2>, window_strides = array<i64: 2>}> ({
  ^b(%a: tensor<i32>, %b: tensor<i32>):
    %p = stablehlo.xor %a, %b : tensor<i32>
    stablehlo.return %p : tensor<i32>
  }) : (tensor<6xi32>, tensor<i32>) -> tensor<3xi32>
  return %r : tensor<3xi32>
}

// -----

// Of a window of five, two pieces of two and one element: 4 + 1.
// CHECK-LABEL: func.func @pieces
func.func @pieces(%x: tensor<64xi32>, %i: tensor<i32>) -> tensor<60xi32> {
  // CHECK-COUNT-4: stablehlo.xor
  // CHECK-NOT: stablehlo.xor
  %r = "stablehlo.reduce_window"(%x, %i) <{window_dimensions = array<i64: 5>}> ({
  ^b(%a: tensor<i32>, %b: tensor<i32>):
    %p = stablehlo.xor %a, %b : tensor<i32>
    stablehlo.return %p : tensor<i32>
  }) : (tensor<64xi32>, tensor<i32>) -> tensor<60xi32>
  return %r : tensor<60xi32>
}

// -----

// The number of the element that a window selects; at each place within a stride, whether it is that.
// CHECK-LABEL: func.func @selected
func.func @selected(%x: tensor<4xf32>, %s: tensor<2xf32>, %i: tensor<f32>) -> tensor<4xf32> {
  // CHECK-DAG: %[[ZERO:.*]] = stablehlo.constant dense<0.000000e+00> : tensor<2xf32>
  // CHECK-DAG: %[[ONE:.*]] = stablehlo.constant dense<1.000000e+00> : tensor<2xf32>
  // CHECK: %[[FIRST:.*]] = stablehlo.compare GE
  // CHECK: %[[NUMBER:.*]] = stablehlo.select %[[FIRST]], %{{.*}}, %{{.*}} : tensor<2xi1>, tensor<2xf32>
  // CHECK: stablehlo.concatenate %{{.*}}, %{{.*}}, dim = 1 : (tensor<2x1xf32>, tensor<2x1xf32>) -> tensor<2x2xf32>
  %r = "stablehlo.select_and_scatter"(%x, %s, %i) <{window_dimensions = array<i64: 2>, window_strides = array<i64: 2>}> ({
  ^b(%a: tensor<f32>, %b: tensor<f32>):
    %p = stablehlo.compare GE, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>
    stablehlo.return %p : tensor<i1>
  }, {
  ^b(%a: tensor<f32>, %b: tensor<f32>):
    %p = stablehlo.add %a, %b : tensor<f32>
    stablehlo.return %p : tensor<f32>
  }) : (tensor<4xf32>, tensor<2xf32>, tensor<f32>) -> tensor<4xf32>
  return %r : tensor<4xf32>
}

// -----

// Where windows reach into padding, or strides are long, places are numbered: all are compared at once.
// CHECK-LABEL: func.func @places
func.func @places(%x: tensor<4xf32>, %s: tensor<2xf32>, %i: tensor<f32>) -> tensor<4xf32> {
  // CHECK: stablehlo.constant dense<[-1.000000e+00, 1.000000e+00, 2.000000e+00, 3.000000e+00, 4.000000e+00, -1.000000e+00]>
  // CHECK: %[[HERE:.*]] = stablehlo.compare EQ, %{{.*}} : (tensor<2x3xf32>, tensor<2x3xf32>)
  // CHECK: stablehlo.select %[[HERE]]
  %r = "stablehlo.select_and_scatter"(%x, %s, %i) <{window_dimensions = array<i64: 3>, window_strides = array<i64: 3>, padding = dense<1> : tensor<1x2xi64>}> ({
  ^b(%a: tensor<f32>, %b: tensor<f32>):
    %p = stablehlo.compare GE, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>
    stablehlo.return %p : tensor<i1>
  }, {
  ^b(%a: tensor<f32>, %b: tensor<f32>):
    %p = stablehlo.add %a, %b : tensor<f32>
    stablehlo.return %p : tensor<f32>
  }) : (tensor<4xf32>, tensor<2xf32>, tensor<f32>) -> tensor<4xf32>
  return %r : tensor<4xf32>
}
