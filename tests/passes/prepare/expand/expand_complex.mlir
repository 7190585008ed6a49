// RUN: axonc opt %s --split-input-file --pass-pipeline "expand-complex"

// Real parts first, in one tensor; the machine sees reals only.
// CHECK-LABEL: func.func @main
// CHECK-SAME: tensor<2x4xf32> {neuron.host_dtype = "complex<f32>"}) -> (tensor<2x4xf32> {neuron.host_dtype = "complex<f32>"})
// CHECK-NOT: complex
// CHECK: stablehlo.multiply
// CHECK: stablehlo.concatenate
// CHECK: return %{{.+}} : tensor<2x4xf32>
func.func @main(%x: tensor<4xcomplex<f32>>) -> tensor<4xcomplex<f32>> {
  %i = stablehlo.constant dense<(0.0, 1.0)> : tensor<4xcomplex<f32>>
  %0 = stablehlo.multiply %x, %i : tensor<4xcomplex<f32>>
  return %0 : tensor<4xcomplex<f32>>
}

// -----
// A transform of reals is two products with a matrix.
// CHECK-LABEL: func.func @main
// CHECK-COUNT-2: stablehlo.dot_general
// CHECK-NOT: stablehlo.dot_general
func.func @main(%x: tensor<3x8xf32>) -> tensor<3x5xcomplex<f32>> {
  %0 = stablehlo.fft %x, type = RFFT, length = [8] : (tensor<3x8xf32>) -> tensor<3x5xcomplex<f32>>
  return %0 : tensor<3x5xcomplex<f32>>
}

// -----
// What is not known of complex numbers is refused by name.
// CHECK: error: stablehlo.bitcast_convert: complex numbers
func.func @main(%x: tensor<3xf32>) -> tensor<3xf32> {
  %0 = stablehlo.complex %x, %x : tensor<3xcomplex<f32>>
  %1 = stablehlo.bitcast_convert %0 : (tensor<3xcomplex<f32>>) -> tensor<3xcomplex<f32>>
  %2 = stablehlo.real %1 : (tensor<3xcomplex<f32>>) -> tensor<3xf32>
  return %2 : tensor<3xf32>
}
