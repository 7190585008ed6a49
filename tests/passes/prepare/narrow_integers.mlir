// RUN: axonc opt %s --split-input-file --pass-pipeline "narrow-integers"

// What is returned may be of any size: two words, and a carry.
// CHECK-LABEL: func.func @main
// CHECK-SAME:    %arg0: tensor<2x4xui32> {neuron.host_dtype = "i64", neuron.name = "x"}
// CHECK-SAME:    -> (tensor<2x4xui32> {neuron.host_dtype = "i64"})
// CHECK:         stablehlo.constant dense<7> : tensor<4xi32>
// CHECK:         %[[SUM:.*]] = stablehlo.add
// CHECK:         stablehlo.compare LT, %[[SUM]]
// CHECK:         stablehlo.concatenate {{.*}} -> tensor<2x4xui32>
func.func @main(%x: tensor<4xi64> {neuron.name = "x"}) -> tensor<4xi64> {
  %c = stablehlo.constant dense<7> : tensor<4xi64>
  %0 = stablehlo.add %x, %c : tensor<4xi64>
  return %0 : tensor<4xi64>
}

// -----
// A mask compared with zero is one word.
// CHECK-LABEL: func.func @main(%arg0: tensor<4xi32> {neuron.host_dtype = "i64"})
// CHECK:         stablehlo.compare NE, %arg0, %c : (tensor<4xi32>, tensor<4xi32>)
func.func @main(%mask: tensor<4xi64>) -> tensor<4xi1> {
  %c = stablehlo.constant dense<0> : tensor<4xi64>
  %0 = stablehlo.compare NE, %mask, %c : (tensor<4xi64>, tensor<4xi64>) -> tensor<4xi1>
  return %0 : tensor<4xi1>
}

// -----
// ... but with a number that 32 bits do not hold it is two.
// CHECK-LABEL: func.func @main(%arg0: tensor<2x4xui32> {neuron.host_dtype = "i64"})
func.func @main(%x: tensor<4xi64>) -> tensor<4xi1> {
  %c = stablehlo.constant dense<2147483647> : tensor<4xi64>
  %0 = stablehlo.compare LT, %x, %c : (tensor<4xi64>, tensor<4xi64>) -> tensor<4xi1>
  return %0 : tensor<4xi1>
}

// -----
// An index that counts from the end: x + 10 is read only where x is negative.
// CHECK-LABEL: func.func @main(%arg0: tensor<i32> {neuron.host_dtype = "i64"}
// CHECK:         stablehlo.add %arg0, %{{.*}} : tensor<i32>
// CHECK:         stablehlo.select {{.*}} tensor<i32>
func.func @main(%i: tensor<i64>, %x: tensor<10xf32>) -> tensor<1xf32> {
  %zero = stablehlo.constant dense<0> : tensor<i64>
  %ten = stablehlo.constant dense<10> : tensor<i64>
  %0 = stablehlo.compare LT, %i, %zero : (tensor<i64>, tensor<i64>) -> tensor<i1>
  %1 = stablehlo.add %i, %ten : tensor<i64>
  %2 = stablehlo.select %0, %1, %i : tensor<i1>, tensor<i64>
  %3 = stablehlo.dynamic_slice %x, %2, sizes = [1] : (tensor<10xf32>, tensor<i64>) -> tensor<1xf32>
  return %3 : tensor<1xf32>
}

// -----
// The number of true elements fits, and so does the sum of a mask.
// CHECK-LABEL: func.func @main
// CHECK:         stablehlo.reduce{{.*}} : (tensor<8xi32>, tensor<i32>) -> tensor<i32>
// CHECK:         return {{.*}} : tensor<i32>
func.func @main(%x: tensor<8xi1>) -> tensor<i64> {
  %zero = stablehlo.constant dense<0> : tensor<i64>
  %0 = stablehlo.convert %x : (tensor<8xi1>) -> tensor<8xi64>
  %1 = stablehlo.reduce(%0 init: %zero) applies stablehlo.add across dimensions = [0] : (tensor<8xi64>, tensor<i64>) -> tensor<i64>
  return %1 : tensor<i64>
}

// -----
// The least i64, which a maximum begins with, becomes the least i32.
// CHECK-LABEL: func.func @main
// CHECK:         stablehlo.constant dense<-2147483648> : tensor<i32>
// CHECK:         stablehlo.reduce{{.*}} applies stablehlo.maximum
func.func @main(%x: tensor<8xi32>) -> tensor<i64> {
  %least = stablehlo.constant dense<-9223372036854775808> : tensor<i64>
  %0 = stablehlo.convert %x : (tensor<8xi32>) -> tensor<8xi64>
  %1 = stablehlo.reduce(%0 init: %least) applies stablehlo.maximum across dimensions = [0] : (tensor<8xi64>, tensor<i64>) -> tensor<i64>
  return %1 : tensor<i64>
}

// -----
// Nobody reads the high word of the product: one word.
// CHECK-LABEL: func.func @main
// CHECK:         stablehlo.multiply {{.*}} : tensor<4xi32>
// CHECK:         stablehlo.and {{.*}} : tensor<4xi32>
func.func @main(%x: tensor<4xi32>) -> tensor<4xi64> {
  %c = stablehlo.constant dense<255> : tensor<4xi64>
  %0 = stablehlo.convert %x : (tensor<4xi32>) -> tensor<4xi64>
  %1 = stablehlo.multiply %0, %0 : tensor<4xi64>
  %2 = stablehlo.and %1, %c : tensor<4xi64>
  return %2 : tensor<4xi64>
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
// A shift of zeros into a negative number is another in 32 bits, though its result fits.
// CHECK-LABEL: func.func @main
// CHECK:         stablehlo.shift_right_logical {{.*}} : tensor<ui32>
func.func @main(%x: tensor<i32>) -> tensor<i64> {
  %c = stablehlo.constant dense<60> : tensor<i64>
  %0 = stablehlo.convert %x : (tensor<i32>) -> tensor<i64>
  %1 = stablehlo.shift_right_logical %0, %c : tensor<i64>
  return %1 : tensor<i64>
}

// -----
// What has no form on words is refused.
// CHECK: error: stablehlo.reduce_window: 64-bit integer arithmetic (windows of 64-bit integers by stablehlo.maximum)
func.func @main(%x: tensor<8xi64>) -> tensor<7xi64> {
  %c = stablehlo.constant dense<-9223372036854775808> : tensor<i64>
  %0 = "stablehlo.reduce_window"(%x, %c) <{window_dimensions = array<i64: 2>}> ({
  ^bb0(%a: tensor<i64>, %b: tensor<i64>):
    %1 = stablehlo.maximum %a, %b : tensor<i64>
    stablehlo.return %1 : tensor<i64>
  }) : (tensor<8xi64>, tensor<i64>) -> tensor<7xi64>
  return %0 : tensor<7xi64>
}
