// RUN: axonc opt %s --split-input-file --pass-pipeline "allocate-memory,schedule"

// A transfer that waits for a result does not keep the next weight from coming: the load of w is
// issued before the store of y, though it stands after it.
// CHECK-LABEL: module
// CHECK:       "ntile.dma_copy"(%x, %a) {engine = "sync", issue = 0
// CHECK:       "ntile.activation"(%y, %x) {engine = "scalar", issue = 0
// CHECK:       "ntile.dma_copy"(%b, %y) {engine = "sync", issue = 2
// CHECK:       "ntile.dma_copy"(%w, %c) {engine = "sync", issue = 1
// CHECK:       "ntile.activation"(%z, %w) {engine = "scalar", issue = 1
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%a = "ntile.buffer"() {name = "a", kind = "input", shape = array<i64: 128, 512>, dtype = "f32",
  host_dtype = "f32"} : () -> !hbm
%b = "ntile.buffer"() {name = "b", kind = "output", shape = array<i64: 128, 512>, dtype = "f32",
  host_dtype = "f32"} : () -> !hbm
%c = "ntile.buffer"() {name = "c", kind = "weight", shape = array<i64: 128, 512>, dtype = "f32",
  host_dtype = "f32"} : () -> !hbm
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%y = "ntile.buffer"() {name = "y"} : () -> !sbuf
%w = "ntile.buffer"() {name = "w"} : () -> !sbuf
%z = "ntile.buffer"() {name = "z"} : () -> !sbuf
"ntile.dma_copy"(%x, %a) {engine = "sync", dst = #tile, src = #rows} : (!sbuf, !hbm) -> ()
"ntile.activation"(%y, %x) {engine = "scalar", dst = #tile, src = #tile, func = "exp",
  operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()
"ntile.dma_copy"(%b, %y) {engine = "sync", dst = #rows, src = #tile} : (!hbm, !sbuf) -> ()
"ntile.dma_copy"(%w, %c) {engine = "sync", dst = #tile, src = #rows} : (!sbuf, !hbm) -> ()
"ntile.activation"(%z, %w) {engine = "scalar", dst = #tile, src = #tile, func = "exp",
  operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()

// -----

// Independent work of another engine fills the time an engine would wait; what depends on each
// other stays in order.
// CHECK-LABEL: module
// CHECK:       "ntile.activation"(%x, %x) {engine = "scalar", issue = 0
// CHECK:       "ntile.tensor_copy"(%y, %x) {engine = "vector", issue = 1
// CHECK:       "ntile.tensor_copy"(%z, %z) {engine = "vector", issue = 0
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%y = "ntile.buffer"() {name = "y"} : () -> !sbuf
%z = "ntile.buffer"() {name = "z"} : () -> !sbuf
"ntile.activation"(%x, %x) {engine = "scalar", dst = #tile, src = #tile, func = "exp",
  operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()
"ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()
"ntile.tensor_copy"(%z, %z) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()

// -----

// Transfers go round the queues: streamed weights have queue 0, all others 1 to 15.
// CHECK-LABEL: module
// CHECK:       "ntile.dma_copy"(%x, %a)
// CHECK-SAME:  queue = 1}
// CHECK:       "ntile.dma_copy"(%y, %a)
// CHECK-SAME:  queue = 2}
// CHECK:       "ntile.dma_copy"(%w, %a)
// CHECK-NOT:   queue
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%a = "ntile.buffer"() {name = "a", kind = "weight", shape = array<i64: 128, 512>, dtype = "f32",
  host_dtype = "f32"} : () -> !hbm
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%y = "ntile.buffer"() {name = "y"} : () -> !sbuf
%w = "ntile.buffer"() {name = "w", pool = "stream"} : () -> !sbuf
%v = "ntile.buffer"() {name = "v", pool = "stream"} : () -> !sbuf
"ntile.dma_copy"(%x, %a) {engine = "sync", dst = #tile, src = #rows} : (!sbuf, !hbm) -> ()
"ntile.dma_copy"(%y, %a) {engine = "sync", dst = #tile, src = #rows} : (!sbuf, !hbm) -> ()
"ntile.dma_copy"(%w, %a) {engine = "sync", dst = #tile, src = #rows} : (!sbuf, !hbm) -> ()
"ntile.dma_copy"(%v, %a) {engine = "sync", dst = #tile, src = #rows} : (!sbuf, !hbm) -> ()

// -----

// Nothing to load: no operations, no order.
// CHECK-LABEL: module
// CHECK-NOT:   issue
// CHECK:       {{^}$}}
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
