"""Instructions to bytes.

Everything but the source location is kept (locations are beside the stream, in
`Program.instruction_locations`); a float field becomes the nearest binary32 number.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

from axonc.backends.encoding.layout import (
    EITHER,
    EITHER_DIMS,
    ENGINE_CODES,
    MEMORY_CODES,
    TILE_DIMS,
    Layout,
    PackedField,
)
from axonc.backends.isa.access_pattern import Access, Dims, HbmAccess, TileAccess
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import FieldKind, InstructionSpec
from axonc.diagnostics import ProgramFormatError

ABSENT_TILE = (0, 0, 0, 0, 0, bytes(TILE_DIMS.size))
ABSENT_EITHER = (0, 0, 0, 0, 0, 0, bytes(EITHER_DIMS.size), 0)
OFFSET_BITS = 24
ToBits = Callable[[Any], int]


class Encoder:
    """Encodes instructions; layouts and packed dims are kept between calls."""

    def __init__(self) -> None:
        self._plans: dict[int, _Plan] = {}
        self._tile_dims: dict[Dims, bytes] = {}
        self._either_dims: dict[Dims, bytes] = {}

    def encode(self, instruction: Instruction) -> bytes:
        """Raises ProgramFormatError when a value does not fit the encoding."""
        plan = self._plans.get(instruction.spec.opcode)
        if plan is None:
            plan = self._plans[instruction.spec.opcode] = _Plan(instruction.spec)
        try:
            return plan.pack(*self._header(instruction), *self._body(instruction, plan))
        except (struct.error, KeyError, ValueError, TypeError, AttributeError, OverflowError) as e:
            raise ProgramFormatError(f"cannot encode: {e}", op=instruction.spec.mnemonic) from e

    def _header(self, instruction: Instruction) -> tuple[int, ...]:
        present = 0
        for position, access in enumerate(instruction.operands):
            if access is not None:
                present |= 1 << position
        waits, signal = instruction.waits, instruction.signal
        if len(waits) > 1:
            raise ValueError(f"{len(waits)} attached waits, the encoding has one")
        wait_semaphore, wait_value = waits[0] if waits else (0, 0)
        signal_semaphore, increment = signal if signal else (0, 0)
        return (
            instruction.spec.opcode,
            ENGINE_CODES[instruction.engine],
            present,
            (1 if waits else 0) | (2 if signal else 0),
            wait_semaphore,
            instruction.wait_register + 1,
            signal_semaphore,
            wait_value,
            increment,
        )

    def _body(self, instruction: Instruction, plan: _Plan) -> list[object]:
        values: list[object] = []
        for access, is_either in zip(instruction.operands, plan.is_either, strict=True):
            values += self._either(access) if is_either else self._tile(access)
        fields = instruction.fields
        if len(fields) != len(plan.layout.spec.fields):
            raise ValueError(f"{len(fields)} fields")
        for index in plan.words:
            values.append(fields[index])
        if plan.layout.has_padding:
            values.append(0)
        if plan.packed_words:
            words = [0] * plan.packed_words
            for packed, to_bits in plan.packed:
                words[packed.word] |= to_bits(fields[packed.index]) << packed.shift
            values += words
        return values

    def _tile(self, access: Access | None) -> tuple[object, ...]:
        if access is None:
            return ABSENT_TILE
        if not isinstance(access, TileAccess):
            raise ValueError("an on-chip operand is in device memory")
        offset = access.byte_offset
        if not 0 <= offset < 1 << OFFSET_BITS:
            raise ValueError(f"byte offset {offset}")
        dims = self._tile_dims.get(access.dims)
        if dims is None:
            dims = self._tile_dims[access.dims] = _packed_dims(access.dims, TILE_DIMS, 4)
        return (
            access.dtype.code,
            MEMORY_CODES[access.memory],
            access.start_partition,
            access.num_partitions,
            offset | (access.register + 1) << OFFSET_BITS,
            dims,
        )

    def _either(self, access: Access | None) -> tuple[object, ...]:
        if access is None:
            return ABSENT_EITHER
        dims = self._either_dims.get(access.dims)
        if dims is None:
            dims = self._either_dims[access.dims] = _packed_dims(access.dims, EITHER_DIMS, 5)
        code, memory = access.dtype.code, MEMORY_CODES[access.memory]
        if isinstance(access, HbmAccess):
            return (
                code,
                memory,
                0,
                0,
                access.register,
                access.address,
                dims,
                access.register_shift,
            )
        start, count = access.start_partition, access.num_partitions
        return (code, memory, start, count, access.register, access.byte_offset, dims, 0)


class _Plan:
    """What of an entry's layout the encoder needs at each instruction."""

    def __init__(self, spec: InstructionSpec) -> None:
        self.layout = Layout(spec)
        self.pack = self.layout.struct.pack
        self.is_either = tuple(members is EITHER for members in self.layout.operand_members)
        self.words = tuple(index for index, _ in self.layout.words)
        self.packed = tuple((packed, _to_bits(packed)) for packed in self.layout.packed)
        self.packed_words = self.layout.packed_words


def _packed_dims(dims: Dims, layout: struct.Struct, count: int) -> bytes:
    """Strides then sizes, padded with zeros; a size of zero ends the list when decoding."""
    if len(dims) > count:
        raise ValueError(f"{len(dims)} dims, the encoding has {count}")
    if any(size < 1 for _, size in dims):
        raise ValueError(f"a dim of size 0 in {dims}")
    padding = (0,) * (count - len(dims))
    strides, sizes = (d[0] for d in dims), (d[1] for d in dims)
    return layout.pack(*strides, *padding, *sizes, *padding)


def _to_bits(packed: PackedField) -> ToBits:
    """Value of a short field -> its bits; raises ValueError or KeyError when it does not fit."""
    field = packed.field
    if field.kind is FieldKind.ENUM:
        codes: dict[object, int] = {choice: code for code, choice in enumerate(field.choices)}
        return codes.__getitem__
    low = -(1 << (field.bits - 1)) if field.kind is FieldKind.INT else 0
    high = low + (1 << field.bits)

    def to_bits(value: Any) -> int:
        number = int(value)
        if not low <= number < high:
            raise ValueError(f"{field.name} = {number} does not fit {field.bits} bits")
        return number & packed.mask

    return to_bits


def encode_stream(instructions: Iterable[Instruction]) -> bytes:
    """The instructions one after another. Raises ProgramFormatError naming the instruction."""
    encoder = Encoder()
    return b"".join([encoder.encode(instruction) for instruction in instructions])
