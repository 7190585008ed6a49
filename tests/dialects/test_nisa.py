"""The nisa dialect: lossless both ways, and verified by the rules of the instruction set."""

import random
import re

import pytest
from torch_mlir import ir

from axonc.backends.encoding import disassemble
from axonc.backends.encoding.assembler import assemble
from axonc.backends.encoding.examples import example_instructions
from axonc.backends.isa import INSTRUCTIONS, Instruction
from axonc.backends.isa.random_instructions import random_instruction
from axonc.backends.isa.spec import InstructionSpec
from axonc.backends.targets import Engine
from axonc.diagnostics import CompileError, SourceLocation
from axonc.dialects import nisa

SPECS = list(INSTRUCTIONS)


def parsed(text: str) -> ir.Module:
    context = ir.Context()
    nisa.load(context)
    return ir.Module.parse(text, context)


def streams_of(*instructions: Instruction) -> dict[Engine, list[Instruction]]:
    streams: dict[Engine, list[Instruction]] = {}
    for instruction in instructions:
        streams.setdefault(instruction.engine, []).append(instruction)
    return streams


def texts(streams: dict[Engine, list[Instruction]]) -> dict[Engine, str]:
    return {engine: disassemble(instructions) for engine, instructions in streams.items()}


def test_there_is_one_op_per_instruction() -> None:
    assert list(nisa.OPS) == [spec.mnemonic for spec in SPECS]
    assert nisa.OPS["tensor_tensor"].OPERATION_NAME == "nisa.tensor_tensor"
    assert nisa.OPS["tensor_tensor"].__name__ == "TensorTensorOp"


def test_examples_verify_and_survive_printing_and_parsing() -> None:
    streams = streams_of(*example_instructions().values())
    module = nisa.to_module(streams)
    assert module.operation.verify()
    assert nisa.from_module(module) == streams
    again = parsed(str(module))
    assert nisa.from_module(again) == streams
    assert str(again) == str(module)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.mnemonic)
def test_random_instructions_convert_without_loss(spec: InstructionSpec) -> None:
    rng = random.Random(spec.opcode)
    streams = streams_of(*(random_instruction(rng, spec) for _ in range(15)))
    back = nisa.from_module(nisa.to_module(streams))
    assert texts(back) == texts(streams)
    for engine, instructions in streams.items():
        for made, found in zip(instructions, back[engine], strict=True):
            assert (made.operands, made.waits, made.signal) == (
                found.operands,
                found.waits,
                found.signal,
            )
            assert [type(f) for f in made.fields] == [type(f) for f in found.fields]


def test_empty_streams_are_kept() -> None:
    streams: dict[Engine, list[Instruction]] = {engine: [] for engine in Engine}
    assert nisa.from_module(nisa.to_module(streams)) == streams


def test_ops_carry_the_source_location() -> None:
    (made,) = assemble("vector: nop loc=1")
    table = (SourceLocation(), SourceLocation("encoder.layer", "model.py", 17, 5))
    module = nisa.to_module({Engine.VECTOR: [made]}, table)
    op = module.body.operations[0].regions[0].blocks[0].operations[0]
    assert str(op.location) == 'loc("encoder.layer"("model.py":17:5))'


def text_of(line: str) -> str:
    (made,) = assemble(line)
    return str(nisa.to_module({made.engine: [made]}))


COPY = "vector: tensor_copy dst=sbuf[0:128]@0x0:f32[8:1] src=sbuf[0:128]@0x400:f32[8:1]"


@pytest.mark.parametrize(
    ("line", "found", "replacement", "message"),
    [
        (COPY, '"f32", 0 : i64, 128', '"f32", 32 : i64, 96', "(C5)"),
        (COPY, "1024 : i64", "1026 : i64", "(C8) byte offset and address are multiples"),
        (COPY, '"vector"', '"scalar"', "(C1) the engine is one of the instruction's engines"),
        (COPY, "array<i64: 8>, array<i64: 1>", "array<i64: 9>, array<i64: 1>", "(C21)"),
        (COPY, '"f32"', '"f33"', "malformed: f33"),
        (COPY, '"sbuf"', '"sbut"', "malformed: 'sbut' is not a valid Memory"),
        (
            COPY,
            "src = #nisa.tile",
            "extra = 1 : i64, src = #nisa.tile",
            "no operand or field extra",
        ),
        (COPY, "dst = #nisa.tile", "dst2 = #nisa.tile", "no operand or field dst2"),
        (COPY, '"inf2"', '"inf3"', "there is no target inf3; known are inf2, trn1"),
        ("sync: register_move dst=3", "dst = 3 : i64, ", "", "attribute dst is missing"),
        ("sync: register_move dst=3", "dst = 3 : i64", "dst = 64 : i64", "(C13)"),
        ("sync: register_move dst=3", "dst = 3 : i64", 'dst = "3"', "malformed"),
        ("sync: branch", '"always"', '"sometimes"', "(C12)"),
        ("sync: nop signal(S[0]+=1)", "array<i64: 0, 1>", "array<i64: 99, 1>", "(C14)"),
    ],
)
def test_a_broken_op_is_reported_with_its_rule(
    line: str, found: str, replacement: str, message: str
) -> None:
    text = text_of(line)
    assert found in text
    with pytest.raises(ir.MLIRError) as error:
        parsed(text.replace(found, replacement, 1))
    assert message in str(error.value)
    mnemonic = line.split()[1]
    assert re.search(rf"'nisa\.{mnemonic}' op", str(error.value))


def test_an_instruction_outside_a_stream_is_refused() -> None:
    with pytest.raises(ir.MLIRError, match="an instruction stands in a nisa.stream"):
        parsed('"nisa.halt"() : () -> ()')


def test_an_unknown_op_is_refused() -> None:
    with pytest.raises(ir.MLIRError, match="nisa.multiply"):
        parsed('"nisa.stream"() ({ "nisa.multiply"() : () -> () }) {engine = "sync"} : () -> ()')


def test_notes_of_passes_are_allowed() -> None:
    text = text_of(COPY).replace("src = ", "axonc.note = 1 : i64, src = ")
    assert nisa.from_module(parsed(text)) == {Engine.VECTOR: assemble(COPY)}


def test_two_streams_for_one_engine_are_refused() -> None:
    stream = '"nisa.stream"() ({ }) {engine = "sync"} : () -> ()\n'
    module = parsed(stream.replace("({ })", '({ "nisa.halt"() : () -> () })') * 2)
    with pytest.raises(CompileError, match="two streams for sync"):
        nisa.from_module(module)


def test_an_engine_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ir.MLIRError, match="'warp' is not a valid Engine"):
        parsed(text_of(COPY).replace('"vector"', '"warp"'))
