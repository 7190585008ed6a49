// RUN: axonc opt %s --pass-pipeline "split-control-flow,legalize-to-neuron,fuse-elementwise,choose-layouts,tile,assign-engines,allocate-memory,place-blocks"

// A place that one block writes and another reads is one tensor at one address, scratch memory of
// the program; inputs and results are what they were.
// CHECK-LABEL: // block 0; while: {block 1}; block 2
// CHECK:       // ---- block 0
// CHECK:       name = "arg0", address = 0, kind = "input"
// CHECK:       name = "place:0:made", address = 64, kind = "scratch"
// CHECK:       // ---- block 1
// CHECK:       name = "place:0", address = 64, kind = "scratch"
// CHECK:       name = "place:0:made", address = 64, kind = "scratch"
// CHECK:       // ---- block 2
// CHECK:       name = "place:0", address = 64, kind = "scratch"
// CHECK:       name = "result0", address = 128, kind = "output"
func.func @main(%x: tensor<i32>) -> tensor<i32> {
  %0 = stablehlo.while(%i = %x) : tensor<i32>
  cond {
    %ten = stablehlo.constant dense<10> : tensor<i32>
    %c = stablehlo.compare LT, %i, %ten : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  } do {
    %n = stablehlo.add %i, %i : tensor<i32>
    stablehlo.return %n : tensor<i32>
  }
  return %0 : tensor<i32>
}
