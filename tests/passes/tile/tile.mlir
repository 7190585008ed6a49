// RUN: axonc opt %s --split-input-file --pass-pipeline "choose-layouts,tile"

// A single row of 7 elements goes to 7 partitions, not to one.
// CHECK:      !ntile.memory<"sbuf", 7 : i64, 4 : i64>
// CHECK-LABEL: module attributes
// CHECK:      "ntile.dma_copy"(%load, %arg0)
// CHECK-SAME: dst = #ntile.view<"f32", array<i64: 0, 7, 0>, array<i64: 1>, array<i64: 1>>
// CHECK-NEXT: "ntile.activation"
// CHECK-SAME: func = "exp"
// CHECK-NEXT: "ntile.dma_copy"(%result0,
// CHECK-NEXT: {{^}$}}
func.func @elementwise_of_one_row(%x: tensor<1x7xf32>) -> tensor<1x7xf32> {
  %y = "neuron.fused"(%x) ({
  ^bb0(%a: tensor<1x7xf32>):
    %e = "neuron.exp"(%a) : (tensor<1x7xf32>) -> tensor<1x7xf32>
    "neuron.yield"(%e) : (tensor<1x7xf32>) -> ()
  }) : (tensor<1x7xf32>) -> tensor<1x7xf32>
  return %y : tensor<1x7xf32>
}

// -----

// 129 rows are 128 and 1: two tiles of one buffer, an instruction for each.
// CHECK-LABEL: module attributes
// CHECK:      "ntile.activation"
// CHECK-SAME: dst = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 64>, array<i64: 1>>
// CHECK-NEXT: "ntile.activation"
// CHECK-SAME: dst = #ntile.view<"f32", array<i64: 0, 1, 256>, array<i64: 64>, array<i64: 1>>
// CHECK-NOT:  "ntile.activation"
// CHECK:      {{^}$}}
func.func @elementwise_of_129_rows(%x: tensor<129x64xf32>) -> tensor<129x64xf32> {
  %y = "neuron.fused"(%x) ({
  ^bb0(%a: tensor<129x64xf32>):
    %e = "neuron.exp"(%a) : (tensor<129x64xf32>) -> tensor<129x64xf32>
    "neuron.yield"(%e) : (tensor<129x64xf32>) -> ()
  }) : (tensor<129x64xf32>) -> tensor<129x64xf32>
  return %y : tensor<129x64xf32>
}

// -----

// 1000 rows: the 7 full tiles lie side by side and take one instruction, the 104 rows left another.
// CHECK-LABEL: module attributes
// CHECK:      "ntile.activation"
// CHECK-SAME: dst = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 448>, array<i64: 1>>
// CHECK-NEXT: "ntile.activation"
// CHECK-SAME: dst = #ntile.view<"f32", array<i64: 0, 104, 1792>, array<i64: 64>, array<i64: 1>>
// CHECK-NOT:  "ntile.activation"
// CHECK:      {{^}$}}
func.func @elementwise_of_1000_rows(%x: tensor<1000x64xf32>) -> tensor<1000x64xf32> {
  %y = "neuron.fused"(%x) ({
  ^bb0(%a: tensor<1000x64xf32>):
    %e = "neuron.exp"(%a) : (tensor<1000x64xf32>) -> tensor<1000x64xf32>
    "neuron.yield"(%e) : (tensor<1000x64xf32>) -> ()
  }) : (tensor<1000x64xf32>) -> tensor<1000x64xf32>
  return %y : tensor<1000x64xf32>
}

// -----

// Along the free dim: one reduction per tile of rows.
// CHECK-LABEL: module attributes
// CHECK:      "ntile.tensor_reduce"
// CHECK-SAME: src = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 64>, array<i64: 1>>, op = "max"
// CHECK-NEXT: "ntile.tensor_reduce"
// CHECK-SAME: src = #ntile.view<"f32", array<i64: 0, 1, 256>, array<i64: 64>, array<i64: 1>>, op = "max"
// CHECK-NOT:  "ntile.tensor_reduce"
// CHECK:      {{^}$}}
func.func @reduce_of_129_rows(%x: tensor<129x64xf32>) -> tensor<129xf32> {
  %y = "neuron.reduce"(%x) {kind = "max", dims = [1]} : (tensor<129x64xf32>) -> tensor<129xf32>
  return %y : tensor<129xf32>
}

// -----

// A result with no dim left is on every partition; one of them is stored.
// CHECK-LABEL: module attributes
// CHECK:      "ntile.tensor_reduce"
// CHECK-SAME: dst = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 1>, array<i64: 1>>
// CHECK:      "ntile.dma_copy"(%result0,
// CHECK-SAME: src = #ntile.view<"f32", array<i64: 0, 1, 0>, array<i64: 1>, array<i64: 1>>
func.func @reduce_to_one_element(%x: tensor<1x7xf32>) -> tensor<1xf32> {
  %y = "neuron.reduce"(%x) {kind = "sum", dims = [1]} : (tensor<1x7xf32>) -> tensor<1xf32>
  return %y : tensor<1xf32>
}

// -----

