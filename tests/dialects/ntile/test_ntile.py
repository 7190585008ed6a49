"""The ntile dialect: lossless between programs, text and modules; its effects."""

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from call_count import calls_in
from torch_mlir import ir
from torch_mlir.passmanager import PassManager

from axonc.backends.encoding.examples import example_instructions
from axonc.backends.isa import INSTRUCTIONS, Instruction
from axonc.backends.isa.access_pattern import Access, HbmAccess, Memory
from axonc.backends.isa.random_instructions import random_instruction
from axonc.backends.isa.spec import FieldKind, InstructionSpec, Role
from axonc.backends.numerics.dtypes import BF16, F32, U8
from axonc.backends.program import HbmTensor, Packing, TensorKind
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine
from axonc.diagnostics import CompileError, SourceLocation
from axonc.dialects.ntile import ops as ntile
from axonc.dialects.ntile import reader as ntile_read
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import Buffer, Form, Pool, Step, TileOp, TileProgram, View

INF2 = TARGETS["inf2"]
SPECS = list(INSTRUCTIONS)


# ---- programs to convert ------------------------------------------------------------------------


def built_program() -> TileProgram:
    """A bit of everything the builder makes: every pool, kind and sort of operation."""
    k = KernelBuilder(INF2)
    x = k.input("x", (256, 128), F32)
    weight = k.hbm("w", (256, 512), F32, TensorKind.WEIGHT).buffer
    packing = Packing(((512, 256),), ((1, 512),), 0, 128, 512)
    packed = k.packed_weight(weight, packing, BF16)
    k.identity(BF16)
    k.program.notes.append('a "note"\nof two lines: \u00b5')
    with k.at(SourceLocation('jit(f)/"dot"', "/home/\u00e9/m.py", 3, 4)):
        stationary = k.sbuf((128, 128), BF16)
        k.dma(stationary, x[0:128, 0:128])
    moving = k.sbuf((128, 1024), BF16, "moving", Pool.STREAM)
    with k.at(SourceLocation(file="m.py", line=7)):
        k.dma(moving, packed[0, :, :, :])
        product = k.psum((128, 512), F32)
        k.matmul(product, stationary, moving[:, 0:512], accumulate=False)
    with k.at(SourceLocation("only a name")):
        result = k.sbuf((128, 512), F32)
        k.copy(result, product)
        k.memset(result[:, 0:1], -0.0)
    k.emit("tensor_scalar", dst=result, src=result, op0="multiply", imm0=1e-12, imm1=-0.0)
    k.dma(k.output("y", (128, 512), F32), result)
    return k.program


def whole_memory(memory: Memory) -> Buffer:
    """A buffer in which every address of `memory` is the same as in the memory."""
    if memory is Memory.HBM:
        tensor = HbmTensor("all", TensorKind.SCRATCH, -1, (INF2.hbm_bytes,), U8, "ui8", None, None)
        return Buffer("all", memory, 0, INF2.hbm_bytes, tensor=replace(tensor, source="all"))
    size = {Memory.SBUF: INF2.sbuf_partition_bytes, Memory.PSUM: INF2.psum_partition_bytes}[memory]
    return Buffer(memory.value, memory, INF2.partitions, size)


def as_program(*instructions: Instruction) -> TileProgram:
    """Instructions as tile operations on buffers that are whole memories."""
    program = TileProgram(INF2, [whole_memory(memory) for memory in Memory])
    buffers = {buffer.memory: buffer for buffer in program.buffers}
    for made in instructions:
        views = tuple(
            None if access is None else as_view(buffers[access.memory], access)
            for access in made.operands
        )
        form = Form(made.engine, (Step(made.spec, views, made.fields),))
        program.ops.append(TileOp((form,)))
    return program


def as_view(buffer: Buffer, access: Access) -> View:
    if isinstance(access, HbmAccess):
        return View(buffer, access.dtype, 0, 0, access.address, access.dims)
    place = (access.start_partition, access.num_partitions, access.byte_offset)
    return View(buffer, access.dtype, *place, access.dims)


# ---- what a program says ------------------------------------------------------------------------


