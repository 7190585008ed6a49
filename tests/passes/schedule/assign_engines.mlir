// RUN: axonc opt %s --split-input-file --pass-pipeline "assign-engines"

// With both engines idle a copy goes to ScalarE, whose clock is faster.
// CHECK-LABEL: module
// CHECK-NOT:   "ntile.choose"
// CHECK-NOT:   "ntile.tensor_copy"
// CHECK:       "ntile.activation"(%y, %x)
// CHECK-SAME:  engine = "scalar"
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%y = "ntile.buffer"() {name = "y"} : () -> !sbuf
%z = "ntile.buffer"() {name = "z"} : () -> !sbuf
"ntile.choose"() ({
  "ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()
  "ntile.activation"(%y, %x) {engine = "scalar", dst = #tile, src = #tile, func = "copy",
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()
}) : () -> ()

// -----

// A copy goes to the idle engine: ScalarE has an exponential to do first.
// CHECK-LABEL: module
// CHECK:       "ntile.activation"(%z, %x)
// CHECK-NOT:   "ntile.choose"
// CHECK:       "ntile.tensor_copy"(%y, %x)
// CHECK-SAME:  engine = "vector"
// CHECK-NOT:   "ntile.activation"
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%y = "ntile.buffer"() {name = "y"} : () -> !sbuf
%z = "ntile.buffer"() {name = "z"} : () -> !sbuf
"ntile.activation"(%z, %x) {engine = "scalar", dst = #tile, src = #tile, func = "exp",
  operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()
"ntile.choose"() ({
  "ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()
  "ntile.activation"(%y, %x) {engine = "scalar", dst = #tile, src = #tile, func = "copy",
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()
}) : () -> ()

// -----

// An engine that will be through by the time the input is there counts as idle: the same copy, of the
// result of that exponential, waits for it on any engine.
// CHECK-LABEL: module
// CHECK:       "ntile.activation"(%z, %x)
// CHECK-NOT:   "ntile.tensor_copy"
// CHECK:       "ntile.activation"(%y, %z)
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%y = "ntile.buffer"() {name = "y"} : () -> !sbuf
%z = "ntile.buffer"() {name = "z"} : () -> !sbuf
"ntile.activation"(%z, %x) {engine = "scalar", dst = #tile, src = #tile, func = "exp",
  operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()
"ntile.choose"() ({
  "ntile.tensor_copy"(%y, %z) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()
  "ntile.activation"(%y, %z) {engine = "scalar", dst = #tile, src = #tile, func = "copy",
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()
}) : () -> ()

// -----

// Two copies in a row take an engine each.
// CHECK-LABEL: module
// CHECK-DAG:   engine = "vector"
// CHECK-DAG:   engine = "scalar"
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%y = "ntile.buffer"() {name = "y"} : () -> !sbuf
%z = "ntile.buffer"() {name = "z"} : () -> !sbuf
"ntile.choose"() ({
  "ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()
  "ntile.activation"(%y, %x) {engine = "scalar", dst = #tile, src = #tile, func = "copy",
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()
}) : () -> ()
"ntile.choose"() ({
  "ntile.tensor_copy"(%z, %x) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()
  "ntile.activation"(%z, %x) {engine = "scalar", dst = #tile, src = #tile, func = "copy",
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()
}) : () -> ()

// -----

// An operation with one form is left alone, whoever is idle.
// CHECK-LABEL: module
// CHECK:       "ntile.tensor_copy"(%y, %x)
// CHECK-NEXT:  "ntile.tensor_copy"(%z, %x)
!sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
!psum = !ntile.memory<"psum", 128 : i64, 2048 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 262144 : i64>
#tile = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 128, 512>, array<i64: 512, 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%y = "ntile.buffer"() {name = "y"} : () -> !sbuf
%z = "ntile.buffer"() {name = "z"} : () -> !sbuf
"ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()
"ntile.tensor_copy"(%z, %x) {engine = "vector", dst = #tile, src = #tile} : (!sbuf, !sbuf) -> ()
