// RUN: axonc opt %s --split-input-file --pass-pipeline "expand-random"

// The state is a key and a counter; two words are made of each count.
// CHECK-LABEL: func.func @main
// CHECK-NOT: rng_bit_generator
// CHECK: stablehlo.iota dim = 0 : tensor<2xui64>
// CHECK: dense<466688986> : tensor<2xui32>
// CHECK-NOT: rng_bit_generator
func.func @main(%s: tensor<2xui64>) -> (tensor<2xui64>, tensor<4xui32>) {
  %state, %x = stablehlo.rng_bit_generator %s, algorithm = THREE_FRY
      : (tensor<2xui64>) -> (tensor<2xui64>, tensor<4xui32>)
  return %state, %x : tensor<2xui64>, tensor<4xui32>
}

// -----
// Without a key there is nothing to draw from.
// CHECK: error: stablehlo.rng: random numbers without an argument 'axonc.random_key' of two ui32
func.func @main(%low: tensor<f32>, %high: tensor<f32>) -> tensor<4xf32> {
  %shape = stablehlo.constant dense<4> : tensor<1xi64>
  %x = stablehlo.rng %low, %high, %shape, distribution = UNIFORM
      : (tensor<f32>, tensor<f32>, tensor<1xi64>) -> tensor<4xf32>
  return %x : tensor<4xf32>
}
