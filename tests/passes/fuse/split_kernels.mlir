// RUN: axonc opt %s --split-input-file --pass-pipeline "split-kernels"

// 300 elements of one feature: 128, 128 and 44, added in float32 and rounded once.
// CHECK-LABEL: func.func @long
// CHECK-NEXT:  %[[K0:.*]] = "neuron.slice"(%arg1) {limit = [8, 1, 128], start = [0, 0, 0]
// CHECK-NEXT:  %[[Y0:.*]] = "neuron.convolution"(%arg0, %[[K0]])
// CHECK:       high = [-169], {{.*}} low = [5]
// CHECK:       %[[K1:.*]] = "neuron.slice"(%arg1) {limit = [8, 1, 256], start = [0, 0, 128]
// CHECK:       high = [-41], {{.*}} low = [-123]
// CHECK:       %[[S:.*]] = "neuron.add"(%[[Y0]]
// CHECK:       %[[K2:.*]] = "neuron.slice"(%arg1) {limit = [8, 1, 300], start = [0, 0, 256]
// CHECK:       high = [3], {{.*}} low = [-251]
// CHECK:       %[[T:.*]] = "neuron.add"(%[[S]]
// CHECK:       "neuron.convert"(%[[T]])
func.func @long(%x: tensor<2x1x1000xbf16>, %k: tensor<8x1x300xbf16>) -> tensor<2x8x355xbf16> {
  %y = "neuron.convolution"(%x, %k) ({}) {groups = 1 : i64, lhs_dims = [0, 1, 2],
    rhs_dims = [0, 1, 2], result_dims = [0, 1, 2], strides = [2], low = [5], high = [3],
    lhs_dilation = [1], rhs_dilation = [1], reversal = [0],
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0>}
    : (tensor<2x1x1000xbf16>, tensor<8x1x300xbf16>) -> tensor<2x8x355xbf16>
  return %y : tensor<2x8x355xbf16>
}

// -----

// Left alone: many features, a reversed kernel, an image that is spread out, groups.
// CHECK-LABEL: func.func @features
// CHECK-NOT:   neuron.slice
func.func @features(%x: tensor<2x64x100xf32>, %k: tensor<8x64x30xf32>) -> tensor<2x8x71xf32> {
  %y = "neuron.convolution"(%x, %k) ({}) {groups = 1 : i64, lhs_dims = [0, 1, 2],
    rhs_dims = [0, 1, 2], result_dims = [0, 1, 2], strides = [1], low = [0], high = [0],
    lhs_dilation = [1], rhs_dilation = [1], reversal = [0],
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0>}
    : (tensor<2x64x100xf32>, tensor<8x64x30xf32>) -> tensor<2x8x71xf32>
  return %y : tensor<2x8x71xf32>
}

// -----

// CHECK-LABEL: func.func @reversed
// CHECK-NOT:   neuron.slice
func.func @reversed(%x: tensor<2x1x1000xf32>, %k: tensor<8x1x300xf32>) -> tensor<2x8x701xf32> {
  %y = "neuron.convolution"(%x, %k) ({}) {groups = 1 : i64, lhs_dims = [0, 1, 2],
    rhs_dims = [0, 1, 2], result_dims = [0, 1, 2], strides = [1], low = [0], high = [0],
    lhs_dilation = [1], rhs_dilation = [1], reversal = [1],
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0>}
    : (tensor<2x1x1000xf32>, tensor<8x1x300xf32>) -> tensor<2x8x701xf32>
  return %y : tensor<2x8x701xf32>
}

// -----

// CHECK-LABEL: func.func @spread
// CHECK-NOT:   neuron.slice
func.func @spread(%x: tensor<2x1x500xf32>, %k: tensor<8x1x300xf32>) -> tensor<2x8x700xf32> {
  %y = "neuron.convolution"(%x, %k) ({}) {groups = 1 : i64, lhs_dims = [0, 1, 2],
    rhs_dims = [0, 1, 2], result_dims = [0, 1, 2], strides = [1], low = [0], high = [0],
    lhs_dilation = [2], rhs_dilation = [1], reversal = [0],
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0>}
    : (tensor<2x1x500xf32>, tensor<8x1x300xf32>) -> tensor<2x8x700xf32>
  return %y : tensor<2x8x700xf32>
}

// -----

// CHECK-LABEL: func.func @groups
// CHECK-NOT:   neuron.slice
func.func @groups(%x: tensor<2x2x1000xf32>, %k: tensor<8x1x300xf32>) -> tensor<2x8x701xf32> {
  %y = "neuron.convolution"(%x, %k) ({}) {groups = 2 : i64, lhs_dims = [0, 1, 2],
    rhs_dims = [0, 1, 2], result_dims = [0, 1, 2], strides = [1], low = [0], high = [0],
    lhs_dilation = [1], rhs_dilation = [1], reversal = [0],
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 0, 0, 0>}
    : (tensor<2x2x1000xf32>, tensor<8x1x300xf32>) -> tensor<2x8x701xf32>
  return %y : tensor<2x8x701xf32>
}
