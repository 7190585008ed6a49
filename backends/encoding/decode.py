"""Bytes to instructions. Damaged bytes raise ProgramFormatError with offset and reason; whatever
decodes encodes to the same bytes again."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from axonc.backends.encoding.layout import (
    EITHER,
    EITHER_DIMS,
    ENGINE_CODES,
    HEADER,
    MEMORY_CODES,
    TILE_DIMS,
    Layout,
    PackedField,
)
from axonc.backends.isa import INSTRUCTIONS
from axonc.backends.isa.access_pattern import Access, Dims, HbmAccess, Memory, TileAccess
from axonc.backends.isa.instruction import UNKNOWN_LOCATION, Instruction
from axonc.backends.isa.spec import FieldKind, InstructionSpec
from axonc.backends.numerics.dtypes import BY_CODE
from axonc.diagnostics import ProgramFormatError

ENGINES = {code: engine for engine, code in ENGINE_CODES.items()}
MEMORIES = {code: memory for memory, code in MEMORY_CODES.items()}
OFFSET_MASK = (1 << 24) - 1
HEADER_VALUES = len(HEADER)
MAX_REGISTER_SHIFT = 16
TILE_VALUES = 6
EITHER_VALUES = 8
Values = tuple  # what struct.unpack gives
FromBits = Callable[[int], object]


class Decoder:
    """Decodes one instruction at a time; layouts and dims are kept between calls."""

    def __init__(self) -> None:
        self._plans: dict[int, _Plan] = {}
        self._dims: dict[bytes, Dims] = {}

    def decode(self, data: bytes, offset: int, location: int) -> tuple[Instruction, int]:
        """(instruction, offset of the next one). Raises ProgramFormatError."""
        plan = self._plans.get(data[offset]) or self._add_plan(data, offset)
        if offset + plan.size > len(data):
            missing = offset + plan.size - len(data)
            raise _damaged(offset, f"truncated {plan.spec.mnemonic}: {missing} bytes missing")
        values = plan.unpack(data, offset)
        try:
            return self._instruction(plan, values, location), offset + plan.size
        except (ValueError, KeyError) as error:
            raise _damaged(offset, f"{plan.spec.mnemonic}: {_reason(error)}") from error

    def _add_plan(self, data: bytes, offset: int) -> _Plan:
        opcode = data[offset]
        try:
            spec = INSTRUCTIONS.by_opcode(opcode)
        except KeyError:
            raise _damaged(offset, f"no instruction has opcode {opcode:#x}") from None
        plan = self._plans[opcode] = _Plan(spec)
        return plan

    def _instruction(self, plan: _Plan, values: Values, location: int) -> Instruction:
        engine = ENGINES.get(values[1])
        if engine is None:
            raise ValueError(f"bad engine code {values[1]}")
        operands, position = self._operands(plan, values)
        waits, signal, wait_register = _synchronisation(values)
        fields = plan.fields(values, position)
        return Instruction(
            plan.spec, engine, operands, fields, waits, signal, location, wait_register
        )

    def _operands(self, plan: _Plan, values: Values) -> tuple[tuple[Access | None, ...], int]:
        present, position = values[2], HEADER_VALUES
        if present >> len(plan.is_either):
            raise ValueError(f"bad operand mask {present:#x}")
        operands: list[Access | None] = []
        for bit, is_either in enumerate(plan.is_either):
            end = position + (EITHER_VALUES if is_either else TILE_VALUES)
            if not present >> bit & 1:
                _require_zeros(values[position:end])
                operands.append(None)
            elif is_either:
                operands.append(self._either(values[position:end]))
            else:
                operands.append(self._tile(values[position:end]))
            position = end
        return tuple(operands), position

    def _tile(self, values: Values) -> TileAccess:
        code, memory, start, count, offset, dims = values
        dtype = BY_CODE.get(code)
        if dtype is None:
            raise ValueError(f"bad element type code {code}")
        if memory > 1:
            raise ValueError(f"bad on-chip memory code {memory}")
        found = self._dims.get(dims)
        if found is None:
            found = self._dims[dims] = _unpacked_dims(dims, TILE_DIMS, 4)
        register = (offset >> 24) - 1
        return TileAccess(
            MEMORIES[memory], dtype, start, count, offset & OFFSET_MASK, found, register
        )

    def _either(self, values: Values) -> Access:
        code, memory_code, start, count, register, address, packed, shift = values
        dtype, memory = BY_CODE.get(code), MEMORIES.get(memory_code)
        if dtype is None or memory is None:
            raise ValueError(f"bad element type code {code} or memory code {memory_code}")
        dims = self._dims.get(packed)
        if dims is None:
            dims = self._dims[packed] = _unpacked_dims(packed, EITHER_DIMS, 5)
        if memory is not Memory.HBM and not shift:
            return TileAccess(memory, dtype, start, count, address, dims, register)
        if start or count or shift > MAX_REGISTER_SHIFT or memory is not Memory.HBM:
            raise ValueError("bad partitions or register shift of a device-memory operand")
        return HbmAccess(dtype, address, dims, register, shift)


class _Plan:
    """What of an entry's layout the decoder needs at each instruction."""

    def __init__(self, spec: InstructionSpec) -> None:
        layout = Layout(spec)
        self.spec = spec
        self.size = layout.size_bytes
        self.unpack = layout.struct.unpack_from
        self.is_either = tuple(members is EITHER for members in layout.operand_members)
        self.words = tuple(index for index, _ in layout.words)
        self.packed = tuple((packed, _from_bits(packed)) for packed in layout.packed)
        self.packed_words = layout.packed_words
        self.has_padding = layout.has_padding
        self.used_bits = _used_bits(layout)

    def fields(self, values: Values, position: int) -> tuple[object, ...]:
        fields: list[object] = [None] * (len(self.words) + len(self.packed))
        for index in self.words:
            fields[index] = values[position]
            position += 1
        if self.has_padding:
            if values[position]:
                raise ValueError("reserved bytes are not zero")
            position += 1
        for word, used in zip(values[position:], self.used_bits, strict=True):
            if word & ~used:
                raise ValueError("unused field bits are set")
        for packed, from_bits in self.packed:
            bits = values[position + packed.word] >> packed.shift & packed.mask
            fields[packed.index] = from_bits(bits)
        return tuple(fields)


