"""One instruction with its operands resolved to addresses, and its place in the synchronisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from axonc.backends.isa.access_pattern import NO_REGISTER, Access
from axonc.backends.isa.spec import InstructionSpec
from axonc.backends.targets.target import Engine

UNKNOWN_LOCATION = 0
"""Index of the unknown location in a program's location table."""


class FieldValues:
    """What has an entry and values for its fields: reads them by name."""

    __slots__ = ()

    spec: InstructionSpec
    fields: tuple[object, ...]
    """In the order of the spec."""

    def field(self, name: str) -> object:
        return self.fields[self.spec.field_index[name]]

    def integer(self, name: str) -> int:
        """The value of a UINT, INT or REGISTER field."""
        value = self.fields[self.spec.field_index[name]]
        assert isinstance(value, int)
        return value

    def flag(self, name: str) -> bool:
        """The value of a BOOL field."""
        value = self.fields[self.spec.field_index[name]]
        assert isinstance(value, bool)
        return value

    def text(self, name: str) -> str:
        """The value of an ENUM field."""
        value = self.fields[self.spec.field_index[name]]
        assert isinstance(value, str)
        return value

    def values(self) -> dict[str, Any]:
        """Every field's value by its name, as FieldKind says: str, int, float or bool."""
        return dict(zip(self.spec.field_index, self.fields, strict=True))

    def fields_with(self, name: str, value: object) -> tuple[object, ...]:
        """The fields with the value of one of them changed."""
        index = self.spec.field_index[name]
        return (*self.fields[:index], value, *self.fields[index + 1 :])


@dataclass(slots=True)
class Instruction(FieldValues):
    """An entry with values for its operands and fields, the engine that runs it, and when."""

    spec: InstructionSpec
    engine: Engine
    operands: tuple[Access | None, ...]
    """In the order of the spec; an absent optional operand is None."""
    fields: tuple[object, ...]
    waits: tuple[tuple[int, int], ...] = ()
    """(semaphore, value): start only once the semaphore is >= value; at most
    `target.max_attached_waits`, further ones are `semaphore_wait` instructions."""
    signal: tuple[int, int] | None = None
    """(semaphore, increment) posted when all writes are visible."""
    location: int = UNKNOWN_LOCATION
    """Index into the program's table of source locations."""
    wait_register: int = NO_REGISTER
    """The register added to the value of its waits (that of a `semaphore_wait` too), so that a loop
    waits for the counts of its own iteration."""

    def operand(self, name: str) -> Access | None:
        return self.operands[self.spec.operand_index[name]]
