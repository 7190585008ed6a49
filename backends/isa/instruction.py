"""One instruction with its operands resolved to addresses, and its place in the synchronisation."""

from __future__ import annotations

from dataclasses import dataclass

from axonc.backends.isa.access_pattern import NO_REGISTER, Access
from axonc.backends.isa.spec import InstructionSpec
from axonc.backends.targets.target import Engine

UNKNOWN_LOCATION = 0
"""Index of the unknown location in a program's location table."""


@dataclass(slots=True)
class Instruction:
    """operands and fields follow the order of the spec; an absent optional operand is None.

    waits: (semaphore, value): start only once the semaphore is >= value; at most
    `target.max_attached_waits`, further ones are `semaphore_wait` instructions.
    signal: (semaphore, increment) posted when all writes are visible, or None.
    location: index into the program's table of source locations.
    wait_register: the register added to the value of its waits (that of a `semaphore_wait` too), so
    that a loop waits for the counts of its own iteration.
    """

    spec: InstructionSpec
    engine: Engine
    operands: tuple[Access | None, ...]
    fields: tuple[object, ...]
    waits: tuple[tuple[int, int], ...] = ()
    signal: tuple[int, int] | None = None
    location: int = UNKNOWN_LOCATION
    wait_register: int = NO_REGISTER

    def operand(self, name: str) -> Access | None:
        return self.operands[self.spec.operand_index[name]]

    def field(self, name: str) -> object:
        return self.fields[self.spec.field_index[name]]
