"""Products of integer matrices on the matrix engine, which has no integers: part of
`legalize-to-neuron`.

An integer is digits of 8 bits, which bfloat16 holds exactly: x = d0 + 256 d1 + 65536 d2 + ...; the
last digit of a signed type has the sign. Digits are multiplied in bfloat16 and added in float32,
over so few terms that every sum is below 2^24 and thus exact; the sums are put together in int32,
which wraps as integer arithmetic does. 8-bit operands are one digit: one product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.table import INTEGER, SIGNED
from axonc.passes.graph.fold_constants import fold

DIGIT_BITS = 8
WORD_BITS = 32
EXACT_SUM = 2**24
"""float32 holds all integers up to this magnitude."""

Dims = Sequence[Sequence[int]]
"""lhs batch, rhs batch, lhs contracted, rhs contracted dims."""


@dataclass(frozen=True)
class Digit:
    """One digit of an integer that is multiplied as floats."""

    value: ir.Value
    """Bfloat16, of magnitude up to `largest`."""
    largest: int
    shift: int
    """Bits it stands higher."""


def is_integer_dot(op: ir.Operation) -> bool:
    """Whether both operands are integers."""
    return all(element_name(v.type) in INTEGER for v in op.operands)


def integer_dot(lhs: ir.Value, rhs: ir.Value, dims: Dims, element: ir.Type) -> ir.Value:
    """The product, in the element type `element`; integers wrap."""
    total: ir.Value | None = None
    for a in _digits(lhs):
        for b in _digits(rhs):
            if a.shift + b.shift < WORD_BITS:
                part = _shifted(_exact_product(a, b, dims), a.shift + b.shift)
                total = part if total is None else _add(total, part)
    assert total is not None, "an integer has a digit"
    return build.convert(total, element)


def _digits(value: ir.Value) -> list[Digit]:
    name = element_name(value.type)
    bits = int(name.lstrip("ui"))
    wide = fold(build.convert(value, ir.IntegerType.get_signless(WORD_BITS)))
    found = []
    for shift in range(0, bits, DIGIT_BITS):
        is_last = shift + DIGIT_BITS == bits
        # Beyond 32 bits everything wraps: there the sign needs no digit of its own.
        signed = is_last and name in SIGNED and bits < WORD_BITS
        source = value if bits == DIGIT_BITS else _digit(wide, shift, signed=signed)
        largest = 2 ** (DIGIT_BITS - 1) if signed else 2**DIGIT_BITS - 1
        found.append(Digit(fold(build.convert(source, ir.BF16Type.get())), largest, shift))
    return found


def _digit(wide: ir.Value, shift: int, *, signed: bool) -> ir.Value:
    """Bits shift ... shift + 7; with the sign above them, or without."""
    kind = wide.type
    distance = build.splat_constant(shift, kind)
    if signed:
        return fold(build.create("shift_right_arithmetic", (wide, distance), kind))
    moved = wide
    if shift:
        moved = fold(build.create("shift_right_logical", (wide, distance), kind))
    mask = build.splat_constant(2**DIGIT_BITS - 1, kind)
    return fold(build.create("and", (moved, mask), kind))


def _exact_product(a: Digit, b: Digit, dims: Dims) -> ir.Value:
    """The product of two digits, int32: in float32 over as many terms as are exact."""
    contracted = [a.value.type.shape[d] for d in dims[2]]
    most = EXACT_SUM // (a.largest * b.largest)
    f32, i32 = ir.F32Type.get(), ir.IntegerType.get_signless(WORD_BITS)
    if math.prod(contracted) <= most:
        return build.convert(build.dot(a.value, b.value, dims, f32), i32)
    # Several long dims are rare: cut along the longest, to single indices if need be.
    axis = contracted.index(max(contracted))
    step = max(1, most * contracted[axis] // math.prod(contracted))
    parts = [
        _exact_product(
            _piece(a, dims[2][axis], start, step), _piece(b, dims[3][axis], start, step), dims
        )
        for start in range(0, contracted[axis], step)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = _add(total, part)
    return total


def _piece(digit: Digit, dim: int, start: int, size: int) -> Digit:
    stop = min(start + size, digit.value.type.shape[dim])
    return replace(digit, value=_slice(digit.value, dim, start, stop))


def _slice(value: ir.Value, dim: int, start: int, stop: int) -> ir.Value:
    shape = build.shape_of(value)
    first = [start if d == dim else 0 for d in range(len(shape))]
    last = [stop if d == dim else n for d, n in enumerate(shape)]
    return fold(build.slice_(value, first, last))


def _shifted(value: ir.Value, bits: int) -> ir.Value:
    if not bits:
        return value
    distance = build.splat_constant(bits, value.type)
    return build.create("shift_left", (value, distance), value.type)


def _add(a: ir.Value, b: ir.Value) -> ir.Value:
    return build.create("add", (a, b), a.type)
