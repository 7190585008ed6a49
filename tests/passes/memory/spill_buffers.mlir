// RUN: axonc opt %s --split-input-file --pass-pipeline "spill-buffers"

// x and y do not fit together, and a reduction needs a whole row. x goes out after its first use,
// into device memory made for it, and comes back as another buffer before the next one; y is over
// by then.
// CHECK-LABEL: module
// CHECK:       %x = "ntile.buffer"() {name = "x"}
// CHECK:       %[[OUT:.*]] = "ntile.buffer"() {name = "spill:x", kind = "scratch"
// CHECK:       %[[BACK:.*]] = "ntile.buffer"() {name = "x~1"}
// CHECK:       "ntile.tensor_reduce"(%z, %x)
// CHECK-NEXT:  "ntile.dma_copy"(%[[OUT]], %x)
// CHECK:       "ntile.tensor_reduce"(%z, %y)
// CHECK-NEXT:  "ntile.dma_copy"(%[[BACK]], %[[OUT]])
// CHECK-NEXT:  "ntile.tensor_reduce"(%z, %[[BACK]])
!large = !ntile.memory<"sbuf", 128 : i64, 102400 : i64>
!small = !ntile.memory<"sbuf", 128 : i64, 4096 : i64>
#all = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 25600>, array<i64: 1>>
#one = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 1>, array<i64: 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !large
%y = "ntile.buffer"() {name = "y"} : () -> !large
%z = "ntile.buffer"() {name = "z"} : () -> !small
"ntile.memset"(%x) {engine = "gpsimd", dst = #all} : (!large) -> ()
"ntile.tensor_reduce"(%z, %x) {engine = "vector", dst = #one, src = #all} : (!small, !large) -> ()
"ntile.memset"(%y) {engine = "gpsimd", dst = #all} : (!large) -> ()
"ntile.tensor_reduce"(%z, %y) {engine = "vector", dst = #one, src = #all} : (!small, !large) -> ()
"ntile.tensor_reduce"(%z, %x) {engine = "vector", dst = #one, src = #all} : (!small, !large) -> ()

// -----

// What was only loaded from an input is loaded again, not stored; in pieces, as wide transfers are.
// CHECK-LABEL: module
// CHECK-NOT:   spill:
// CHECK:       %a = "ntile.buffer"() {name = "a", kind = "input"
// CHECK:       "ntile.dma_copy"(%x, %a)
// CHECK:       "ntile.tensor_reduce"(%z, %x)
// CHECK:       "ntile.tensor_reduce"(%z, %y)
// CHECK-NEXT:  "ntile.dma_copy"(%x_1, %a)
// CHECK:       "ntile.tensor_reduce"(%z, %x_1)
!large = !ntile.memory<"sbuf", 128 : i64, 102400 : i64>
!small = !ntile.memory<"sbuf", 128 : i64, 4096 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 13107200 : i64>
#all = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 25600>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 25600>, array<i64: 25600, 1>>
#one = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 1>, array<i64: 1>>
%a = "ntile.buffer"() {name = "a", kind = "input", shape = array<i64: 128, 25600>, dtype = "f32",
  host_dtype = "f32"} : () -> !hbm
%x = "ntile.buffer"() {name = "x"} : () -> !large
%y = "ntile.buffer"() {name = "y"} : () -> !large
%z = "ntile.buffer"() {name = "z"} : () -> !small
"ntile.dma_copy"(%x, %a) {engine = "gpsimd", dst = #all, src = #rows} : (!large, !hbm) -> ()
"ntile.tensor_reduce"(%z, %x) {engine = "vector", dst = #one, src = #all} : (!small, !large) -> ()
"ntile.memset"(%y) {engine = "gpsimd", dst = #all} : (!large) -> ()
"ntile.tensor_reduce"(%z, %y) {engine = "vector", dst = #one, src = #all} : (!small, !large) -> ()
"ntile.tensor_reduce"(%z, %x) {engine = "vector", dst = #one, src = #all} : (!small, !large) -> ()

// -----

// Rows wider than SBUF: elementwise operations and transfers go piece by piece, each load beside
// the first use of its piece and each store beside its last write. Nothing is spilled.
// CHECK-LABEL: module
// CHECK-NOT:   spill:
// CHECK:       name = "x[0]"
// CHECK:       name = "x[1]"
// CHECK:       "ntile.dma_copy"(%x_0_, %a) {{.*}}src = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 4096>
// CHECK-NEXT:  "ntile.tensor_scalar"(%x_0_, %x_0_
// CHECK-NEXT:  "ntile.dma_copy"(%b, %x_0_)
// CHECK-NEXT:  "ntile.dma_copy"(%x_1_, %a) {{.*}}src = #ntile.view<"f32", array<i64: 0, 0, 16384>, array<i64: 128, 4096>
// CHECK-NEXT:  "ntile.tensor_scalar"(%x_1_, %x_1_
// CHECK-NEXT:  "ntile.dma_copy"(%b, %x_1_)
!large = !ntile.memory<"sbuf", 128 : i64, 204800 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 26214400 : i64>
#all = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 51200>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 51200>, array<i64: 51200, 1>>
%a = "ntile.buffer"() {name = "a", kind = "input", shape = array<i64: 128, 51200>, dtype = "f32",
  host_dtype = "f32"} : () -> !hbm
%b = "ntile.buffer"() {name = "b", kind = "output", shape = array<i64: 128, 51200>, dtype = "f32",
  host_dtype = "f32"} : () -> !hbm
%x = "ntile.buffer"() {name = "x"} : () -> !large
"ntile.dma_copy"(%x, %a) {engine = "gpsimd", dst = #all, src = #rows} : (!large, !hbm) -> ()
"ntile.tensor_scalar"(%x, %x) {engine = "vector", dst = #all, src = #all, op0 = "add", imm0 = 1.0,
  operandSegmentSizes = array<i32: 1, 1, 0, 0>} : (!large, !large) -> ()
"ntile.dma_copy"(%b, %x) {engine = "gpsimd", dst = #rows, src = #all} : (!hbm, !large) -> ()

// -----

// Halves that no operation touches together become buffers of their own, with shorter lives; that
// is enough here, and nothing is spilled.
// CHECK-LABEL: module
// CHECK-NOT:   spill:
// CHECK:       name = "x[0]"
// CHECK:       name = "x[1]"
!large = !ntile.memory<"sbuf", 128 : i64, 163840 : i64>
!half = !ntile.memory<"sbuf", 128 : i64, 81920 : i64>
#low = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 20480>, array<i64: 1>>
#high = #ntile.view<"f32", array<i64: 0, 128, 81920>, array<i64: 20480>, array<i64: 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !large
%y = "ntile.buffer"() {name = "y"} : () -> !half
"ntile.memset"(%x) {engine = "gpsimd", dst = #low} : (!large) -> ()
"ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #low, src = #low} : (!half, !large) -> ()
"ntile.memset"(%x) {engine = "gpsimd", dst = #high} : (!large) -> ()
"ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #low, src = #high} : (!half, !large) -> ()

// -----

// What fits is left as it is.
// CHECK-LABEL: module
// CHECK-NOT:   dma_copy
!large = !ntile.memory<"sbuf", 128 : i64, 81920 : i64>
#all = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 20480>, array<i64: 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !large
%y = "ntile.buffer"() {name = "y"} : () -> !large
"ntile.memset"(%x) {engine = "gpsimd", dst = #all} : (!large) -> ()
"ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #all, src = #all} : (!large, !large) -> ()

// -----

// A reduction needs its whole operand, which is made in pieces, but of one buffer.
// CHECK:      error: memset: one operation needs 208,000 bytes of SBUF per partition,
// CHECK-SAME: 196,608 are there beside constants and weights:
// CHECK-NEXT: 208,000 B x 128 partitions  x
// CHECK-NEXT: in pass spill-buffers
// CHECK-NEXT: hint: make the tensor, or the part of it one partition holds, 2 times smaller
!large = !ntile.memory<"sbuf", 128 : i64, 208000 : i64>
!small = !ntile.memory<"sbuf", 128 : i64, 4096 : i64>
#all = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 52000>, array<i64: 1>>
#one = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 1>, array<i64: 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !large
%z = "ntile.buffer"() {name = "z"} : () -> !small
"ntile.memset"(%x) {engine = "gpsimd", dst = #all} : (!large) -> ()
"ntile.tensor_reduce"(%z, %x) {engine = "vector", dst = #one, src = #all} : (!small, !large) -> ()
