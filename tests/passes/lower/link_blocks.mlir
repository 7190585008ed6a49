// RUN: axonc opt %s --pass-pipeline "split-control-flow,legalize-to-neuron,fuse-elementwise,choose-layouts,tile,assign-engines,allocate-memory,place-blocks,schedule,lower,link-blocks"

// Every engine arrives, loads the number, arrives again, and branches: over the loop, then back to
// its begin. SyncE first waits for what the block has counted, and clears it.
// CHECK-LABEL: module
// CHECK:       "nisa.semaphore_add"() {semaphore = 60 : i64, value = 1 : i64}
// CHECK-NEXT:  "nisa.semaphore_wait"() {semaphore = 61 : i64, value = 1 : i64}
// CHECK-NEXT:  "nisa.register_load"() {dst = 63 : i64
// CHECK-NEXT:  "nisa.semaphore_add"() {semaphore = 62 : i64, value = 1 : i64}
// CHECK-NEXT:  "nisa.semaphore_wait"() {semaphore = 63 : i64, value = 1 : i64}
// CHECK-NEXT:  "nisa.branch"() {a = 63 : i64, b = 0 : i64, compare = "is_equal", imm = 0 : i64, target = 12
// CHECK:       "nisa.register_load"() {dst = 63 : i64
// CHECK:       "nisa.branch"() {a = 63 : i64, b = 0 : i64, compare = "not_equal", imm = 0 : i64, target = 6
// CHECK:       engine = "tensor"
// CHECK:       engine = "gpsimd"
// CHECK:       "nisa.semaphore_wait"() {semaphore = 60 : i64, value = 4 : i64}
// CHECK-NEXT:  "nisa.semaphore_set"() {semaphore = 1 : i64, value = 0 : i64}
// CHECK:       "nisa.semaphore_set"() {semaphore = 60 : i64, value = 0 : i64}
// CHECK-NEXT:  "nisa.semaphore_set"() {semaphore = 63 : i64, value = 0 : i64}
// CHECK-NEXT:  "nisa.semaphore_add"() {semaphore = 61 : i64, value = 1 : i64}
// CHECK-NEXT:  "nisa.register_load"() {dst = 63 : i64
// CHECK:       engine = "sync"
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
