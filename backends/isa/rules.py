"""Numbered constraints: those every instruction obeys (C1 to C19) and builders for the others (C20 on).

A rule's `check` returns what was found, or None. The common rules are evaluated by
`backends/isa/verifier.py` in one pass over the operands; their texts live here so that messages, tests
and the reference page agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from axonc.backends.isa.access_pattern import HbmAccess, Memory, TileAccess
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.operators import BITVEC_OPS, BYPASS, engine_has_operator
from axonc.backends.isa.spec import Rule
from axonc.backends.targets.target import Engine, Target

COMMON_RULES: dict[str, str] = {
    "C1": "the engine is one of the instruction's engines",
    "C2": "required operands are present; an operand's memory is one the instruction can reach there",
    "C3": "an operand's element type is one the instruction accepts there",
    "C4": "an operand covers 1 to 128 partitions, inside the memory",
    "C5": "start partition: more than 64 partitions start at 0, 33 to 64 at 0 or 64, up to 32 at 0, "
    "32, 64 or 96 (DMA may start anywhere: assumed, descriptors address partitions one by one)",
    "C6": "at most 4 free dimensions on chip, 5 in device memory",
    "C7": "sizes are 1 to 65535 and strides fit int16 on chip; 32 bits each in device memory",
    "C8": "byte offset and address are multiples of the element size",
    "C9": "every byte touched lies inside the partition, or inside device memory",
    "C10": "GpSimdE and DMA do not touch PSUM",
    "C11": "at most 64 Ki elements per partition in SBUF and 4 Ki in PSUM (VectorE, ScalarE, GpSimdE)",
    "C12": "a field's value is one of its choices and fits its bits; a float is a binary32 value",
    "C13": "a register number is below the number of registers",
    "C14": "no more attached waits than the machine has; semaphore numbers and values are in range",
}
"""Sources: hardware.md 3.0 (C4-C7, C9, C11), 1.2 (C1, C2, C10, C13), 2.1 (C3), 3.6 (C14); C8 is
assumed (alignment is not published, 8.10); C12 is a property of the encoding."""


def same_partitions(number: str, *names: str) -> Rule:
    """The named operands (those present) have the same number of partitions."""

    def check(instruction: Instruction, target: Target) -> str | None:
        first = 0
        for name in names:
            access = instruction.operand(name)
            if access is None:
                continue
            count = access.num_partitions  # type: ignore[union-attr]
            if first and count != first:
                return f"{names[0]} has {first} partitions, {name} has {count}"
            first = count
        return None

    return Rule(number, f"{', '.join(names)} have the same number of partitions", check)


def same_elements(number: str, *names: str) -> Rule:
    """The named operands have the same number of elements per partition."""

    def check(instruction: Instruction, target: Target) -> str | None:
        first = -1
        for name in names:
            access = instruction.operand(name)
            if access is None:
                continue
            count = access.elements_per_partition  # type: ignore[union-attr]
            if first >= 0 and count != first:
                return f"{names[0]} has {first} elements per partition, {name} has {count}"
            first = count
        return None

    return Rule(number, f"{', '.join(names)} have the same number of elements per partition", check)


def element_count_is(number: str, expected: int, *names: str) -> Rule:
    """Each named operand (if present) has `expected` elements per partition."""

    def check(instruction: Instruction, target: Target) -> str | None:
        for name in names:
            access = instruction.operand(name)
            if access is not None and access.elements_per_partition != expected:  # type: ignore[union-attr]
                return f"{name} has {access.elements_per_partition} elements per partition"  # type: ignore[union-attr]
        return None

    return Rule(number, f"{', '.join(names)}: {expected} element(s) per partition", check)


def element_range(number: str, name: str, low: int, high: int | str) -> Rule:
    """Operand `name` has low..high elements per partition; high may name a Target attribute."""

    def check(instruction: Instruction, target: Target) -> str | None:
        count = instruction.operand(name).elements_per_partition  # type: ignore[union-attr]
        limit = getattr(target, high) if isinstance(high, str) else high
        return None if low <= count <= limit else f"{name} has {count} elements per partition"

    return Rule(number, f"{name} has {low} to {high} elements per partition", check)


def not_both_psum(number: str, first: str, second: str) -> Rule:
    """Two inputs may not both lie in PSUM (hardware.md 3.0)."""

    def check(instruction: Instruction, target: Target) -> str | None:
        one, two = instruction.operand(first), instruction.operand(second)
        both = one is not None and two is not None
        if both and one.memory is Memory.PSUM and two.memory is Memory.PSUM:  # type: ignore[union-attr]
            return "both are in PSUM"
        return None

    return Rule(number, f"{first} and {second} are not both in PSUM", check)


def same_dtype(number: str, *names: str) -> Rule:
    """The named operands have one element type."""

    def check(instruction: Instruction, target: Target) -> str | None:
        dtypes = [instruction.operand(name).dtype for name in names]  # type: ignore[union-attr]
        if all(dtype is dtypes[0] for dtype in dtypes):
            return None
        return ", ".join(f"{n} is {d.name}" for n, d in zip(names, dtypes, strict=True))

    return Rule(number, f"{', '.join(names)} have the same element type", check)


def operators_on_engine(number: str, *fields: str) -> Rule:
    """The engine's ALU has the operators."""

    def check(instruction: Instruction, target: Target) -> str | None:
        for name in fields:
            op = str(instruction.field(name))
            if not engine_has_operator(instruction.engine, op):
                return f"{name} = {op} on {instruction.engine.value}"
        return None

    text = "bitwise, shift and reciprocal operators run on VectorE only, power and rsqrt on GpSimdE only"
    return Rule(number, text, check)


