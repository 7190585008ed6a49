"""Which operands an instruction reads and writes, and whether their addresses are fixed."""

from __future__ import annotations

from axonc.backends.isa.access_pattern import NO_REGISTER, Access
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import Role


def reads_destination(instruction: Instruction) -> bool:
    """Whether the bytes that `dst` holds matter: by the entry's rule, else by its role."""
    spec = instruction.spec
    if spec.reads_destination is not None:
        return spec.reads_destination.holds(instruction)
    return any(o.name == "dst" and o.role is Role.READ_WRITE for o in spec.operands)


def accesses_read(instruction: Instruction) -> list[Access]:
    """Operands whose bytes are read, in the order of the spec (dst where it is accumulated
    into)."""
    also_dst = reads_destination(instruction)
    return [
        access
        for spec, access in zip(instruction.spec.operands, instruction.operands, strict=True)
        if access is not None and (spec.role is not Role.WRITE or (also_dst and spec.name == "dst"))
    ]


def accesses_written(instruction: Instruction) -> list[Access]:
    """Operands whose bytes are written. A scatter may write any row of its table access."""
    return [
        access
        for spec, access in zip(instruction.spec.operands, instruction.operands, strict=True)
        if access is not None and spec.role is not Role.READ
    ]


def uses_registers(instruction: Instruction) -> bool:
    """Whether an operand's address comes from a register."""
    return any(a is not None and a.register != NO_REGISTER for a in instruction.operands)
