"""Random instructions that the encoding can hold, for property tests and fuzzing.

They name legal engines, memories, element types and field values; addresses and shapes are
arbitrary, so most break a rule of the machine.
"""

from __future__ import annotations

import math
import random
import struct

from axonc.backends.isa.access_pattern import Access, Dims, HbmAccess, Memory, TileAccess
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import FieldKind, FieldSpec, InstructionSpec, OperandSpec
from axonc.backends.numerics.dtypes import DTYPES

SPECIAL_FLOATS = (0.0, -0.0, 1.0, math.inf, -math.inf, math.nan, 2.0**-149, 3.4028234663852886e38)
QUIET_BIT = 0x400000


def random_float(rng: random.Random) -> float:
    """Any binary32 number; a NaN is quiet, as signalling ones do not survive Python."""
    if rng.random() < 0.3:
        return rng.choice(SPECIAL_FLOATS)
    bits = rng.getrandbits(32)
    if bits & 0x7F800000 == 0x7F800000 and bits & 0x7FFFFF:
        bits |= QUIET_BIT
    return float(struct.unpack("<f", bits.to_bytes(4, "little"))[0])


def random_field(rng: random.Random, field: FieldSpec) -> object:
    """A value of the field; the extremes are likely."""
    if field.kind is FieldKind.ENUM:
        return rng.choice(field.choices)
    if field.kind is FieldKind.BOOL:
        return rng.random() < 0.5
    if field.kind is FieldKind.FLOAT:
        return random_float(rng)
    low = -(1 << (field.bits - 1)) if field.kind is FieldKind.INT else 0
    high = low + (1 << field.bits) - 1
    return rng.choice((low, high, 0, rng.randint(low, high)))


def _random_dims(rng: random.Random, count: int, stride: int, size: int) -> Dims:
    return tuple(
        (rng.randint(-stride, stride - 1), rng.randint(1, size))
        for _ in range(rng.randint(0, count))
    )


def random_access(rng: random.Random, operand: OperandSpec) -> Access:
    """An access in one of the operand's memories, with one of its element types."""
    memory, dtype = rng.choice(operand.memories), DTYPES[rng.choice(operand.dtypes)]
    register = rng.choice((-1, -1, 0, 63))
    if memory is Memory.HBM:
        dims = _random_dims(rng, 5, 1 << 31, (1 << 32) - 1)
        shift = rng.choice((0, 6))
        return HbmAccess(dtype, rng.randrange(1 << 35), dims, register, shift)
    count = rng.randint(1, 128)
    start = rng.randint(0, 128 - count)
    dims = _random_dims(rng, 4, 1 << 15, (1 << 16) - 1)
    return TileAccess(memory, dtype, start, count, rng.randrange(192 * 1024), dims, register)


def random_instruction(rng: random.Random, spec: InstructionSpec) -> Instruction:
    """Optional operands, waits, signal and source location are there or not."""
    return Instruction(
        spec,
        rng.choice(spec.engines),
        tuple(
            None if operand.optional and rng.random() < 0.5 else random_access(rng, operand)
            for operand in spec.operands
        ),
        tuple(random_field(rng, field) for field in spec.fields),
        ((rng.randrange(64), rng.getrandbits(31)),) if rng.random() < 0.5 else (),
        (rng.randrange(64), rng.randint(1, 16)) if rng.random() < 0.5 else None,
        rng.choice((0, rng.randrange(1 << 31))),
        rng.choice((-1, -1, 0, 63)),
    )
