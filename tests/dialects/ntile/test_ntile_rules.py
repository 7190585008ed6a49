"""Rules of the tile level, each broken once: in text (op verifier), in memory (verify_program)."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.numerics.dtypes import F32
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine
from axonc.diagnostics import SourceLocation, VerifyError
from axonc.dialects.ntile import ops as ntile
from axonc.dialects.ntile.builder import KernelBuilder, step
from axonc.dialects.ntile.program import Buffer, Form, TileOp, TileProgram, View
from axonc.dialects.ntile.rules import RULES, verify_program

INF2 = TARGETS["inf2"]

TEXT = """
!sbuf = !ntile.memory<"sbuf", 64 : i64, 256 : i64>
!hbm = !ntile.memory<"hbm", 0 : i64, 16384 : i64>
#view = #ntile.view<"f32", array<i64: 0, 64, 0>, array<i64: 64>, array<i64: 1>>
#rows = #ntile.view<"f32", array<i64: 0, 0, 0>, array<i64: 64, 64>, array<i64: 64, 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
%y = "ntile.buffer"() {name = "y", address = 2048} : () -> !sbuf
%h = "ntile.buffer"() {name = "h", kind = "input", shape = array<i64: 64, 64>, dtype = "f32",
  host_dtype = "f32"} : () -> !hbm
