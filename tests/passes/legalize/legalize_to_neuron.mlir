// RUN: axonc opt %s --split-input-file --pass-pipeline "legalize-to-neuron"

// CHECK-LABEL: func.func @main
// CHECK-NEXT:    %0 = "neuron.broadcast"(%arg1) {dims = [1]} : (tensor<8xf32>) -> tensor<4x8xf32>
// CHECK-NEXT:    %1 = "neuron.add"(%arg0, %0)
// CHECK-NEXT:    %2 = "neuron.exp"(%1)
// CHECK-NEXT:    return %2
func.func @main(%x: tensor<4x8xf32>, %b: tensor<8xf32>) -> tensor<4x8xf32> {
  %0 = stablehlo.broadcast_in_dim %b, dims = [1] : (tensor<8xf32>) -> tensor<4x8xf32>
  %1 = stablehlo.add %x, %0 : tensor<4x8xf32>
  %2 = stablehlo.exponential %1 : tensor<4x8xf32>
  return %2 : tensor<4x8xf32>
}

// -----
// A composite with a neuron operation becomes that operation; its decomposition goes.
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    %0 = "neuron.layer_norm"(%arg0, %arg1, %arg1) {epsilon = 1.000000e-05 : f64}
// CHECK-NOT:   func.func private
func.func @main(%x: tensor<4x8xf32>, %g: tensor<8xf32>) -> tensor<4x8xf32> {
  %0 = stablehlo.composite "axonc.layer_norm" %x, %g, %g {composite_attributes = {epsilon = 1.0e-5 : f64}, decomposition = @norm} : (tensor<4x8xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}
func.func private @norm(%x: tensor<4x8xf32>, %g: tensor<8xf32>, %b: tensor<8xf32>) -> tensor<4x8xf32> {
  return %x : tensor<4x8xf32>
}

// -----
// An initial value that is not neutral is combined after the reduction.
// CHECK-LABEL: func.func @main
// CHECK:         [[SUM:%.+]] = "neuron.reduce"(%arg0) {dims = [1], kind = "sum"}
// CHECK:         [[THREE:%.+]] = "neuron.constant"() {value = dense<3.000000e+00> : tensor<4xf32>}
// CHECK:         "neuron.add"([[SUM]], [[THREE]])
func.func @main(%x: tensor<4x8xf32>) -> tensor<4xf32> {
  %three = stablehlo.constant dense<3.0> : tensor<f32>
  %0 = stablehlo.reduce(%x init: %three) applies stablehlo.add across dimensions = [1] : (tensor<4x8xf32>, tensor<f32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----
// A row gather along the last axis: the table is transposed, the rows put back.
// CHECK-LABEL: func.func @main
// CHECK:         [[I:%.+]] = "neuron.reshape"(%arg1) : (tensor<3x1xi32>) -> tensor<3xi32>
// CHECK:         [[T:%.+]] = "neuron.transpose"(%arg0) {permutation = [1, 0]}
// CHECK:         [[R:%.+]] = "neuron.gather_rows"([[T]], [[I]])
// CHECK:         "neuron.transpose"([[R]]) {permutation = [1, 0]} : (tensor<3x4xf32>) -> tensor<4x3xf32>
func.func @main(%t: tensor<4x8xf32>, %i: tensor<3x1xi32>) -> tensor<4x3xf32> {
  %0 = "stablehlo.gather"(%t, %i) <{dimension_numbers = #stablehlo.gather<offset_dims = [0], collapsed_slice_dims = [1], start_index_map = [1], index_vector_dim = 1>, slice_sizes = array<i64: 4, 1>}> : (tensor<4x8xf32>, tensor<3x1xi32>) -> tensor<4x3xf32>
  return %0 : tensor<4x3xf32>
}

// -----
// A scatter of rows: what lies outside of the table has no place there.
// CHECK-LABEL: func.func @main
// CHECK:         [[I:%.+]] = "neuron.select"({{.*}} -> tensor<5xi32>
// CHECK:         [[P:%.+]] = "neuron.scatter_rows"(%arg0, [[I]], %arg2) {kind = "add"}
// CHECK-NEXT:    return [[P]]
func.func @main(%t: tensor<9x8xf32>, %i: tensor<5x1xi32>, %u: tensor<5x8xf32>) -> tensor<9x8xf32> {
  %0 = "stablehlo.scatter"(%t, %i, %u) <{scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = [1], inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 1>}> ({
  ^bb0(%a: tensor<f32>, %b: tensor<f32>):
    %s = stablehlo.add %a, %b : tensor<f32>
    stablehlo.return %s : tensor<f32>
  }) : (tensor<9x8xf32>, tensor<5x1xi32>, tensor<5x8xf32>) -> tensor<9x8xf32>
  return %0 : tensor<9x8xf32>
}

// -----
// A long sort of which the first elements are read: so many are sorted, and what numbers the
// elements is their places.
// CHECK-LABEL: func.func @main
// CHECK:         [[V:%.+]] = "neuron.sort"(
// CHECK:           "neuron.compare"({{.*}}) {direction = "LT"} : (tensor<f32>, tensor<f32>) -> tensor<i1>
// CHECK:         }) {count = 3 : i64, number = 0 : i64{{.*}} : (tensor<1x2000xf32>) -> tensor<1x3xf32>
// CHECK:         [[P:%.+]] = "neuron.sort"(
// CHECK:         }) {count = 3 : i64, number = 1 : i64{{.*}} : (tensor<1x2000xf32>) -> tensor<1x3xi32>
// CHECK-NOT:     "neuron.gather_rows"
func.func @main(%x: tensor<2000xf32>) -> (tensor<3xf32>, tensor<3xi32>) {
  %n = stablehlo.iota dim = 0 : tensor<2000xi32>
  %0:2 = "stablehlo.sort"(%x, %n) <{dimension = 0 : i64}> ({
  ^bb0(%a: tensor<f32>, %b: tensor<f32>, %i: tensor<i32>, %j: tensor<i32>):
    %c = stablehlo.compare LT, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  }) : (tensor<2000xf32>, tensor<2000xi32>) -> (tensor<2000xf32>, tensor<2000xi32>)
  %1 = stablehlo.slice %0#0 [0:3] : (tensor<2000xf32>) -> tensor<3xf32>
  %2 = stablehlo.slice %0#1 [0:3] : (tensor<2000xi32>) -> tensor<3xi32>
  return %1, %2 : tensor<3xf32>, tensor<3xi32>
}

// -----
// Collectives stack blocks along a new first dim; integers are gathered and added on every core.
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    %0 = "neuron.all_gather"(%arg0) {groups = {{\[\[}}0, 1]]} : (tensor<4x8xf32>) -> tensor<2x4x8xf32>
// CHECK-NEXT:    %1 = "neuron.transpose"(%0) {permutation = [1, 0, 2]}
// CHECK-NEXT:    %2 = "neuron.reshape"(%1) : (tensor<4x2x8xf32>) -> tensor<4x16xf32>
// CHECK-NEXT:    %3 = "neuron.all_gather"(%arg1)
// CHECK-NEXT:    %4 = "neuron.reduce"(%3) {dims = [0], kind = "sum"}
module attributes {mhlo.num_partitions = 2 : i32} {
  func.func @main(%x: tensor<4x8xf32>, %i: tensor<4xi32>) -> (tensor<4x16xf32>, tensor<4xi32>) {
    %0 = "stablehlo.all_gather"(%x) <{all_gather_dim = 1 : i64, channel_handle = #stablehlo.channel_handle<handle = 1, type = 1>, replica_groups = dense<[[0, 1]]> : tensor<1x2xi64>, use_global_device_ids}> : (tensor<4x8xf32>) -> tensor<4x16xf32>
    %1 = "stablehlo.all_reduce"(%i) <{channel_handle = #stablehlo.channel_handle<handle = 1, type = 1>, replica_groups = dense<[[0, 1]]> : tensor<1x2xi64>, use_global_device_ids}> ({
    ^bb0(%a: tensor<i32>, %b: tensor<i32>):
      %s = stablehlo.add %a, %b : tensor<i32>
      stablehlo.return %s : tensor<i32>
    }) : (tensor<4xi32>) -> tensor<4xi32>
    return %0, %1 : tensor<4x16xf32>, tensor<4xi32>
  }
}

// -----
// A number in double precision that is converted at once is one of the type it is for.
// CHECK-LABEL: func.func @main
// CHECK: "neuron.constant"() {value = dense<1.500000e+00> : tensor<f32>}
func.func @main(%x: tensor<f32>) -> tensor<f32> {
  %c = stablehlo.constant dense<1.5> : tensor<f64>
  %0 = stablehlo.convert %c : (tensor<f64>) -> tensor<f32>
  %1 = stablehlo.add %x, %0 : tensor<f32>
  return %1 : tensor<f32>
}

// -----
// Everything unsupported is reported in one go.
// CHECK: error: stablehlo.sort: sort that compares by stablehlo.reshape
// CHECK: and 2 more operations are not supported
// CHECK: stablehlo.real: not supported (compute with float32)
// CHECK: stablehlo.reduce: reduction by stablehlo.subtract
func.func @main(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<f32>) {
  %zero = stablehlo.constant dense<0.0> : tensor<f32>
  %0 = "stablehlo.sort"(%x) ({
  ^bb0(%a: tensor<f32>, %b: tensor<f32>):
    %v = stablehlo.reshape %a : (tensor<f32>) -> tensor<1xf32>
    %p = stablehlo.get_dimension_size %v, dim = 0 : (tensor<1xf32>) -> tensor<i32>
    %j = stablehlo.convert %b : (tensor<f32>) -> tensor<i32>
    %c = stablehlo.compare LT, %p, %j : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  }) : (tensor<4xf32>) -> tensor<4xf32>
  %1 = stablehlo.real %0 : tensor<4xf32>
  %2 = "stablehlo.reduce"(%1, %zero) ({
  ^bb0(%a: tensor<f32>, %b: tensor<f32>):
    %c = stablehlo.subtract %a, %b : tensor<f32>
    stablehlo.return %c : tensor<f32>
  }) {dimensions = array<i64: 0>} : (tensor<4xf32>, tensor<f32>) -> tensor<f32>
  return %1, %2 : tensor<4xf32>, tensor<f32>
}

// -----
// CHECK: error: argument 0: element type f64
// CHECK: hint: compute in float32
func.func @main(%x: tensor<4xf64>) -> tensor<4xf64> {
  return %x : tensor<4xf64>
}
