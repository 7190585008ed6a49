// RUN: axonc opt %s --split-input-file --pass-pipeline "plan-casts{mode=matmult type=bf16 weight-dtype=fp8_e4m3},auto-cast{mode=matmult type=bf16},quantize{scale=channel}"

// A scale per output channel, behind the product; the weight and its scales are new arguments.
// CHECK-LABEL: func.func @main
// CHECK-SAME:    %arg2: tensor<8x6xf8E4M3> {neuron.name = "w:fp8_e4m3", neuron.weight}
// CHECK-SAME:    %arg3: tensor<1x6xf32> {neuron.name = "w:fp8_e4m3:scale", neuron.weight}
// CHECK:         [[X:%.+]] = "neuron.convert"(%arg0) : (tensor<4x8xf32>) -> tensor<4x8xbf16>
// CHECK:         [[D:%.+]] = "neuron.dot"([[X]], %arg2)
// CHECK:         [[R:%.+]] = "neuron.reshape"(%arg3) : (tensor<1x6xf32>) -> tensor<6xf32>
// CHECK:         [[S:%.+]] = "neuron.broadcast"([[R]]) {dims = [1]} : (tensor<6xf32>) -> tensor<4x6xf32>
// CHECK:         "neuron.multiply"([[D]], [[S]])
// CHECK-NOT:     cast.
func.func @main(%x: tensor<4x8xf32>, %w: tensor<8x6xf32> {neuron.name = "w", neuron.weight}) -> tensor<4x6xf32> {
  %1 = "neuron.dot"(%x, %w) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]} : (tensor<4x8xf32>, tensor<8x6xf32>) -> tensor<4x6xf32>
  return %1 : tensor<4x6xf32>
}

// -----

// Scales go through the views the weight goes through.
// CHECK-LABEL: func.func @main
// CHECK-SAME:    tensor<3x12x8xf8E4M3>
// CHECK-SAME:    tensor<3x12x1xf32>
// CHECK:         "neuron.slice"(%arg3) {limit = [2, 12, 1], start = [1, 0, 0], strides = [1, 1, 1]}
// CHECK:         -> tensor<6x2xf32>
// CHECK:         "neuron.broadcast"({{.*}}) {dims = [1, 2]} : (tensor<6x2xf32>) -> tensor<4x6x2xf32>
func.func @main(%x: tensor<4x8xf32>, %w: tensor<3x12x8xf32> {neuron.name = "w", neuron.weight}) -> tensor<4x6x2xf32> {
  %0 = "neuron.slice"(%w) {start = [1, 0, 0], limit = [2, 12, 8], strides = [1, 1, 1]} : (tensor<3x12x8xf32>) -> tensor<1x12x8xf32>
  %1 = "neuron.reshape"(%0) : (tensor<1x12x8xf32>) -> tensor<6x2x8xf32>
  %2 = "neuron.dot"(%x, %1) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [2]} : (tensor<4x8xf32>, tensor<6x2x8xf32>) -> tensor<4x6x2xf32>
  return %2 : tensor<4x6x2xf32>
}

// -----

// A reshape that mixes channels with the contraction: one scale.
// CHECK-LABEL: func.func @main
// CHECK-SAME:    %arg3: tensor<1xf32> {neuron.name = "w:fp8_e4m3:scale", neuron.weight}
// CHECK:         "neuron.broadcast"({{.*}}) {dims = [0]} : (tensor<1xf32>) -> tensor<4x6xf32>
func.func @main(%x: tensor<4x8xf32>, %w: tensor<48xf32> {neuron.name = "w", neuron.weight}) -> tensor<4x6xf32> {
  %0 = "neuron.reshape"(%w) : (tensor<48xf32>) -> tensor<8x6xf32>
  %1 = "neuron.dot"(%x, %0) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]} : (tensor<4x8xf32>, tensor<8x6xf32>) -> tensor<4x6xf32>
  return %1 : tensor<4x6xf32>
}

// -----

// A table: its rows are scaled after the gather, each by its own scale.
// CHECK-LABEL: func.func @main
// CHECK:         [[ROWS:%.+]] = "neuron.gather_rows"(%arg2, %arg1) : (tensor<16x8xf8E4M3>, tensor<4xi32>) -> tensor<4x8xf8E4M3>
// CHECK:         [[WIDE:%.+]] = "neuron.convert"([[ROWS]])
// CHECK:         [[SCALES:%.+]] = "neuron.gather_rows"(%arg3, %arg1) : (tensor<16x1xf32>, tensor<4xi32>) -> tensor<4x1xf32>
// CHECK:         "neuron.broadcast"({{.*}}) {dims = [0]} : (tensor<4xf32>) -> tensor<4x8xf32>
// CHECK:         "neuron.multiply"([[WIDE]],
func.func @main(%t: tensor<16x8xf32> {neuron.name = "t", neuron.weight}, %i: tensor<4xi32>) -> tensor<4x8xf32> {
  %0 = "neuron.gather_rows"(%t, %i) : (tensor<16x8xf32>, tensor<4xi32>) -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// -----

// A product of two inputs has no weight: auto-cast alone.
// CHECK-LABEL: func.func @main
// CHECK-NOT:     f8E4M3
// CHECK:         -> tensor<8x6xbf16>
// CHECK:         "neuron.dot"
func.func @main(%x: tensor<4x8xf32>, %y: tensor<8x6xf32>) -> tensor<4x6xf32> {
  %1 = "neuron.dot"(%x, %y) ({}) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]} : (tensor<4x8xf32>, tensor<8x6xf32>) -> tensor<4x6xf32>
  return %1 : tensor<4x6xf32>
}
