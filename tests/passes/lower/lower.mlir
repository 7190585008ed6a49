// RUN: axonc opt %s --split-input-file --pass-pipeline "lower"

// From load to store: each engine counts what it has done, each DMA queue its transfers by 16; who
// needs a result of another waits for that count.
// CHECK-LABEL: module
// CHECK:       "nisa.activation"()
// CHECK-SAME:  signal = array<i64: 2, 1>
// CHECK-SAME:  waits = [array<i64: 13, 16>]
// CHECK:       engine = "scalar"
// CHECK:       "nisa.dma_copy"()
// CHECK-SAME:  queue = 8 : i64, signal = array<i64: 13, 16>
// CHECK-NOT:   waits
// CHECK:       "nisa.dma_copy"()
// CHECK-SAME:  queue = 9 : i64, signal = array<i64: 14, 16>
// CHECK-SAME:  waits = [array<i64: 2, 1>]
// CHECK:       engine = "sync"
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%a = "ntile.buffer"() {name = "a", kind = "input", shape = array<i64: 128, 512>, dtype = "f32",
  host_dtype = "f32", address = 0} : () -> !hbm
%b = "ntile.buffer"() {name = "b", kind = "output", shape = array<i64: 128, 512>, dtype = "f32",
  host_dtype = "f32", address = 262144} : () -> !hbm
%x = "ntile.buffer"() {name = "x", address = 0} : () -> !sbuf
%y = "ntile.buffer"() {name = "y", address = 2048} : () -> !sbuf
"ntile.dma_copy"(%x, %a) {engine = "sync", dst = #tile, src = #rows, issue = 0, queue = 8} : (!sbuf, !hbm) -> ()
"ntile.activation"(%y, %x) {engine = "scalar", dst = #tile, src = #tile, func = "exp", issue = 0,
  operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()
"ntile.dma_copy"(%b, %y) {engine = "sync", dst = #rows, src = #tile, issue = 1, queue = 9} : (!hbm, !sbuf) -> ()

// -----

// One engine runs in order: no wait for its own results.
// CHECK-LABEL: module
// CHECK:       "nisa.tensor_copy"()
// CHECK-SAME:  signal = array<i64: 1, 1>
// CHECK-NOT:   waits
// CHECK:       "nisa.tensor_copy"()
// CHECK-SAME:  signal = array<i64: 1, 1>
// CHECK-NOT:   waits
// CHECK:       engine = "vector"
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x", address = 0} : () -> !sbuf
%y = "ntile.buffer"() {name = "y", address = 2048} : () -> !sbuf
%z = "ntile.buffer"() {name = "z", address = 4096} : () -> !sbuf
"ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #tile, src = #tile, issue = 0} : (!sbuf, !sbuf) -> ()
"ntile.tensor_copy"(%z, %y) {engine = "vector", dst = #tile, src = #tile, issue = 1} : (!sbuf, !sbuf) -> ()

// -----

// Two results of one engine need one wait, for the later; the earlier is implied.
// CHECK-LABEL: module
// CHECK:       "nisa.tensor_tensor"()
// CHECK-SAME:  waits = [array<i64: 2, 2>]
// CHECK:       engine = "vector"
// CHECK-COUNT-2: "nisa.activation"()
// CHECK-NOT:   "nisa.semaphore_wait"
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x", address = 0} : () -> !sbuf
%y = "ntile.buffer"() {name = "y", address = 2048} : () -> !sbuf
%z = "ntile.buffer"() {name = "z", address = 4096} : () -> !sbuf
"ntile.activation"(%x, %x) {engine = "scalar", dst = #tile, src = #tile, func = "exp", issue = 0,
  operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()
"ntile.activation"(%y, %y) {engine = "scalar", dst = #tile, src = #tile, func = "exp", issue = 1,
  operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()
"ntile.tensor_tensor"(%z, %x, %y) {engine = "vector", dst = #tile, src0 = #tile, src1 = #tile, op = "add", issue = 0}
  : (!sbuf, !sbuf, !sbuf) -> ()

// -----

// An instruction carries one wait; the results of two engines need an instruction more.
// CHECK-LABEL: module
// CHECK:       "nisa.semaphore_wait"() {{.*}}semaphore = 2 : i64, value = 1 : i64}
// CHECK-NEXT:  "nisa.tensor_tensor"()
// CHECK-SAME:  waits = [array<i64: 3, 1>]
// CHECK:       engine = "vector"
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x", address = 0} : () -> !sbuf
%y = "ntile.buffer"() {name = "y", address = 2048} : () -> !sbuf
%z = "ntile.buffer"() {name = "z", address = 4096} : () -> !sbuf
"ntile.activation"(%x, %x) {engine = "scalar", dst = #tile, src = #tile, func = "exp", issue = 0,
  operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()
"ntile.memset"(%y) {engine = "gpsimd", dst = #tile, issue = 0} : (!sbuf) -> ()
"ntile.tensor_tensor"(%z, %x, %y) {engine = "vector", dst = #tile, src0 = #tile, src1 = #tile, op = "add", issue = 0}
  : (!sbuf, !sbuf, !sbuf) -> ()

// -----

// Bytes given to another buffer are written only after their last reader, although the buffers have
// nothing else to do with each other.
// CHECK-LABEL: module
// CHECK:       "nisa.tensor_copy"()
// CHECK:       engine = "vector"
// CHECK:       "nisa.memset"()
// CHECK-SAME:  waits = [array<i64: 1, 1>]
// CHECK:       engine = "gpsimd"
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x", address = 0} : () -> !sbuf
%y = "ntile.buffer"() {name = "y", address = 2048} : () -> !sbuf
%z = "ntile.buffer"() {name = "z", address = 0} : () -> !sbuf
"ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #tile, src = #tile, issue = 0} : (!sbuf, !sbuf) -> ()
"ntile.memset"(%z) {engine = "gpsimd", dst = #tile, issue = 0} : (!sbuf) -> ()

// -----

// Without an order of issue there is nothing to lower.
// CHECK:      error: operations have no order of issue
// CHECK-NEXT: in pass lower
// CHECK-NEXT: hint: run 'schedule' first
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x", address = 0} : () -> !sbuf
%y = "ntile.buffer"() {name = "y", address = 2048} : () -> !sbuf
"ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()
