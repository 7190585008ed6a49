"""Numbered constraints: those of all instructions (C1 to C19) and builders for the rest (C20 on).

A rule's `check` returns what was found, or None. The common rules are evaluated by
`backends/isa/verifier.py` in one pass over the operands; their texts live here so that messages,
tests and the reference page agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from axonc.backends.isa.access_pattern import HbmAccess, Memory, TileAccess
from axonc.backends.isa.alu import ALU_BY_NAME, AluKind, AluOp
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import Rule
from axonc.backends.targets.target import Engine, Target

COMMON_RULES: dict[str, str] = {
    "C1": "the engine is one of the instruction's engines",
    "C2": "required operands are present, in a memory the instruction can reach there",
    "C3": "an operand's element type is one the instruction accepts there",
    "C4": "an operand covers 1 to 128 partitions, inside the memory",
    "C5": "more than 64 partitions start at partition 0, 33 to 64 at 0 or 64, up to 32 at 0, 32, "
    "64 or 96 (DMA may start anywhere: assumed, descriptors address partitions one by one)",
    "C6": "at most 4 free dimensions on chip, 5 in device memory",
    "C7": "sizes are 1 to 65535 and strides fit int16 on chip; 32 bits each in device memory",
    "C8": "byte offset and address are multiples of the element size",
    "C9": "every byte touched lies inside the partition, or inside device memory",
    "C10": "GpSimdE and DMA do not touch PSUM",
    "C11": "VectorE, ScalarE, GpSimdE: at most 64 Ki elements per partition in SBUF, 4 Ki in PSUM",
    "C12": "a field's value is one of its choices and fits its bits; a float is in binary32 range",
    "C13": "a register number is below the number of registers",
    "C14": "no more attached waits than the machine has; semaphore numbers and values are in range",
}
"""Sources: machine.md#operands (C4-C7, C9, C11), #memories (C1, C2, C10), #sequencers (C13),
#formats (C3), #synchronisation (C14); C8 is assumed (alignment is not published); C12 is a property
of the encoding."""


def _present(instruction: Instruction, names: tuple[str, ...]) -> list[tuple[str, TileAccess]]:
    """The named on-chip operands that are there."""
    index, operands = instruction.spec.operand_index, instruction.operands
    found = [(name, operands[index[name]]) for name in names]
    return [pair for pair in found if isinstance(pair[1], TileAccess)]  # type: ignore[misc]


def same_partitions(number: str, *names: str) -> Rule:
    """The named operands (those present) have the same number of partitions."""

    def check(instruction: Instruction, target: Target) -> str | None:
        (first, reference), *others = _present(instruction, names)
        count = reference.num_partitions
        for name, access in others:
            if access.num_partitions != count:
                return f"{first} has {count} partitions, {name} has {access.num_partitions}"
        return None

    return Rule(number, f"{', '.join(names)} have the same number of partitions", check)


def same_elements(number: str, *names: str) -> Rule:
    """The named operands have the same number of elements per partition."""

    def check(instruction: Instruction, target: Target) -> str | None:
        (first, reference), *others = _present(instruction, names)
        count = reference.elements_per_partition
        for name, access in others:
            found = access.elements_per_partition
            if found != count:
                return f"{first} has {count} elements per partition, {name} has {found}"
        return None

    return Rule(number, f"{', '.join(names)} have the same number of elements per partition", check)


def element_count_is(number: str, expected: int, *names: str) -> Rule:
    """Each named operand (if present) has `expected` elements per partition."""

    def check(instruction: Instruction, target: Target) -> str | None:
        for name, access in _present(instruction, names):
            found = access.elements_per_partition
            if found != expected:
                return f"{name} has {found} elements per partition"
        return None

    return Rule(number, f"{', '.join(names)}: {expected} element(s) per partition", check)


def element_range(number: str, name: str, low: int, high: int | str) -> Rule:
    """Operand `name` has low..high elements per partition; high may name a Target attribute."""

    def check(instruction: Instruction, target: Target) -> str | None:
        limit = int(getattr(target, high)) if isinstance(high, str) else high
        ((_, access),) = _present(instruction, (name,))
        count = access.elements_per_partition
        return None if low <= count <= limit else f"{name} has {count} elements per partition"

    return Rule(number, f"{name} has {low} to {high} elements per partition", check)


def not_both_psum(number: str, first: str, second: str) -> Rule:
    """Two inputs may not both lie in PSUM (machine.md#operands)."""

    def check(instruction: Instruction, target: Target) -> str | None:
        inputs = _present(instruction, (first, second))
        in_psum = [name for name, access in inputs if access.memory is Memory.PSUM]
        return "both are in PSUM" if len(in_psum) == 2 else None

    return Rule(number, f"{first} and {second} are not both in PSUM", check)


def same_dtype(number: str, *names: str) -> Rule:
    """The named operands have one element type."""

    def check(instruction: Instruction, target: Target) -> str | None:
        found = [(name, access.dtype) for name, access in _present(instruction, names)]
        if all(dtype is found[0][1] for _, dtype in found):
            return None
        return ", ".join(f"{name} is {dtype.name}" for name, dtype in found)

    return Rule(number, f"{', '.join(names)} have the same element type", check)


def operators_on_engine(number: str, *fields: str) -> Rule:
    """The engine's ALU has the operators."""

    def check(instruction: Instruction, target: Target) -> str | None:
        for name in fields:
            op = operator(instruction, name)
            if instruction.engine not in op.engines:
                return f"{name} = {op.name} on {instruction.engine.value}"
        return None

    return Rule(number, f"the engine has the operator {' and '.join(fields)}", check)


def operator(instruction: Instruction, field: str) -> AluOp:
    """The ALU operator a field names."""
    return ALU_BY_NAME[instruction.text(field)]


def is_bitvec(instruction: Instruction, field: str) -> bool:
    return operator(instruction, field).kind is AluKind.BITVEC


def operators_satisfy(
    number: str, text: str, allowed: Callable[[AluOp], bool], *fields: str
) -> Rule:
    """Each operator is one that `allowed` accepts."""
    names = frozenset(op.name for op in ALU_BY_NAME.values() if allowed(op))

    def check(instruction: Instruction, target: Target) -> str | None:
        for name in fields:
            if instruction.text(name) not in names:
                return f"{name} = {instruction.text(name)}"
        return None

    return Rule(number, f"{' and '.join(fields)}: {text}", check)


def binary_operators(number: str, *fields: str) -> Rule:
    """Operators of two operands, arithmetic or bitwise."""
    return operators_satisfy(
        number, "an operator of two operands", lambda op: op.arity == 2, *fields
    )


def arithmetic_operators(number: str, *fields: str) -> Rule:
    """No bitwise operators (f32 datapath); bypass passes the first operand on."""
    return operators_satisfy(
        number, "not a bitwise operator", lambda op: op.kind is not AluKind.BITVEC, *fields
    )


def reduction_operator(number: str, field: str) -> Rule:
    return operators_satisfy(number, "an operator that reduces", lambda op: op.reduces, field)


def bitvec_needs_integers(number: str, fields: tuple[str, ...], operands: tuple[str, ...]) -> Rule:
    """Bit-vector operators take integer tiles and do not mix with arithmetic ones."""

    def check(instruction: Instruction, target: Target) -> str | None:
        ops = [operator(instruction, name) for name in fields]
        kinds = {op.kind is AluKind.BITVEC for op in ops if op.kind is not AluKind.BYPASS}
        if len(kinds) > 1:
            return f"{' and '.join(op.name for op in ops)} mix bitwise and arithmetic"
        return _float_operand(instruction, operands, ops[0].name) if kinds == {True} else None

    text = "operators are all bitwise or all arithmetic; bitwise ones take integer operands"
    return Rule(number, text, check)


def _float_operand(instruction: Instruction, names: tuple[str, ...], op: str) -> str | None:
    for name in names:
        access = instruction.operand(name)
        if access is not None and access.dtype.is_float:
            return f"{name} is {access.dtype.name} with {op}"
    return None


def scalar_operand_dtype(number: str, fields: tuple[str, ...], names: tuple[str, ...]) -> Rule:
    """Scalar tiles are f32, or an integer type where integer arithmetic is done on bits."""

    def check(instruction: Instruction, target: Target) -> str | None:
        for field, name in zip(fields, names, strict=True):
            access = instruction.operand(name)
            if access is None or is_bitvec(instruction, field):
                continue
            if access.dtype.name == "f32" or has_exact_integers(instruction):
                continue
            return f"{name} is {access.dtype.name}"
        return None

    text = (
        f"{', '.join(names)}: f32 with arithmetic operators, except i32/u32 when GpSimdE "
        "computes on i32/u32 tiles"
    )
    return Rule(number, text, check)


def has_exact_integers(instruction: Instruction) -> bool:
    """Whether GpSimdE computes in native 32-bit integers: every operand is i32 or u32
    (machine.md#arithmetic)."""
    return instruction.engine is Engine.GPSIMD and all(
        access is None or access.dtype.name in ("i32", "u32") for access in instruction.operands
    )


def unused_steps_are_zero(number: str) -> Rule:
    """iota and affine_select: a step without a dimension of dst must be 0."""

    def check(instruction: Instruction, target: Target) -> str | None:
        ((_, dst),) = _present(instruction, ("dst",))
        used = len(dst.dims)
        for position in range(used, 4):
            if instruction.integer(f"step{position}"):
                return f"step{position} is set, dst has {used} free dims"
        return None

    text = "step<i> belongs to free dim i of dst (outermost first); the others are 0"
    return Rule(number, text, check)


def custom(number: str, text: str, check: Callable[[Instruction, Target], str | None]) -> Rule:
    """A rule that only one instruction has."""
    return Rule(number, text, check)


def total_elements(access: TileAccess | HbmAccess) -> int:
    return math.prod(access.shape)
