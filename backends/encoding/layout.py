"""Where each part of an encoded instruction lies: computed from its entry, nothing is listed twice.

An instruction is little-endian and a multiple of 8 bytes long:

    header    16 bytes   `HEADER`
    operands  24 bytes for one that is always on chip (`TILE`), 64 for one that may be in device
              memory (`EITHER`); zeros when absent
    words     4 bytes for each 32-bit field, in the order of the entry; 4 zero bytes if odd
    packed    8-byte words of the shorter fields, lowest bits first; no field crosses a word

The real encoding is not published; this one is ours. Its fields are as wide as the hardware's are
known to be: uint16 sizes and int16 strides on chip (machine.md#operands).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.isa.spec import FieldKind, FieldSpec, InstructionSpec, OperandSpec
from axonc.backends.targets.target import Engine

ENGINE_CODES: dict[Engine, int] = {
    Engine.TENSOR: 1,
    Engine.SCALAR: 2,
    Engine.GPSIMD: 3,
    Engine.VECTOR: 5,
    Engine.SYNC: 6,
}
"""Engine numbers of NKI (machine.md#operands)."""

MEMORY_CODES: dict[Memory, int] = {Memory.SBUF: 0, Memory.PSUM: 1, Memory.HBM: 2}

Member = tuple[str, str, str]
"""(name, struct code, meaning)."""

HEADER: tuple[Member, ...] = (
    ("opcode", "B", "the entry's opcode"),
    ("engine", "B", "1 tensor, 2 scalar, 3 gpsimd, 5 vector, 6 sync"),
    ("present", "B", "bit i is set when operand i is present"),
    ("synchronisation", "B", "bit 0: has a wait, bit 1: has a signal"),
    ("wait_semaphore", "B", ""),
    ("wait_register", "B", "register + 1 (0: none); it is added to the value waited for"),
    ("signal_semaphore", "H", ""),
    ("wait_value", "I", "start once the semaphore is at least this"),
    ("signal_increment", "I", "added when the instruction completes"),
)

TILE: tuple[Member, ...] = (
    ("dtype", "B", "code of the element type"),
    ("memory", "B", "0 sbuf, 1 psum, 2 hbm"),
    ("start_partition", "B", ""),
    ("num_partitions", "B", ""),
    ("offset_and_register", "I", "bits 0-23 byte offset, bits 24-31 register + 1 (0: none)"),
    ("dims", "16s", "4 int16 strides, then 4 uint16 sizes, in elements, outermost first"),
)

EITHER: tuple[Member, ...] = (
    ("dtype", "B", "code of the element type"),
    ("memory", "B", "0 sbuf, 1 psum, 2 hbm"),
    ("start_partition", "B", "0 in hbm"),
    ("num_partitions", "B", "0 in hbm"),
    ("register", "i", "-1: none"),
    ("address", "q", "byte address in hbm, else byte offset within each partition"),
    ("dims", "40s", "5 int32 strides, then 5 uint32 sizes, in elements, outermost first"),
    ("register_shift", "Q", "the register counts 2^n bytes; 0 on chip and without a register"),
)

TILE_DIMS = struct.Struct("<4h4H")
EITHER_DIMS = struct.Struct("<5i5I")
MEMBER_BITS = {"B": 8, "H": 16, "I": 32, "i": 32, "q": 64, "Q": 64, "16s": 128, "40s": 320}
WORD_CODES = {FieldKind.FLOAT: "f", FieldKind.UINT: "I", FieldKind.INT: "i"}


@dataclass(frozen=True)
class BitRange:
    """`bits` bits from bit `first` of the instruction (bit 0: lowest bit of the first byte)."""

    name: str
    first: int
    bits: int
    meaning: str = ""


@dataclass(frozen=True)
class PackedField:
    """A field of fewer than 32 bits: in packed word `word`, `shift` bits from its lowest bit."""

    field: FieldSpec
    index: int
    word: int
    shift: int

    @property
    def mask(self) -> int:
        return (1 << self.field.bits) - 1


def may_be_in_hbm(operand: OperandSpec) -> bool:
    return Memory.HBM in operand.memories


def is_word(field: FieldSpec) -> bool:
    """Whether the field has four bytes of its own."""
    return field.bits == 32 and field.kind in WORD_CODES


def pack_fields(spec: InstructionSpec) -> tuple[PackedField, ...]:
    """The short fields in the order of the entry, each in the first word that still has room."""
    packed: list[PackedField] = []
    word = shift = 0
    for index, field in enumerate(spec.fields):
        if is_word(field):
            continue
        if shift + field.bits > 64:
            word, shift = word + 1, 0
        packed.append(PackedField(field, index, word, shift))
        shift += field.bits
    return tuple(packed)


class Layout:
    """The layout of one entry.

    struct: packs and unpacks a whole instruction. words: (index, field) of the 32-bit fields.
    packed: the short fields. size_bytes: length, a multiple of 8.
    """

    def __init__(self, spec: InstructionSpec) -> None:
        self.spec = spec
        self.operand_members = tuple(EITHER if may_be_in_hbm(o) else TILE for o in spec.operands)
        self.words = tuple((i, f) for i, f in enumerate(spec.fields) if is_word(f))
        self.has_padding = len(self.words) % 2 == 1
        self.packed = pack_fields(spec)
        self.packed_words = 1 + max((p.word for p in self.packed), default=-1)
        codes = "".join(code for _, code, _ in HEADER)
        codes += "".join(code for members in self.operand_members for _, code, _ in members)
        codes += "".join(WORD_CODES[field.kind] for _, field in self.words)
        codes += "I" if self.has_padding else ""
        codes += f"{self.packed_words}Q" if self.packed_words else ""
        self.struct = struct.Struct("<" + codes)
        self.size_bytes = self.struct.size

    def bit_ranges(self) -> tuple[BitRange, ...]:
        """Every named part, for the reference page and the test that none overlap."""
        ranges: list[BitRange] = []
        position = self._append(ranges, "", HEADER, 0)
        for operand, members in zip(self.spec.operands, self.operand_members, strict=True):
            position = self._append(ranges, operand.name + ".", members, position)
        for _, field in self.words:
            ranges.append(BitRange(field.name, position, 32, field.summary))
            position += 32
        if self.has_padding:
            ranges.append(BitRange("reserved", position, 32, "zero"))
            position += 32
        for packed in self.packed:
            first = position + 64 * packed.word + packed.shift
            ranges.append(BitRange(packed.field.name, first, packed.field.bits))
        return tuple(ranges)

    @staticmethod
    def _append(
        ranges: list[BitRange], prefix: str, members: tuple[Member, ...], position: int
    ) -> int:
        for name, code, meaning in members:
            bits = MEMBER_BITS[code]
            ranges.append(BitRange(prefix + name, position, bits, meaning))
            position += bits
        return position