def bitvec_needs_integers(number: str, fields: tuple[str, ...], operands: tuple[str, ...]) -> Rule:
    """Bit-vector operators take integer tiles and do not mix with arithmetic ones."""

    def check(instruction: Instruction, target: Target) -> str | None:
        ops = [instruction.field(name) for name in fields]
        kinds = {op in BITVEC_OPS for op in ops if op != BYPASS}
        if len(kinds) > 1:
            return f"{' and '.join(map(str, ops))} mix bitvec and arithmetic"
        if kinds != {True}:
            return None
        for name in operands:
            access = instruction.operand(name)
            if access is not None and access.dtype.is_float:
                return f"{name} is {access.dtype.name} with {ops[0]}"
        return None

    text = "operators are all bitwise or all arithmetic; bitwise ones take integer operands"
    return Rule(number, text, check)


def scalar_operand_dtype(number: str, fields: tuple[str, ...], names: tuple[str, ...]) -> Rule:
    """Scalar tiles are f32, or an integer type where integer arithmetic is done on bits."""

    def check(instruction: Instruction, target: Target) -> str | None:
        for field, name in zip(fields, names, strict=True):
            access = instruction.operand(name)
            if access is None or instruction.field(field) in BITVEC_OPS:
                continue
            if access.dtype.name == "f32" or has_exact_integers(instruction):
                continue
            return f"{name} is {access.dtype.name}"
        return None

    text = (
        f"{', '.join(names)}: f32 with arithmetic operators, except i32/u32 when GpSimdE computes on "
        "i32/u32 tiles"
    )
    return Rule(number, text, check)


def has_exact_integers(instruction: Instruction) -> bool:
    """Whether GpSimdE computes in native 32-bit integers: every operand is i32 or u32 (2.3)."""
    return instruction.engine is Engine.GPSIMD and all(
        access is None or access.dtype.name in ("i32", "u32") for access in instruction.operands
    )


def unused_steps_are_zero(number: str) -> Rule:
    """iota and affine_select: a step without a dimension of dst must be 0."""

    def check(instruction: Instruction, target: Target) -> str | None:
        used = len(instruction.operand("dst").dims)  # type: ignore[union-attr]
        for position in range(used, 4):
            if instruction.field(f"step{position}"):
                return f"step{position} is set, dst has {used} free dims"
        return None

    return Rule(
        number, "step<i> belongs to free dim i of dst (outermost first); others are 0", check
    )


def custom(number: str, text: str, check: Callable[[Instruction, Target], str | None]) -> Rule:
    """A rule that only one instruction has."""
    return Rule(number, text, check)


def total_elements(access: TileAccess | HbmAccess) -> int:
    return math.prod(access.shape)