def _used_bits(layout: Layout) -> tuple[int, ...]:
    used = [0] * layout.packed_words
    for packed in layout.packed:
        used[packed.word] |= packed.mask << packed.shift
    return tuple(used)


def _synchronisation(
    values: Values,
) -> tuple[tuple[tuple[int, int], ...], tuple[int, int] | None, int]:
    """(waits, signal, register of the waits)."""
    flags, wait_semaphore, register, signal_semaphore, wait_value, increment = values[
        3:HEADER_VALUES
    ]
    if flags > 3:
        raise ValueError(f"bad synchronisation flags {flags:#x}")
    if not flags & 1 and (wait_semaphore or wait_value):
        raise ValueError("a wait without its flag")
    if not flags & 2 and (signal_semaphore or increment):
        raise ValueError("a signal without its flag")
    waits = ((wait_semaphore, wait_value),) if flags & 1 else ()
    return waits, (signal_semaphore, increment) if flags & 2 else None, register - 1


def _require_zeros(values: Values) -> None:
    if any(any(v) if isinstance(v, bytes) else v for v in values):
        raise ValueError("an absent operand is not zero")


def _unpacked_dims(packed: bytes, layout: struct.Struct, count: int) -> Dims:
    numbers = layout.unpack(packed)
    strides, sizes = numbers[:count], numbers[count:]
    used = next((i for i, size in enumerate(sizes) if size == 0), count)
    if any(sizes[used:]) or any(strides[used:]):
        raise ValueError("dims after a dim of size 0")
    return tuple(zip(strides[:used], sizes[:used], strict=True))


def _from_bits(packed: PackedField) -> FromBits:
    field = packed.field
    if field.kind is FieldKind.ENUM:
        return _choice(field.name, field.choices)
    if field.kind is FieldKind.BOOL:
        return bool
    if field.kind is not FieldKind.INT:
        return int
    sign = 1 << (field.bits - 1)
    return lambda bits: (bits ^ sign) - sign


def _choice(name: str, choices: tuple[str, ...]) -> FromBits:
    def from_bits(bits: int) -> str:
        if bits >= len(choices):
            raise ValueError(f"bad code {bits} of {name}")
        return choices[bits]

    return from_bits


def _reason(error: Exception) -> str:
    return str(error.args[0]) if error.args else type(error).__name__


def _damaged(offset: int, reason: str) -> ProgramFormatError:
    return ProgramFormatError(
        f"byte {offset} of the stream: {reason}",
        hint="the program is damaged or was made by another version; compile it again",
    )


def decode_stream(data: bytes, locations: Sequence[int] | None = None) -> list[Instruction]:
    """The instructions of a stream; locations[i] is the source location of the i-th one.

    Raises: ProgramFormatError naming the byte offset and what is wrong there.
    """
    decoder, instructions, offset = Decoder(), list[Instruction](), 0
    while offset < len(data):
        location = UNKNOWN_LOCATION
        if locations is not None and len(instructions) < len(locations):
            location = int(locations[len(instructions)])
        instruction, offset = decoder.decode(data, offset, location)
        instructions.append(instruction)
    if locations is not None and len(locations) != len(instructions):
        raise ProgramFormatError(
            f"{len(instructions)} instructions, {len(locations)} source locations"
        )
    return instructions