"ntile.dma_copy"(%x, %h) {engine = "sync", dst = #view, src = #rows} : (!sbuf, !hbm) -> ()
"ntile.choose"() ({
  "ntile.tensor_copy"(%y, %x) {engine = "vector", dst = #view, src = #view} : (!sbuf, !sbuf) -> ()
  "ntile.activation"(%y, %x) {engine = "scalar", dst = #view, src = #view, func = "copy",
    operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (!sbuf, !sbuf) -> ()
}) : () -> ()
"""

SBUF_TYPE = '!sbuf = !ntile.memory<"sbuf", 64 : i64, 256 : i64>'
VECTOR_COPY = re.search(r'"ntile.tensor_copy".*', TEXT)[0]  # type: ignore[index]

BROKEN_TEXT = [
    # rule, what is replaced, by what, words of the message
    ("C1", '"vector", dst', '"scalar", dst', "engine scalar"),
    ("C2", '"sbuf", 64', '"psum", 64', "dst is in psum"),
    ("C7", "array<i64: 64>, array<i64: 1>", "array<i64: 0>, array<i64: 1>", r"dim \(1, 0\)"),
    ("C8", "0, 64, 0>", "0, 64, 2>", "at byte 2"),
    ("C12", '"copy"', '"cosh"', "func = 'cosh'"),
    ("C20", "64>, array<i64: 1>", "32>, array<i64: 1>", "dst is .64, 32., src is .64, 64."),
    ("C31", "0, 64, 0>", "32, 64, 0>", r"partitions \[32, 96\) of 64"),
    ("C31", "0, 64, 0>", "0, 64, 4>", r"bytes \[4, 260\) of 256"),
    ("C32", '"sbuf", 64', '"sbuf", 129', "'x' has 129 partitions"),
    ("C33", '"hbm", 0 : i64, 16384', '"hbm", 0 : i64, 16388', "16388 bytes for a tensor of 16384"),
    ("C33", 'name = "x"', 'name = "x", kind = "scratch", shape = array<i64: 1>, dtype = "f32", '
     'host_dtype = "f32"', "'x' in sbuf has a tensor"),
    ("C34", "address = 2048", "address = 196608", "'y' ends at byte 196864 of 196608"),
    ("C36", VECTOR_COPY, "", "1 forms"),
    ("C36", "(%y, %x) {engine = \"vector\"", "(%x, %y) {engine = \"vector\"", "form 1 on scalar"),
    ("C37", "0, 0, 0>", "0, 64, 0>", "src has 64 partitions"),
]  # fmt: skip


@pytest.mark.parametrize("rule,old,new,words", BROKEN_TEXT, ids=lambda value: str(value)[:12])
def test_text_that_breaks_a_rule_is_refused(rule: str, old: str, new: str, words: str) -> None:
    assert old in TEXT
    with pytest.raises(VerifyError, match=rf"\({rule}\) .*{words}"):
        ntile.parse(TEXT.replace(old, new))


def test_the_text_itself_is_accepted() -> None:
    program = ntile.from_module(ntile.parse(TEXT))
    assert [form.engine for form in program.ops[1].forms] == [Engine.VECTOR, Engine.SCALAR]
    verify_program(program)


MALFORMED_TEXT = [
    (", src = #view} : (!sbuf, !sbuf)", "} : (!sbuf, !sbuf)", "view of operand src is missing"),
    ("(%x, %h) {", "(%x, %h) {index = #view, ", r"\(C30\).* 2 buffers, 3 views"),
    ("i32: 1, 1, 0, 0, 0", "i32: 1, 0, 1, 0, 0", r"\(C30\).*operandSegmentSizes is array"),
    ('func = "copy"', 'fun = "copy"', "no operand or field fun; did you mean 'func'"),
    ('func = "copy"', "func = 3", "field func is a enum, not 3"),
    ('engine = "sync", ', "", "attribute engine is missing"),
    ('"sync"', '"sink"', "'sink' is not a valid Engine"),
    ("dst = #view, src = #rows", 'dst = "all", src = #rows', '"all" is not a #ntile.view'),
    ('<"f32", array<i64: 0, 64, 0>', '<"f33", array<i64: 0, 64, 0>', "no element type f33"),
    ('"input"', '"inputs"', "'inputs' is not a valid TensorKind"),
    ("ntile.activation", "ntile.actuation", "did you mean 'activation'"),
    ('name = "x"', 'nome = "x"', "attribute name is missing"),
]


@pytest.mark.parametrize("old,new,words", MALFORMED_TEXT, ids=lambda value: str(value)[:16])
def test_malformed_text_is_refused(old: str, new: str, words: str) -> None:
    assert old in TEXT
    with pytest.raises(VerifyError, match=words):
        ntile.parse(TEXT.replace(old, new, 1))


BUNDLE = """
!sbuf = !ntile.memory<"sbuf", 64 : i64, 256 : i64>
#view = #ntile.view<"f32", array<i64: 0, 64, 0>, array<i64: 64>, array<i64: 1>>
%x = "ntile.buffer"() {name = "x"} : () -> !sbuf
"ntile.bundle"() ({
  "ntile.load_stationary"(%x) {stationary = #view} : (!sbuf) -> ()
  "ntile.load_stationary"(%x) {stationary = #view} : (!sbuf) -> ()
}) {engine = "tensor"} : () -> ()
"""
LOAD = '  "ntile.load_stationary"(%x) {stationary = #view} : (!sbuf) -> ()\n'


def test_c35_a_bundle_has_at_least_two_instructions() -> None:
    assert ntile.parse(BUNDLE)
    with pytest.raises(VerifyError, match=r"\(C35\) .*: 1 instructions"):
        ntile.parse(BUNDLE.replace(LOAD, "", 1))


def test_c3_the_instruction_set_says_which_types_an_operand_may_have() -> None:
    with pytest.raises(VerifyError, match=r"\(C3\) .*stationary is i32"):
        ntile.parse(BUNDLE.replace('"f32"', '"i32"'))


def test_c35_the_engine_stands_on_the_bundle() -> None:
    with pytest.raises(VerifyError, match=r"\(C35\) .*not on an instruction inside"):
        ntile.parse(BUNDLE.replace("{stationary", '{engine = "tensor", stationary', 1))
    with pytest.raises(VerifyError, match="attribute engine is missing"):
        ntile.parse(BUNDLE.replace(' {engine = "tensor"}', ""))


def test_an_error_names_its_line_in_the_text() -> None:
    broken = TEXT.replace('"vector", dst', '"scalar", dst')
    line = next(n for n, text in enumerate(broken.splitlines(), 1) if "tensor_copy" in text)
    with pytest.raises(VerifyError, match=rf'"-":{line}:3: .*tensor_copy'):
        ntile.parse(broken)


# ---- programs in memory -------------------------------------------------------------------------


def program_with(buffer: Buffer, view: View | None = None) -> TileProgram:
    """One buffer, and a memset of the view if there is one."""
    program = TileProgram(INF2, [buffer])
    location = program.location(SourceLocation("here", "m.py", 5, 1))
    if view is not None:
        form = Form(Engine.VECTOR, (step("memset", dst=view, value_bits=0),))
        program.ops.append(TileOp((form,), location))
    return program


def psum(size: int, address: int = -1) -> Buffer:
    return Buffer("p", Memory.PSUM, 128, size, address=address)


def test_c32_a_psum_buffer_is_no_larger_than_its_banks() -> None:
    verify_program(program_with(psum(INF2.psum_partition_bytes)))
    with pytest.raises(VerifyError, match=r"\(C32\) .*16385 bytes of 16384"):
        verify_program(program_with(psum(INF2.psum_partition_bytes + 1)))


def test_c34_a_psum_buffer_starts_at_a_bank() -> None:
    verify_program(program_with(psum(2048, address=4096)))
    with pytest.raises(VerifyError, match=r"\(C34\) .*'p' is at byte 64 of PSUM"):
        verify_program(program_with(psum(2048, address=64)))


def test_c31_names_operation_place_and_bytes() -> None:
    buffer = Buffer("x", Memory.SBUF, 64, 256)
    inside = View(buffer, F32, 0, 64, 0, ((1, 64),))
    verify_program(program_with(buffer, inside))
    with pytest.raises(VerifyError) as raised:
        verify_program(program_with(buffer, replace(inside, byte_offset=4)))
    assert str(raised.value).splitlines() == [
        "m.py:5:1: error: ntile.memset on vector: (C31) a view lies inside its buffer: "
        "dst touches bytes [4, 260) of 256",
        "  from here",
    ]


def test_c31_strides_may_go_backwards_inside_the_buffer() -> None:
    buffer = Buffer("x", Memory.SBUF, 64, 256)
    verify_program(program_with(buffer, View(buffer, F32, 0, 64, 252, ((-1, 64),))))
    with pytest.raises(VerifyError, match=r"\(C31\) .*bytes \[-4, 252\)"):
        verify_program(program_with(buffer, View(buffer, F32, 0, 64, 248, ((-1, 64),))))


def test_c36_forms_write_the_same_bytes() -> None:
    k = KernelBuilder(INF2)
    x, y = k.sbuf((128, 8), F32), k.sbuf((128, 8), F32)
    forms = [Form(e, (step("memset", dst=v, value_bits=0),)) for e, v in
             ((Engine.VECTOR, x), (Engine.GPSIMD, x))]  # fmt: skip
    k.append(*forms)
    verify_program(k.program)
    k.append(forms[0], replace(forms[1], steps=(step("memset", dst=y, value_bits=0),)))
    with pytest.raises(VerifyError, match=r"\(C36\) .*form 1 on gpsimd writes other views"):
        verify_program(k.program)


def test_addresses_take_part_once_they_are_there() -> None:
    """An unaligned address breaks the instruction set's own rule, not only this dialect's."""
    buffer = Buffer("x", Memory.SBUF, 64, 256, address=2)
    with pytest.raises(VerifyError, match=r"\(C8\) .*dst is f32 at byte 2"):
        verify_program(program_with(buffer, View(buffer, F32, 0, 64, 0, ((1, 64),))))


def test_every_rule_is_broken_by_some_test() -> None:
    source = Path(__file__).read_text()
    assert not RULES.keys() - set(re.findall(r"C3\d", source))
