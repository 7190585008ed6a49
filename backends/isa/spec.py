"""What one entry of the instruction set says, and the registry of all entries.

Encoder, decoder, assembler, disassembler, verifier, dialect `nisa`, executor, cost model, passes
and the reference page read these entries; none of them has a table of mnemonics of its own
(docs/design/0002-instruction-description.md). What an instruction computes is a function that is
registered by its mnemonic in `executor/semantics`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.isa.formula import Condition, Cost
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


class Reach(enum.StrEnum):
    """What of its operands one element of a result depends on: where a tile may be cut."""

    SAME_PLACE = "same_place"
    """The elements at its place, or one value per partition."""
    LAST_DIMS = "last_dims"
    """Those along the last free dims of the operand, which the result does not have."""
    ANY = "any"


class Action(enum.StrEnum):
    """What an instruction makes the machine do. Code that treats some instructions unlike others
    (the event loop, the effects, the passes) reads this, never a mnemonic."""

    COMPUTE = "compute"
    """An engine's data path: operands in, operands out, by the semantics of the mnemonic."""
    LOAD_STATIONARY = "load_stationary"
    """The tensor engine's array takes its stationary operand, behind the product under way."""
    MULTIPLY = "multiply"
    """The tensor engine streams a matrix through the array."""
    TRANSFER = "transfer"
    """Triggers a transfer on the DMA queue it names; the engine goes on."""
    COLLECTIVE = "collective"
    """Triggers a collective of the replica group it names; the engine goes on."""
    LOAD_TABLE = "load_table"
    """ScalarE takes another table of activation functions."""
    WAIT = "wait"
    SET_SEMAPHORE = "set_semaphore"
    ADD_SEMAPHORE = "add_semaphore"
    MOVE_REGISTER = "move_register"
    """A register gets an immediate."""
    COMPUTE_REGISTER = "compute_register"
    """A register gets what the sequencer computes from registers and immediates."""
    LOAD_REGISTER = "load_register"
    """A register gets a word of memory: from then on control flow may depend on data."""
    STORE_REGISTER = "store_register"
    BRANCH = "branch"
    HALT = "halt"
    NOTHING = "nothing"

    @property
    def is_on_data_path(self) -> bool:
        """Whether an engine itself reaches for the operands, not DMA or a sequencer."""
        return self in (Action.COMPUTE, Action.LOAD_STATIONARY, Action.MULTIPLY)


@dataclass(frozen=True)
class Exchange:
    """How a collective divides its operands among the cores of a group."""

    dst_in_blocks: bool = False
    """dst holds a block per core of the group."""
    src_in_blocks: bool = False
    """src holds a block per core of the group."""
    is_pairwise: bool = False
    """The group is a list of (source, target) pairs instead of a list of cores."""


Key = TypeVar("Key", str, int)
P = ParamSpec("P")


@dataclass(frozen=True)
class InstructionSpec:
    """One instruction: everything that any stage needs to know about it."""

    mnemonic: str
    opcode: int
    engines: tuple[Engine, ...]
    """Those that can run it, the usual one first."""
    cost: Cost
    """How long it keeps its engine busy: one formula that is computed, and printed."""
    summary: str
    semantics: str
    """What it computes, in one or two lines of text; the function that does so is registered by
    mnemonic in `executor/semantics`."""
    sources: tuple[str, ...]
    """Where each claim is from."""
    operands: tuple[OperandSpec, ...] = ()
    fields: tuple[FieldSpec, ...] = ()
    action: Action = Action.COMPUTE
    reach: Reach = Reach.ANY
    """Operands beside the data (a sum on the side, an index) may depend on more."""
    reads_destination: Condition | None = None
    """When the bytes in `dst` matter: for a `dst` that is written, and accumulated into when this
    holds; for one that is read and written, and read only when this holds. None: as its role
    says."""
    exchange: Exchange | None = None
    """How a collective divides its operands; None for anything else."""
    rules: tuple[Rule, ...] = ()
    """Its own numbered constraints, from C20 on; the common ones are in `rules.py`."""
    operand_index: dict[str, int] = field(init=False, repr=False, compare=False)
    field_index: dict[str, int] = field(init=False, repr=False, compare=False)

    @property
    def touches_memory(self) -> bool:
        """Whether it reads or writes memory at all; what does not is the event loop's alone."""
        return bool(self.operands)

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


def _adds(make: Callable[P, InstructionSpec], registry: Registry) -> Callable[P, InstructionSpec]:
    """`make`, whose results are added to the registry; its arguments stay typed."""

    def add(*arguments: P.args, **named: P.kwargs) -> InstructionSpec:
        return registry.add(make(*arguments, **named))

    return add


entry = _adds(InstructionSpec, INSTRUCTIONS)
"""Declares an instruction: adds an `InstructionSpec` of these arguments to `INSTRUCTIONS`."""
