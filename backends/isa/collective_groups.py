"""Which cores communicate in a collective, and what each brings."""

from __future__ import annotations

import math

from axonc.backends.isa.instruction import FieldValues, Instruction
from axonc.backends.isa.spec import Exchange
from axonc.diagnostics import VerifyError

Members = tuple[int, ...]
Groups = tuple[Members, ...]
"""One entry of a program's table of replica groups: the cores of each group, in the order of their
blocks; for a collective_permute, (source, target) pairs. Cores are numbered by rank."""

GroupKey = tuple[int, Members]
"""(index into the table of groups, the cores of one group)."""


def exchange_of(instruction: FieldValues) -> Exchange:
    """How a collective divides its operands."""
    exchange = instruction.spec.exchange
    assert exchange is not None, f"{instruction.spec.mnemonic} is no collective"
    return exchange


def group_number(instruction: Instruction) -> int:
    """The entry of the table of groups that a collective names."""
    return instruction.integer("group")


def members_of(table: tuple[Groups, ...], instruction: Instruction, core: int) -> Members:
    """The cores that take part in a collective that `core` triggers.

    Raises: VerifyError if there is no such table entry, or `core` is in none of its groups.
    """
    number = group_number(instruction)
    if number >= len(table):
        raise VerifyError(f"replica group entry {number} of a table of {len(table)}")
    groups = table[number]
    if exchange_of(instruction).is_pairwise:
        found = tuple(sorted({member for pair in groups for member in pair}))
        return found if core in found else (core,)
    for group in groups:
        if core in group:
            return group
    raise VerifyError(f"core {core} is in no group of {list(map(list, groups))}")


def signature(instruction: Instruction) -> tuple[object, ...]:
    """What all cores of a group must agree on."""
    operands = [
        (spec.name, access.memory.value, access.dtype.name, access.shape)
        for spec, access in zip(instruction.spec.operands, instruction.operands, strict=True)
        if access is not None
    ]
    op = instruction.text("op") if "op" in instruction.spec.field_index else ""
    return (instruction.spec.mnemonic, op, *operands)


def block_counts(instruction: Instruction, cores: int) -> int | None:
    """Elements of one block of a collective; None if the operands do not fit a group of `cores`."""
    dst, src = instruction.operand("dst"), instruction.operand("src")
    assert dst is not None and src is not None
    counts = [math.prod(access.shape) for access in (dst, src)]
    exchange = exchange_of(instruction)
    parts = [cores if cut else 1 for cut in (exchange.dst_in_blocks, exchange.src_in_blocks)]
    if counts[0] % parts[0] or counts[1] % parts[1] or counts[0] * parts[1] != counts[1] * parts[0]:
        return None
    return counts[0] // parts[0]
