// RUN: axonc opt %s --split-input-file --pass-pipeline "allocate-memory,schedule,lower,check-collectives"

// Two cores run one program: the stream is as it was, its collective waits for the load and signals
// the first semaphore after those of the DMA queues.
// CHECK-LABEL: module
// CHECK-SAME:  nisa.cores = 2 : i64, nisa.groups = {{\[\[\[}}0, 1]]]
// CHECK:       "nisa.all_reduce"()
// CHECK-SAME:  signal = array<i64: 21, 1>
// CHECK-SAME:  waits = [array<i64: 6, 16>]
// CHECK:       engine = "gpsimd"
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
module attributes {ntile.cores = 2 : i64, ntile.groups = [[[0, 1]]]} {
%a = "ntile.buffer"() {name = "a", kind = "input", shape = array<i64: 128, 512>, dtype = "f32",
  host_dtype = "f32"} : () -> !hbm
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%y = "ntile.buffer"() {name = "y"} : () -> !sbuf
"ntile.dma_copy"(%x, %a) {engine = "gpsimd", dst = #tile, src = #rows} : (!sbuf, !hbm) -> ()
"ntile.all_reduce"(%y, %x) {engine = "gpsimd", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()
}

// -----

// Core 2 stands in no group: it would have nobody to wait for, and nobody would wait for it.
// CHECK: error: all_reduce: core 2 is in no group of {{\[\[}}0, 1]]
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
module attributes {ntile.cores = 3 : i64, ntile.groups = [[[0, 1]]]} {
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%y = "ntile.buffer"() {name = "y"} : () -> !sbuf
"ntile.all_reduce"(%y, %x) {engine = "gpsimd", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()
}