// Over 1000 rows: transposed first, 8 tiles, then one reduction along the free dim.
// CHECK-LABEL: module attributes
// CHECK-COUNT-8: is_transpose = true
// CHECK-NOT:     is_transpose = true
// CHECK:         "ntile.tensor_reduce"
// CHECK-SAME:    src = #ntile.view<"f32", array<i64: 0, 64, 0>, array<i64: 1000>, array<i64: 1>>
func.func @reduce_over_1000_rows(%x: tensor<1000x64xf32>) -> tensor<64xf32> {
  %y = "neuron.reduce"(%x) {kind = "sum", dims = [0]} : (tensor<1000x64xf32>) -> tensor<64xf32>
  return %y : tensor<64xf32>
}

// -----

// The smallest product is one LoadStationary and one MultiplyMoving over 7 partitions.
// CHECK-LABEL: module attributes
// CHECK:      "ntile.bundle"
// CHECK-NEXT: "ntile.load_stationary"
// CHECK-SAME: array<i64: 0, 7, 0>
// CHECK-NEXT: "ntile.multiply_moving"
// CHECK-SAME: array<i64: 0, 7, 0>
// CHECK-NOT:  accumulate
// CHECK:      engine = "tensor"
// CHECK-NOT:  "ntile.bundle"
// CHECK:      {{^}$}}
func.func @dot_of_7(%x: tensor<1x7xf32>, %w: tensor<7x3xf32>) -> tensor<1x3xf32> {
  %y = "neuron.dot"(%x, %w) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]} : (tensor<1x7xf32>, tensor<7x3xf32>) -> tensor<1x3xf32>
  return %y : tensor<1x3xf32>
}

// -----

// 129 rows of result, 129 contracted: two accumulators, each written over 128 partitions and added to
// over the last one. Both row tiles use a part of the weight before the next part comes.
// CHECK-LABEL: module attributes
// CHECK:      "ntile.multiply_moving"(%[[A:acc]], %[[W:[a-z0-9_.]+]])
// CHECK-SAME: dst = #ntile.view<"f32", array<i64: 0, 128, 0>{{.*}} moving = #ntile.view<"f32", array<i64: 0, 128, 0>
// CHECK-NOT:  accumulate
// CHECK:      "ntile.multiply_moving"(%[[B:acc.1]], %[[W]])
// CHECK-SAME: dst = #ntile.view<"f32", array<i64: 0, 1, 0>{{.*}} moving = #ntile.view<"f32", array<i64: 0, 128, 0>
// CHECK:      "ntile.multiply_moving"(%[[A]], %[[W]])
// CHECK-SAME: moving = #ntile.view<"f32", array<i64: 0, 1, 516>{{.*}} accumulate = true
// CHECK:      "ntile.multiply_moving"(%[[B]], %[[W]])
// CHECK-SAME: moving = #ntile.view<"f32", array<i64: 0, 1, 516>{{.*}} accumulate = true
// CHECK-NOT:  "ntile.multiply_moving"
// CHECK:      {{^}$}}
func.func @dot_of_129(%x: tensor<129x129xf32>, %w: tensor<129x129xf32> {neuron.weight}) -> tensor<129x129xf32> {
  %y = "neuron.dot"(%x, %w) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [0], rhs_contract = [0]} : (tensor<129x129xf32>, tensor<129x129xf32>) -> tensor<129x129xf32>
  return %y : tensor<129x129xf32>
}

// -----

// The evacuation of an accumulator may be done by ScalarE or VectorE: still open here.
// CHECK-LABEL: module attributes
// CHECK:      "ntile.choose"
// CHECK-NEXT: "ntile.activation"
// CHECK-SAME: engine = "scalar"
// CHECK-NEXT: "ntile.tensor_copy"
// CHECK-SAME: engine = "vector"
func.func @evacuation_is_open(%x: tensor<64x1000xf32>, %w: tensor<64x64xf32>) -> tensor<1000x64xf32> {
  %y = "neuron.dot"(%x, %w) ({}) {lhs_batch = [], rhs_batch = [], lhs_contract = [0], rhs_contract = [0]} : (tensor<64x1000xf32>, tensor<64x64xf32>) -> tensor<1000x64xf32>
  return %y : tensor<1000x64xf32>
}

// -----

// 200 rows go to their places in two transfers, one after the other; what has no place is skipped.
// CHECK-LABEL: module attributes
// CHECK:      "ntile.dma_copy"(%result0, %rows, %load)
// CHECK-SAME: op = "add", oob = "skip", indirect = "scatter"
// CHECK:      "ntile.dma_copy"(%result0, %rows, %load)
// CHECK-SAME: op = "add", oob = "skip", indirect = "scatter"
// CHECK-NOT:  indirect = "scatter"
// CHECK:      {{^}$}}
func.func @scattered_rows(%t: tensor<9x8xf32>, %i: tensor<200xi32>, %u: tensor<200x8xf32>) -> tensor<9x8xf32> {
  %y = "neuron.scatter_rows"(%t, %i, %u) {kind = "add"} : (tensor<9x8xf32>, tensor<200xi32>, tensor<200x8xf32>) -> tensor<9x8xf32>
  return %y : tensor<9x8xf32>
}
