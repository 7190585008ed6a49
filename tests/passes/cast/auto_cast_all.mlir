// RUN: axonc opt %s --pass-pipeline "auto-cast{mode=all type=fp16}"

// Only the rows that are read of the table are converted; a mask beyond the range of f16 stays finite; the
// result is converted back.
// CHECK-LABEL: func.func @main
// CHECK:         "neuron.constant"() {value = dense<-6.550400e+04> : tensor<3x4xf16>}
// CHECK:         [[ROWS:%.+]] = "neuron.gather_rows"(%arg0, %arg1) : (tensor<10x4xf32>, tensor<3xi32>) -> tensor<3x4xf32>
// CHECK:         "neuron.convert"([[ROWS]]) : (tensor<3x4xf32>) -> tensor<3x4xf16>
// CHECK:         [[SUM:%.+]] = "neuron.add"{{.*}} -> tensor<3x4xf16>
// CHECK:         [[OUT:%.+]] = "neuron.convert"([[SUM]]) : (tensor<3x4xf16>) -> tensor<3x4xf32>
// CHECK:         return [[OUT]]
func.func @main(%t: tensor<10x4xf32>, %i: tensor<3xi32>) -> tensor<3x4xf32> {
  %mask = "neuron.constant"() {value = dense<-3.0e+38> : tensor<3x4xf32>} : () -> tensor<3x4xf32>
  %0 = "neuron.gather_rows"(%t, %i) : (tensor<10x4xf32>, tensor<3xi32>) -> tensor<3x4xf32>
  %1 = "neuron.add"(%0, %mask) : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  return %1 : tensor<3x4xf32>
}