def described(program: TileProgram) -> list[object]:
    """Everything a program says, as plain values; locations by what they name."""
    numbers = {buffer: n for n, buffer in enumerate(program.buffers)}
    rows: list[object] = [program.target.name, program.notes]
    for b in program.buffers:
        rows.append(
            (b.name, b.memory, b.partitions, b.partition_bytes, b.pool, b.address, b.tensor)
        )
    for op in program.ops:
        rows.append(program.locations[op.location])
        for form in op.forms:
            rows += [form.engine, *(described_step(step, numbers) for step in form.steps)]
    return rows


NO_NUMBERS: dict[Buffer, int] = {}
"""Describes buffers as number 0 each."""


def described_step(step: Step, numbers: dict[Buffer, int]) -> list[object]:
    views = [v and (numbers.get(v.buffer, 0), v.dtype.name, *place_of(v)) for v in step.operands]
    dims = [v and v.dims for v in step.operands]
    return [step.spec.mnemonic, views, dims, list(described_fields(step))]


def place_of(view: View) -> tuple[int, int, int]:
    return view.start_partition, view.num_partitions, view.byte_offset


def described_fields(step: Step) -> Iterator[object]:
    for field, value in zip(step.spec.fields, step.fields, strict=True):
        assert isinstance(value, str | int | float)
        yield repr(float(value)) if field.kind is FieldKind.FLOAT else value


# ---- conversions --------------------------------------------------------------------------------


def test_there_is_one_op_per_instruction() -> None:
    assert list(ntile.OPS) == [spec.mnemonic for spec in SPECS]
    assert ntile.OPS["tensor_copy"].OPERATION_NAME == "ntile.tensor_copy"


def test_a_built_program_survives_text_and_module() -> None:
    program = built_program()
    back = ntile.from_module(ntile.to_module(program))
    assert described(back) == described(program)
    assert ntile.print_program(back) == ntile.print_program(program)


def test_what_mlir_prints_reads_back_as_the_same_program() -> None:
    program = built_program()
    module = ntile.to_module(program)
    printed = module.operation.get_asm(enable_debug_info=True)
    again = ntile.from_module(ntile.parse(printed))
    assert described(again) == described(program)


def test_both_texts_are_the_same_module() -> None:
    program = built_program()
    module = ntile.to_module(program)
    direct = ntile.parse(ntile.print_program(program, locations=False))
    assert str(direct) == str(ntile.parse(str(module)))


@pytest.mark.parametrize("mnemonic", [spec.mnemonic for spec in SPECS])
def test_every_example_instruction_is_a_valid_op_and_survives(mnemonic: str) -> None:
    program = as_program(example_instructions()[mnemonic])
    module = ntile.to_module(program)
    assert described(ntile.from_module(module)) == described(program)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.mnemonic)
def test_random_views_and_fields_convert_without_loss(spec: InstructionSpec) -> None:
    """Extremes of every field, dim and dtype. They break rules, so no verifier may see them: the
    text is read under the name of another dialect."""
    rng = random.Random(spec.opcode)
    program = as_program(*(random_instruction(rng, spec) for _ in range(15)))
    text = ntile.print_program(program).replace('"ntile.', '"unverified.')
    context = ir.Context()
    ntile.load(context)
    context.allow_unregistered_dialects = True
    module = ir.Module.parse(text, context)  # ops do not keep it alive
    ops = list(module.body.operations)[len(Memory) :]
    for op, expected in zip(ops, program.ops, strict=True):
        assert described_op(op, spec) == described_step(expected.form.steps[0], NO_NUMBERS)


def described_op(op: ir.OpView, spec: InstructionSpec) -> list[object]:
    placed: list[ntile_read.Placed | None] = [None] * len(spec.operands)
    for index in ntile_read.given_operands(op.operation, spec):
        placed[index] = ntile_read.placed_of(op.attributes[spec.operands[index].name])
    views = [p and (0, *p[:4]) for p in placed]
    step = Step(spec, (), ntile_read.fields_of(op.operation, spec))
    return [spec.mnemonic, views, [p and p[4] for p in placed], list(described_fields(step))]


def test_addresses_and_tensors_survive() -> None:
    program = built_program()
    for number, buffer in enumerate(program.buffers):
        buffer.address = 2048 * number
        if buffer.tensor is not None:
            buffer.tensor = replace(buffer.tensor, address=buffer.address)
        elif buffer.memory is Memory.PSUM:
            buffer.address = 4096
    assert described(ntile.from_module(ntile.to_module(program))) == described(program)


