"""The `ntile` dialect: tile programs, printed, parsed and verified.

    !sbuf = !ntile.memory<"sbuf", 128 : i64, 2048 : i64>
    %x = "ntile.buffer"() {name = "x"} : () -> !sbuf
    %y = "ntile.buffer"() {name = "y"} : () -> !sbuf
    "ntile.activation"(%y, %x) {engine = "scalar", func = "exp",
      dst = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>,
      src = #ntile.view<"f32", array<i64: 0, 128, 0>, array<i64: 512>, array<i64: 1>>
    } : (!sbuf, !sbuf) -> ()

One op per instruction of `backends/isa`, generated from its entries: its SSA operands are the
buffers of those operands of the entry that are there, each with a view of it as the attribute of
the operand's name; immediate fields are attributes, absent ones have their default. `ntile.bundle`
holds instructions that one engine runs in a row as one operation, `ntile.choose` the forms of an
operation from which assign-engines takes one. The order of the ops is a legal sequential order.

Rules: C1 to C14 and C20 on are those of the instruction set (docs/reference/instructions.md), as
far as they can hold before there are addresses; C30 on are those of this dialect (rules.py).
"""

# No `from __future__ import annotations` here: ext reads the annotation objects.

import types
from collections.abc import Callable

from torch_mlir import ir
from torch_mlir.dialects import ext
from torch_mlir.dialects.ext import Operand, Region, Result

from axonc.backends.isa import INSTRUCTIONS, InstructionSpec
from axonc.backends.isa.effects import reads_destination
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import Role
from axonc.backends.numerics.dtypes import DTYPES
from axonc.backends.targets.target import Engine
from axonc.diagnostics import VerifyError
from axonc.dialects.ntile.printer import print_program as print_program
from axonc.dialects.ntile.program import Form, Step, TileProgram, View
from axonc.dialects.ntile.reader import (
    MALFORMED,
    body,
    buffer_of,
    engine_of,
    fields_of,
    given_operands,
    instruction_spec,
    placed_of,
    target_of,
    typed_buffer,
)
from axonc.dialects.ntile.reader import from_module as from_module
from axonc.dialects.ntile.reader import read_scheduled as read_scheduled
from axonc.dialects.ntile.rules import (
    Violation,
    buffer_violations,
    form_violations,
    forms_violations,
    step_violations,
)
from axonc.dialects.ntile.types import (
    BUNDLE,
    CHOOSE,
    ENGINE,
    PREFIX,
    BufferType,
    Ntile,
)
from axonc.dialects.ntile.types import DEFAULT_TARGET as DEFAULT_TARGET
from axonc.dialects.ntile.types import ISSUE as ISSUE
from axonc.dialects.ntile.types import PackingAttr as PackingAttr
from axonc.dialects.ntile.types import ViewAttr as ViewAttr

Check = Callable[[ir.Operation], list[Violation]]


def _verifier(check: Check) -> Callable[[ir.Operation], bool]:
    """A verifier that reports what `check` finds as errors on the op."""

    def verify_invariants(view: ir.OpView) -> bool:
        op = view.operation
        try:
            found = check(op)
        except MALFORMED as error:
            op.location.emit_error(f"'{op.name}' op is malformed: {error.args[0]}")
            return False
        for number, what in found:
            op.location.emit_error(f"'{op.name}' op ({number}) {what}")
        return not found

    return verify_invariants


def _module_of(op: ir.Operation) -> ir.Operation:
    while op.parent is not None:
        op = op.parent
    return op


def _check_buffer(op: ir.Operation) -> list[Violation]:
    return buffer_violations(buffer_of(op), target_of(_module_of(op)))


def _step_of(op: ir.Operation) -> Step:
    """The instruction of an op, on buffers of which only the types are known."""
    spec = instruction_spec(op)
    operands: list[View | None] = [None] * len(spec.operands)
    for value, index in zip(op.operands, given_operands(op, spec), strict=True):
        name, start, count, offset, dims = placed_of(op.attributes[spec.operands[index].name])
        buffer = typed_buffer(value, str(hash(value)))
        operands[index] = View(buffer, DTYPES[name], start, count, offset, dims)
    return Step(spec, tuple(operands), fields_of(op, spec))


def _form_of(op: ir.Operation) -> Form:
    inner = body(op) if op.name == PREFIX + BUNDLE else [op]
    return Form(engine_of(op), tuple(map(_step_of, inner)))


def _check_instruction(op: ir.Operation) -> list[Violation]:
    parent = op.parent
    bundled = parent is not None and parent.name == PREFIX + BUNDLE
    if bundled and ENGINE in op.attributes:
        return [("C35", "the engine stands on the bundle, not on an instruction inside")]
    engine = engine_of(parent if bundled else op)
    return step_violations(_step_of(op), engine, target_of(_module_of(op)))


def _check_bundle(op: ir.Operation) -> list[Violation]:
    return form_violations(_form_of(op), bundled=True)


