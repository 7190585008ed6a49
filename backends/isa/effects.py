"""Which operands an instruction reads and writes, where the fields have a say in it."""

from __future__ import annotations

from axonc.backends.isa.access_pattern import Access
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import Role

READS_DESTINATION = {
    "multiply_moving": lambda i: i.flag("accumulate"),
    "dma_copy": lambda i: i.text("op") != "copy",
}
"""Instructions whose `dst` has role WRITE but is also read for some field values."""


def accesses_read(instruction: Instruction) -> list[Access]:
    """Operands whose bytes are read, in the order of the spec (dst where it is accumulated
    into)."""
    also_dst = READS_DESTINATION.get(instruction.spec.mnemonic)
    reads_dst = also_dst is not None and also_dst(instruction)
    return [
        access
        for spec, access in zip(instruction.spec.operands, instruction.operands, strict=True)
        if access is not None
        and (spec.role is not Role.WRITE or (reads_dst and spec.name == "dst"))
    ]


def accesses_written(instruction: Instruction) -> list[Access]:
    """Operands whose bytes are written. A scatter may write any row of its table access."""
    return [
        access
        for spec, access in zip(instruction.spec.operands, instruction.operands, strict=True)
        if access is not None and spec.role is not Role.READ
    ]
