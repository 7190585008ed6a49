// RUN: axonc opt %s --split-input-file --pass-pipeline "narrow-integers"

// CHECK-LABEL: func.func @main
// CHECK-SAME:    %arg0: tensor<4xi32> {neuron.host_dtype = "i64", neuron.name = "ids"}
// CHECK-SAME:    -> (tensor<4xi32> {neuron.host_dtype = "i64"})
// CHECK:         stablehlo.constant dense<-7> : tensor<4xi32>
// CHECK:         stablehlo.add %arg0, %c : tensor<4xi32>
func.func @main(%ids: tensor<4xi64> {neuron.name = "ids"}) -> tensor<4xi64> {
  %c = stablehlo.constant dense<-7> : tensor<4xi64>
  %0 = stablehlo.add %ids, %c : tensor<4xi64>
  return %0 : tensor<4xi64>
}

// -----
// Unsigned integers keep their sign.
// CHECK-LABEL: func.func @main
// CHECK:         stablehlo.constant dense<4294967295> : tensor<ui32>
func.func @main() -> tensor<ui64> {
  %c = stablehlo.constant dense<4294967295> : tensor<ui64>
  return %c : tensor<ui64>
}

// -----
// A constant that does not fit is an error, and so is arithmetic that may need 64 bits.
// CHECK: error: stablehlo.constant: the constant 4294967296 does not fit in i32
func.func @main() -> tensor<i64> {
  %c = stablehlo.constant dense<4294967296> : tensor<i64>
  return %c : tensor<i64>
}

// -----
// CHECK: error: stablehlo.multiply: 64-bit integer arithmetic
// CHECK: hint: convert to int32 in the model
func.func @main(%x: tensor<4xi64>) -> tensor<4xi64> {
  %0 = stablehlo.multiply %x, %x : tensor<4xi64>
  return %0 : tensor<4xi64>
}

// -----
// CHECK: error: stablehlo.add: 64-bit integer arithmetic (sum of two computed values)
func.func @main(%x: tensor<4xi64>) -> tensor<4xi64> {
  %0 = stablehlo.add %x, %x : tensor<4xi64>
  return %0 : tensor<4xi64>
}