def test_constant_bytes_survive_whatever_they_are() -> None:
    k = KernelBuilder(INF2)
    for data in (bytes(range(256)), bytes(4), b"\xff", b'"\\\n'):
        array = np.frombuffer(data, np.uint8).reshape(1, -1)
        k.hbm("c", array.shape, U8, TensorKind.CONSTANT, data=data)
    back = ntile.from_module(ntile.to_module(k.program))
    assert [b.tensor for b in back.buffers] == [b.tensor for b in k.program.buffers]


def test_names_that_are_no_mlir_names_stay_different() -> None:
    k = KernelBuilder(INF2)
    for name in ("a b", "a_b", "0", "%x", "", "\u00e9", "layers/0:packed"):
        k.input(name, (1,), F32)
    names = [b.name for b in ntile.from_module(ntile.to_module(k.program)).buffers]
    assert names == ["a b", "a_b", "0", "%x", "", "\u00e9", "layers/0:packed"]


def test_order_of_issue_survives() -> None:
    program = built_program()
    order = {Engine.GPSIMD: [1, 0], Engine.TENSOR: [3]}
    text = ntile.print_program(program, order)
    assert ntile.read_scheduled(ntile.parse(text))[1] == order


def test_operations_without_location_get_their_line_in_the_text() -> None:
    text = ntile.print_program(built_program(), locations=False)
    program = ntile.from_module(ntile.parse(text))
    places = [program.locations[op.location] for op in program.ops]
    assert all(place.file == "-" for place in places)
    lines = text.splitlines()
    assert "dma_copy" in lines[places[0].line - 1]


def test_printing_takes_few_calls_per_operation() -> None:
    """A program has tens of thousands of operations."""
    k = KernelBuilder(INF2)
    tile = k.sbuf((128, 512), F32)
    for _ in range(1000):
        k.emit("tensor_tensor", dst=tile, src0=tile, src1=tile, op="add")
    assert ntile.print_program(k.program).count("ntile.tensor_tensor") == 1000
    assert calls_in(ntile.print_program, k.program) < 100 * 1000


# ---- effects ------------------------------------------------------------------------------------


def effects_of(mnemonic: str, **fields: object) -> list[tuple[Role, int | None]]:
    made = example_instructions()[mnemonic]
    values = list(made.fields)
    for name, value in fields.items():
        values[made.spec.field_index[name]] = value
    module = ntile.to_module(as_program(replace(made, fields=tuple(values))))
    op = next(o.operation for o in module.body.operations if o.operation.name.endswith(mnemonic))
    return ntile.effects_of(op, made.spec)


READ, WRITE = Role.READ, Role.WRITE


def test_effects_follow_the_roles_of_the_operands() -> None:
    assert effects_of("tensor_tensor") == [(WRITE, 0), (READ, 1), (READ, 2)]
    assert effects_of("tensor_copy_predicated")[:2] == [(READ, 0), (WRITE, 0)]


def test_an_accumulating_matmul_reads_its_destination() -> None:
    assert (READ, 0) in effects_of("multiply_moving", accumulate=True)
    assert (READ, 0) not in effects_of("multiply_moving", accumulate=False)


def test_loading_the_tensor_engine_is_an_effect() -> None:
    assert effects_of("load_stationary") == [(READ, 0), (WRITE, None)]


def test_upstream_passes_remove_no_operation() -> None:
    program = built_program()
    module = ntile.to_module(program)
    with module.context:
        PassManager.parse("builtin.module(canonicalize,cse,symbol-dce)").run(module.operation)
    assert described(ntile.from_module(module)) == described(program)


# ---- reading ------------------------------------------------------------------------------------


def test_a_foreign_op_is_named() -> None:
    module = ntile.parse("func.func private @f()")
    with pytest.raises(CompileError, match=r"func.func.*does not stand for an instruction"):
        ntile.from_module(module)


def test_an_unknown_target_lists_the_known_ones() -> None:
    module = ntile.parse('module attributes {ntile.target = "inf9"} {}')
    with pytest.raises(ValueError, match="no target inf9; known are inf"):
        ntile.from_module(module)
