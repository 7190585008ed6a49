// RUN: axonc opt %s --split-input-file --pass-pipeline "spill-buffers"

// x and y do not fit together. x goes out after its first use, into device memory made for it, and
// comes back as another buffer before its next one; y is over by then.
// CHECK-LABEL: module
// CHECK-DAG:   %[[X:.*]] = "ntile.buffer"() {name = "x"}
// CHECK-DAG:   %[[OUT:.*]] = "ntile.buffer"() {{.*}}name = "spill:x"
// CHECK-DAG:   %[[BACK:.*]] = "ntile.buffer"() {name = "x~1"}
// CHECK:       "ntile.memset"(%[[X]])
// CHECK-NEXT:  "ntile.dma_copy"(%[[OUT]], %[[X]])
// CHECK-NEXT:  "ntile.memset"(%[[Y:.*]])
// CHECK-NEXT:  "ntile.dma_copy"(%[[BACK]], %[[OUT]])
// CHECK-NEXT:  "ntile.tensor_copy"(%{{.*}}, %[[BACK]])
!large = !ntile.memory<"sbuf", 128 : i64, 102400 : i64>
!small = !ntile.memory<"sbuf", 128 : i64, 4096 : i64>
#all = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 25600>, array<i64: 1>>
#some = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 1024>, array<i64: 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !large
%y = "ntile.buffer"() {name = "y"} : () -> !large
%z = "ntile.buffer"() {name = "z"} : () -> !small
"ntile.memset"(%x) {engine = "gpsimd", dst = #all} : (!large) -> ()
"ntile.memset"(%y) {engine = "gpsimd", dst = #all} : (!large) -> ()
"ntile.tensor_copy"(%z, %x) {engine = "vector", dst = #some, src = #some} : (!small, !large) -> ()

// -----

// What was only loaded from an input is loaded again, not stored.
// CHECK-LABEL: module
// CHECK-NOT:   spill:
// CHECK:       %[[A:.*]] = "ntile.buffer"() {name = "a", kind = "input"
// CHECK:       "ntile.dma_copy"(%{{.*}}, %[[A]])
// CHECK:       "ntile.memset"
// CHECK-NEXT:  "ntile.dma_copy"(%{{.*}}, %[[A]])
!large = !ntile.memory<"sbuf", 128 : i64, 102400 : i64>
!small = !ntile.memory<"sbuf", 128 : i64, 4096 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 13107200 : i64>
#all = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 25600>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 25600>, array<i64: 25600, 1>>
#some = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 1024>, array<i64: 1>>
%a = "ntile.buffer"() {name = "a", kind = "input", shape = array<i64: 128, 25600>, dtype = "f32",
  host_dtype = "f32"} : () -> !hbm
%x = "ntile.buffer"() {name = "x"} : () -> !large
%y = "ntile.buffer"() {name = "y"} : () -> !large
%z = "ntile.buffer"() {name = "z"} : () -> !small
"ntile.dma_copy"(%x, %a) {engine = "gpsimd", dst = #all, src = #rows} : (!large, !hbm) -> ()
"ntile.memset"(%y) {engine = "gpsimd", dst = #all} : (!large) -> ()
"ntile.tensor_copy"(%z, %x) {engine = "vector", dst = #some, src = #some} : (!small, !large) -> ()

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

// The buffers of one operation have to be in SBUF together.
// CHECK:      error: tensor_copy: one operation needs 204,800 bytes of SBUF per partition,
// CHECK-SAME: 196,608 are there beside constants and weights:
// CHECK-NEXT: 102,400 B x 128 partitions  y
// CHECK-NEXT: 102,400 B x 128 partitions  x
// CHECK-NEXT: in pass spill-buffers
// CHECK-NEXT: hint: make the tensor, or the part of it one partition holds, 2 times smaller
!large = !ntile.memory<"sbuf", 128 : i64, 102400 : i64>
#all = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 25600>, array<i64: 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !large
%y = "ntile.buffer"() {name = "y"} : () -> !large
"ntile.memset"(%x) {engine = "gpsimd", dst = #all} : (!large) -> ()
"ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #all, src = #all} : (!large, !large) -> ()
