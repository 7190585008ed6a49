// RUN: axonc opt %s --split-input-file --pass-pipeline "allocate-memory"

// PSUM buffers whose lives do not meet still go to bank after bank, so that the tensor engine fills
// one while another is read; after the eighth comes the first.
// CHECK-LABEL: module
// CHECK:       name = "p0", address = 0}
// CHECK:       name = "p1", address = 2048}
// CHECK:       name = "p2", address = 4096}
// CHECK:       name = "p3", address = 6144}
// CHECK:       name = "p4", address = 8192}
// CHECK:       name = "p5", address = 10240}
// CHECK:       name = "p6", address = 12288}
// CHECK:       name = "p7", address = 14336}
// CHECK:       name = "p8", address = 0}
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%p0 = "ntile.buffer"() {name = "p0"} : () -> !psum
%p1 = "ntile.buffer"() {name = "p1"} : () -> !psum
%p2 = "ntile.buffer"() {name = "p2"} : () -> !psum
%p3 = "ntile.buffer"() {name = "p3"} : () -> !psum
%p4 = "ntile.buffer"() {name = "p4"} : () -> !psum
%p5 = "ntile.buffer"() {name = "p5"} : () -> !psum
%p6 = "ntile.buffer"() {name = "p6"} : () -> !psum
%p7 = "ntile.buffer"() {name = "p7"} : () -> !psum
%p8 = "ntile.buffer"() {name = "p8"} : () -> !psum
"ntile.memset"(%p0) {engine = "vector", dst = #tile} : (!psum) -> ()
"ntile.tensor_copy"(%x, %p0) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !psum) -> ()
"ntile.memset"(%p1) {engine = "vector", dst = #tile} : (!psum) -> ()
"ntile.tensor_copy"(%x, %p1) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !psum) -> ()
"ntile.memset"(%p2) {engine = "vector", dst = #tile} : (!psum) -> ()
"ntile.tensor_copy"(%x, %p2) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !psum) -> ()
"ntile.memset"(%p3) {engine = "vector", dst = #tile} : (!psum) -> ()
"ntile.tensor_copy"(%x, %p3) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !psum) -> ()
"ntile.memset"(%p4) {engine = "vector", dst = #tile} : (!psum) -> ()
"ntile.tensor_copy"(%x, %p4) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !psum) -> ()
"ntile.memset"(%p5) {engine = "vector", dst = #tile} : (!psum) -> ()
"ntile.tensor_copy"(%x, %p5) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !psum) -> ()
"ntile.memset"(%p6) {engine = "vector", dst = #tile} : (!psum) -> ()
"ntile.tensor_copy"(%x, %p6) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !psum) -> ()
"ntile.memset"(%p7) {engine = "vector", dst = #tile} : (!psum) -> ()
"ntile.tensor_copy"(%x, %p7) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !psum) -> ()
"ntile.memset"(%p8) {engine = "vector", dst = #tile} : (!psum) -> ()
"ntile.tensor_copy"(%x, %p8) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !psum) -> ()

// -----

// Buffers that are alive together do not share bytes.
// CHECK-LABEL: module
// CHECK:       name = "x", address = [[X:[0-9]+]]}
// CHECK-NOT:   name = "y", address = [[X]]}
// CHECK:       name = "y"
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%y = "ntile.buffer"() {name = "y"} : () -> !sbuf
"ntile.memset"(%x) {engine = "gpsimd", dst = #tile} : (!sbuf) -> ()
"ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()

// -----

// Constants of the whole program keep their bytes to the end, below everything else.
// CHECK-LABEL: module
// CHECK:       name = "c", pool = "resident", address = 0}
// CHECK:       name = "x", address = {{[1-9][0-9]*}}}
// CHECK:       name = "y", address = {{[1-9][0-9]*}}}
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%c = "ntile.buffer"() {name = "c", pool = "resident"} : () -> !sbuf
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%y = "ntile.buffer"() {name = "y"} : () -> !sbuf
"ntile.memset"(%c) {engine = "gpsimd", dst = #tile} : (!sbuf) -> ()
"ntile.tensor_copy"(%x, %c) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()
"ntile.memset"(%y) {engine = "gpsimd", dst = #tile} : (!sbuf) -> ()
"ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()

// -----

// Device tensors follow each other; nothing is reused.
// CHECK-LABEL: module
// CHECK:       name = "a", address = 0, kind = "input"
// CHECK:       name = "b", address = 262144, kind = "output"
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%a = "ntile.buffer"() {name = "a", kind = "input", shape = array<i64: 128, 512>, dtype = "f32",
  host_dtype = "f32"} : () -> !hbm
%b = "ntile.buffer"() {name = "b", kind = "output", shape = array<i64: 128, 512>, dtype = "f32",
  host_dtype = "f32"} : () -> !hbm
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
"ntile.dma_copy"(%x, %a) {engine = "sync", dst = #tile, src = #rows} : (!sbuf, !hbm) -> ()
"ntile.dma_copy"(%b, %x) {engine = "sync", dst = #rows, src = #tile} : (!hbm, !sbuf) -> ()

// -----

// What does not fit is an error that names the place, what is in the way, and what may help.
// CHECK:      -:{{[0-9]+}}:1: error: SBUF is full: 204,800 bytes per partition are in use at once,
// CHECK-SAME: 196,608 are there:
// CHECK-NEXT: 102,400 B x 128 partitions  x
// CHECK-NEXT: 102,400 B x 128 partitions  y
// CHECK-NEXT: in pass allocate-memory
// CHECK-NEXT: hint: use a smaller batch or sequence
!sbuf = !ntile.memory<"sbuf", 128 : i64, 102400 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%y = "ntile.buffer"() {name = "y"} : () -> !sbuf
"ntile.memset"(%x) {engine = "gpsimd", dst = #tile} : (!sbuf) -> ()
"ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()

// -----

// An operation that could still run on two engines has no lives to plan with.
// CHECK:      error: tensor_copy: the operation still has 2 forms
// CHECK-NEXT: in pass allocate-memory
// CHECK-NEXT: hint: run 'assign-engines' first
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%y = "ntile.buffer"() {name = "y"} : () -> !sbuf
"ntile.choose"() ({
  "ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()
  "ntile.activation"(%y, %x) {engine = "scalar", dst = #tile, src = #tile, func = "copy",
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()
}) : () -> ()