def _check_choose(op: ir.Operation) -> list[Violation]:
    return forms_violations(tuple(map(_form_of, body(op))), chosen=True)


class BufferOp(ext.Operation, dialect=Ntile, name="buffer"):
    """A buffer, by its type.

    Attributes: `name`, for people (checked by the verifier: declared, it would hide the op's own
    name in Python). Optional: `pool` ("work" if absent, "stream", "resident"), `renewed` (a unit:
    every iteration of a repeat writes it anew), `address` (bytes within each partition, or within
    device memory; absent until allocate-memory), and for device memory what is stored: `kind`,
    `shape`, `dtype`, `host_dtype`, `source`, `packing`, `data` (of a constant), `alias` (of an
    output: the input it was updated in).
    """

    buffer: Result[BufferType]
    verify_invariants = staticmethod(_verifier(_check_buffer))


class BundleOp(ext.Operation, dialect=Ntile, name=BUNDLE, traits=[ir.NoTerminatorTrait]):
    """Two or more instructions that one engine runs in a row, as one operation."""

    engine: ir.StringAttr
    body: Region
    verify_invariants = staticmethod(_verifier(_check_bundle))


class ChooseOp(ext.Operation, dialect=Ntile, name=CHOOSE, traits=[ir.NoTerminatorTrait]):
    """Two or more forms of one operation, the preferred one first; each is an instruction or a
    bundle with its engine, and all write the same views."""

    body: Region
    verify_invariants = staticmethod(_verifier(_check_choose))


def effects_of(op: ir.Operation, spec: InstructionSpec) -> list[tuple[Role, int | None]]:
    """What an instruction does to its buffers: (READ or WRITE, number of the SSA operand).

    What it does to the machine besides (the tensor engine's weights, registers, semaphores) has no
    number: without such an effect, a LoadStationary would look dead.
    """
    reads_dst = _reads_destination(op, spec)
    found: list[tuple[Role, int | None]] = []
    for number, index in enumerate(given_operands(op, spec)):
        operand = spec.operands[index]
        if operand.role is not Role.WRITE or (reads_dst and operand.name == "dst"):
            found.append((Role.READ, number))
        if operand.role is not Role.READ:
            found.append((Role.WRITE, number))
    if all(operand.role is Role.READ for operand in spec.operands):
        found.append((Role.WRITE, None))
    elif Engine.TENSOR in spec.engines:
        found.append((Role.READ, None))
    return found


class Effects(ir.MemoryEffectsOpInterface):
    """Tells MLIR which buffers an instruction reads and writes."""

    @staticmethod
    def get_effects(op: ir.Operation, effects: "ir.MemoryEffectInstancesList") -> None:
        op = op.operation
        try:
            found = effects_of(op, instruction_spec(op))
        except MALFORMED:
            found = [(Role.WRITE, None)]  # the verifier says what is wrong; nothing removes the op
        for role, number in found:
            effect = ir.MemoryEffect.Read if role is Role.READ else ir.MemoryEffect.Write
            effects.append(effect, None if number is None else op.op_operands[number])


def _reads_destination(op: ir.Operation, spec: InstructionSpec) -> bool:
    """Whether `dst` is read too, though only written by its role (accumulation)."""
    if spec.reads_destination is None:
        return False
    operands = (None,) * len(spec.operands)
    return reads_destination(Instruction(spec, spec.engines[0], operands, fields_of(op, spec)))


def _op_class(spec: InstructionSpec) -> type:
    """The op of one entry."""
    kinds = {True: Operand[BufferType] | None, False: Operand[BufferType]}
    content = {
        "__doc__": spec.summary,
        "__annotations__": {o.name: kinds[o.optional] for o in spec.operands},
        "verify_invariants": staticmethod(_verifier(_check_instruction)),
    }
    name = "".join(part.capitalize() for part in spec.mnemonic.split("_")) + "Op"
    keywords = {"dialect": Ntile, "name": spec.mnemonic, "traits": [Effects]}
    return types.new_class(
        name, (ext.Operation,), keywords, lambda namespace: namespace.update(content)
    )


OPS: dict[str, type] = {spec.mnemonic: _op_class(spec) for spec in INSTRUCTIONS}
"""Op class of each mnemonic."""


def load(context: ir.Context) -> None:
    """Make the dialect known to `context`; a second time does nothing."""
    with context:
        if not context.is_dialect_loaded(Ntile.DIALECT_NAMESPACE):
            Ntile.load()


def parse(text: str, context: ir.Context | None = None) -> ir.Module:
    """A verified module from text.

    Raises:
        VerifyError: syntax errors and broken rules, each with its place.
    """
    context = context or ir.Context()
    load(context)
    with context:
        try:
            return ir.Module.parse(text)
        except ir.MLIRError as error:
            raise VerifyError(str(error)) from error


def to_module(program: TileProgram, context: ir.Context | None = None) -> ir.Module:
    """The program as a verified module. Raises VerifyError when it breaks a rule."""
    return parse(print_program(program), context)
