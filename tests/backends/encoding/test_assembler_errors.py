"""Assembly text: layout freedom, and errors with line, column and the nearest right name."""

import pytest

from axonc.backends.encoding import disassemble
from axonc.backends.encoding.assembler import assemble
from axonc.diagnostics import CompileError


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("sync: nop\nvectr: nop\n", "k.s:2:1", "there is no engine 'vectr'"),
        ("vector: memst dst=sbuf[0:1]@0:f32[1:1]", "k.s:1:9", "did you mean 'memset'?"),
        ("vector: memset dts=sbuf[0:1]@0:f32[1:1]", "k.s:1:9", "did you mean 'dst'?"),
        ("vector: memset dst=sbuf[0:1]@0:f33[1:1]", "k.s:1:32", "no element type 'f33'"),
        ("vector: memset", "k.s:1:9", "operand 'dst' is missing"),
        ("sync: branch compare=alway", "k.s:1:22", "did you mean 'always'?"),
        ("sync: branch use_imm=1", "k.s:1:22", "'1' is no value of field use_imm"),
        ("sync: register_move dst=1.5", "k.s:1:25", "'1.5' is no value of field dst"),
        ("sync: register_move dst=1 dst=2", "k.s:1:7", "given twice"),
        ("sync: register_move dst=1 src=2", "k.s:1:7", "no field 'src'"),
        ("vector: memset dst=sbuf@0:f32[1:1]", "k.s:1:20", "sbuf without partitions"),
        ("sync: dma_copy dst=hbm[0:1]@0:f32[1:1]", "k.s:1:20", "hbm with partitions"),
        ("sync: nop wait(S[0]>1)", "k.s:1:", "unexpected text"),
        ("sync: nop )", "k.s:1:11", "unexpected text"),
    ],
)
def test_error_names_the_place(text: str, where: str, message: str) -> None:
    with pytest.raises(CompileError) as error:
        assemble(text, "k.s")
    assert str(error.value).startswith(where), str(error.value)
    assert message in str(error.value)


def test_comments_blank_lines_and_spelling_of_numbers() -> None:
    loose = """
    # prologue
    vector:   memset  dst=sbuf[0x0:0x80]@4096:f32[512:1]   value_bits=0x3f800000  # ones

    """
    (made,) = assemble(loose)
    assert disassemble([made]) == (
        "vector: memset dst=sbuf[0:128]@0x1000:f32[512:1] value_bits=1065353216\n"
    )


def test_no_trailing_newline_and_no_instructions() -> None:
    assert assemble("") == [] and assemble("# nothing") == []
    assert len(assemble("sync: nop\nsync: halt")) == 2
