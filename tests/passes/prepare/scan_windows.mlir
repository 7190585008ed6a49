// RUN: axonc opt %s --split-input-file --pass-pipeline "scan-windows"

// CHECK-LABEL: func.func @main
// CHECK-NOT:     reduce_window
// CHECK:         %[[LATER:.*]] = stablehlo.slice %arg0 [1:4]
// CHECK:         %[[SUM:.*]] = stablehlo.add %{{.*}}, %[[LATER]] : tensor<3xi64>
// CHECK:         stablehlo.concatenate %{{.*}}, %[[SUM]], dim = 0
// CHECK:         stablehlo.add {{.*}} : tensor<2xi64>
func.func @main(%x: tensor<4xi64>) -> tensor<4xi64> {
  %c = stablehlo.constant dense<0> : tensor<i64>
  %0 = "stablehlo.reduce_window"(%x, %c) <{padding = dense<[[3, 0]]> : tensor<1x2xi64>, window_dimensions = array<i64: 4>}> ({
  ^bb0(%a: tensor<i64>, %b: tensor<i64>):
    %1 = stablehlo.add %a, %b : tensor<i64>
    stablehlo.return %1 : tensor<i64>
  }) : (tensor<4xi64>, tensor<i64>) -> tensor<4xi64>
  return %0 : tensor<4xi64>
}

// -----
// From the end on.
// CHECK-LABEL: func.func @main
// CHECK:         %[[SUM:.*]] = stablehlo.maximum
// CHECK:         stablehlo.concatenate %[[SUM]], %{{.*}}, dim = 0 : (tensor<1xi64>, tensor<1xi64>)
func.func @main(%x: tensor<2xi64>) -> tensor<2xi64> {
  %c = stablehlo.constant dense<-9223372036854775808> : tensor<i64>
  %0 = "stablehlo.reduce_window"(%x, %c) <{padding = dense<[[0, 1]]> : tensor<1x2xi64>, window_dimensions = array<i64: 2>}> ({
  ^bb0(%a: tensor<i64>, %b: tensor<i64>):
    %1 = stablehlo.maximum %a, %b : tensor<i64>
    stablehlo.return %1 : tensor<i64>
  }) : (tensor<2xi64>, tensor<i64>) -> tensor<2xi64>
  return %0 : tensor<2xi64>
}

// -----
// Another beginning than the neutral element stays.
// CHECK-LABEL: func.func @main
// CHECK:         reduce_window
func.func @main(%x: tensor<4xi64>) -> tensor<4xi64> {
  %c = stablehlo.constant dense<1> : tensor<i64>
  %0 = "stablehlo.reduce_window"(%x, %c) <{padding = dense<[[3, 0]]> : tensor<1x2xi64>, window_dimensions = array<i64: 4>}> ({
  ^bb0(%a: tensor<i64>, %b: tensor<i64>):
    %1 = stablehlo.add %a, %b : tensor<i64>
    stablehlo.return %1 : tensor<i64>
  }) : (tensor<4xi64>, tensor<i64>) -> tensor<4xi64>
  return %0 : tensor<4xi64>
}

// -----
// A short window of floats stays, and one that is not cumulative.
// CHECK-LABEL: func.func @main
// CHECK-COUNT-2: reduce_window
func.func @main(%x: tensor<4xf32>, %y: tensor<64xi64>) -> (tensor<4xf32>, tensor<63xi64>) {
  %c = stablehlo.constant dense<0.0> : tensor<f32>
  %z = stablehlo.constant dense<0> : tensor<i64>
  %0 = "stablehlo.reduce_window"(%x, %c) <{padding = dense<[[3, 0]]> : tensor<1x2xi64>, window_dimensions = array<i64: 4>}> ({
  ^bb0(%a: tensor<f32>, %b: tensor<f32>):
    %2 = stablehlo.add %a, %b : tensor<f32>
    stablehlo.return %2 : tensor<f32>
  }) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %1 = "stablehlo.reduce_window"(%y, %z) <{window_dimensions = array<i64: 2>}> ({
  ^bb0(%a: tensor<i64>, %b: tensor<i64>):
    %2 = stablehlo.add %a, %b : tensor<i64>
    stablehlo.return %2 : tensor<i64>
  }) : (tensor<64xi64>, tensor<i64>) -> tensor<63xi64>
  return %0, %1 : tensor<4xf32>, tensor<63xi64>
}
