"""Short constructors for the operands and fields of instruction entries, and the sets they use.

Memories an engine reaches: machine.md#memories. Element types: machine.md#formats.
"""

from __future__ import annotations

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.isa.alu import ALU_BY_NAME
from axonc.backends.isa.spec import FieldKind, FieldSpec, OperandSpec, Role
from axonc.backends.numerics.dtypes import DTYPES
from axonc.backends.targets.target import Engine

SBUF = (Memory.SBUF,)
PSUM = (Memory.PSUM,)
ON_CHIP = (Memory.SBUF, Memory.PSUM)
DMA_REACHABLE = (Memory.SBUF, Memory.HBM)

ALL_DTYPES = tuple(DTYPES)
FLOAT_DTYPES = tuple(name for name, dtype in DTYPES.items() if dtype.is_float)
INTEGER_DTYPES = tuple(name for name, dtype in DTYPES.items() if not dtype.is_float)
UNSIGNED_DTYPES = ("u8", "u16", "u32")
WORD_DTYPES = ("i32", "u32")
SCALAR_DTYPES = ("f32", *INTEGER_DTYPES)
F32_ONLY = ("f32",)

ALL_ENGINES = tuple(Engine)
VECTOR = (Engine.VECTOR,)
SCALAR = (Engine.SCALAR,)
GPSIMD = (Engine.GPSIMD,)
TENSOR = (Engine.TENSOR,)
VECTOR_OR_GPSIMD = (Engine.VECTOR, Engine.GPSIMD)

Memories = tuple[Memory, ...]
Names = tuple[str, ...]


def read(
    name: str,
    memories: Memories = ON_CHIP,
    dtypes: Names = ALL_DTYPES,
    optional: bool = False,
    summary: str = "",
) -> OperandSpec:
    """An operand the instruction reads."""
    return OperandSpec(name, Role.READ, memories, dtypes, optional, summary)


def write(
    name: str = "dst",
    memories: Memories = ON_CHIP,
    dtypes: Names = ALL_DTYPES,
    optional: bool = False,
    summary: str = "",
) -> OperandSpec:
    """An operand the instruction writes completely."""
    return OperandSpec(name, Role.WRITE, memories, dtypes, optional, summary)


def update(
    name: str = "dst",
    memories: Memories = ON_CHIP,
    dtypes: Names = ALL_DTYPES,
    summary: str = "",
) -> OperandSpec:
    """An operand the instruction reads and writes (a part of it may keep its value)."""
    return OperandSpec(name, Role.READ_WRITE, memories, dtypes, False, summary)


def scalar_tile(name: str, dtypes: Names = F32_ONLY, summary: str = "") -> OperandSpec:
    """An optional [P, 1] operand: one value per partition, used instead of an immediate."""
    return read(name, ON_CHIP, dtypes, True, summary)


def enum(name: str, choices: Names, default: str, summary: str = "") -> FieldSpec:
    """A field naming one of `choices`, in as few bits as hold their number."""
    bits = max(1, (len(choices) - 1).bit_length())
    return FieldSpec(name, FieldKind.ENUM, bits, default, choices, summary)


def alu(name: str, default: str, summary: str = "") -> FieldSpec:
    """An ALU operator; its code is that of `alu.py`. Rules say which operators are legal."""
    return enum(name, tuple(ALU_BY_NAME), default, summary)


def real(name: str, default: float = 0.0, summary: str = "") -> FieldSpec:
    """An IEEE binary32 immediate."""
    return FieldSpec(name, FieldKind.FLOAT, 32, default, (), summary)


def flag(name: str, summary: str = "", default: bool = False) -> FieldSpec:
    """A one-bit field."""
    return FieldSpec(name, FieldKind.BOOL, 1, default, (), summary)


def uint(name: str, bits: int = 32, default: int = 0, summary: str = "") -> FieldSpec:
    """An unsigned integer of `bits` bits."""
    return FieldSpec(name, FieldKind.UINT, bits, default, (), summary)


def sint(name: str, bits: int = 32, default: int = 0, summary: str = "") -> FieldSpec:
    """A two's-complement integer of `bits` bits."""
    return FieldSpec(name, FieldKind.INT, bits, default, (), summary)


def register(name: str, summary: str = "") -> FieldSpec:
    """A sequencer register number (machine.md#sequencers)."""
    return FieldSpec(name, FieldKind.REGISTER, 6, 0, (), summary)
