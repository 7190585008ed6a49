"""What one entry of the instruction set says, and the registry of all entries.

Encoder, decoder, assembler, disassembler, verifier, dialect `nisa`, executor dispatch, cost model
and the reference page read these entries and nothing else (docs/design/0002-instruction-
description.md).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.targets.target import Engine, Target

if TYPE_CHECKING:
    from axonc.backends.isa.instruction import Instruction


class Role(enum.Enum):
    """What an instruction does with an operand."""

    READ = "read"
    WRITE = "write"
    READ_WRITE = "readwrite"


@dataclass(frozen=True)
class OperandSpec:
    """One operand: its role, the memories it may lie in and the element types it may have."""

    name: str
    role: Role
    memories: tuple[Memory, ...]
    dtypes: tuple[str, ...]
    optional: bool = False
    summary: str = ""


class FieldKind(enum.Enum):
    """How an immediate field is stored: how many bits, and what Python value stands for it."""

    ENUM = "enum"  # one of `choices`, Python str
    UINT = "uint"  # Python int
    INT = "int"  # two's complement, Python int
    FLOAT = "float"  # IEEE binary32, Python float
    BOOL = "bool"  # one bit
    REGISTER = "register"  # a sequencer register number, Python int


@dataclass(frozen=True)
class FieldSpec:
    """One immediate field; `bits` is its width in the encoding."""

    name: str
    kind: FieldKind
    bits: int
    default: object
    choices: tuple[str, ...] = ()
    summary: str = ""


@dataclass(frozen=True)
class Rule:
    """A numbered constraint. `check` returns None when it holds, else what was found."""

    number: str
    text: str
    check: Callable[[Instruction, Target], str | None]


Key = TypeVar("Key", str, int)
Cost = Callable[["Instruction", Target], float]


@dataclass(frozen=True)
class InstructionSpec:
    """One instruction. `cycles` is the initiation interval in cycles of the engine that runs it:
    how long the engine is busy before the next independent instruction may start."""

    mnemonic: str
    opcode: int
    engines: tuple[Engine, ...]
    operands: tuple[OperandSpec, ...]
    fields: tuple[FieldSpec, ...]
    cycles: Cost
    cycles_text: str
    summary: str
    semantics: str
    sources: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    operand_index: dict[str, int] = field(init=False, repr=False, compare=False)
    field_index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "operand_index", {o.name: i for i, o in enumerate(self.operands)})
        object.__setattr__(self, "field_index", {f.name: i for i, f in enumerate(self.fields)})


class Registry:
    """All instructions, by mnemonic and by opcode; a duplicate of either fails."""

    def __init__(self) -> None:
        self._by_mnemonic: dict[str, InstructionSpec] = {}
        self._by_opcode: dict[int, InstructionSpec] = {}

    def add(self, spec: InstructionSpec) -> InstructionSpec:
        self._claim(self._by_mnemonic, spec.mnemonic, spec)
        self._claim(self._by_opcode, spec.opcode, spec)
        return spec

    @staticmethod
    def _claim(table: dict[Key, InstructionSpec], key: Key, spec: InstructionSpec) -> None:
        if key in table:
            raise ValueError(f"{spec.mnemonic} and {table[key].mnemonic} both claim {key}")
        table[key] = spec

    def __getitem__(self, mnemonic: str) -> InstructionSpec:
        return self._by_mnemonic[mnemonic]

    def __contains__(self, mnemonic: str) -> bool:
        return mnemonic in self._by_mnemonic

    def __iter__(self) -> Iterator[InstructionSpec]:
        return iter(sorted(self._by_mnemonic.values(), key=lambda spec: spec.opcode))

    def by_opcode(self, opcode: int) -> InstructionSpec:
        return self._by_opcode[opcode]


INSTRUCTIONS = Registry()
"""The one instruction registry; `axonc.backends.isa` fills it when imported."""
