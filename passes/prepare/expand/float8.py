"""8-bit floats that the machine lacks, as their bits: from float32 and to it, by StableHLO.

A finite number of M mantissa bits is n 2^(e - M): with the exponent field E and the mantissa m, e
is max(E, 1) - bias and n is m, plus 2^M where E is not 0. So the bits without the sign, read as an
integer, are n + (e - 1 + bias) 2^M, which holds for the numbers of all exponents.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir

from axonc.passes.prepare import words

F32_BIAS, F32_MANTISSA = 127, 23


@dataclass(frozen=True)
class Float8:
    """An 8-bit float type as its bits."""

    mantissa: int
    """Bits of the mantissa."""
    bias: int
    """What is added to the exponent."""
    largest: int
    """The bits of the largest number."""
    nan: int
    """The bits of the NaN that numbers too large become."""
    has_negative_zero: bool
    """Whether 0x80 is a zero; else it is NaN, and there is one zero."""


FORMATS = {
    "f8E4M3FN": Float8(3, 7, 0x7E, 0x7F, True),
    "f8E4M3FNUZ": Float8(3, 8, 0x7F, 0x80, False),
    "f8E4M3B11FNUZ": Float8(3, 11, 0x7F, 0x80, False),
    "f8E5M2FNUZ": Float8(2, 16, 0x7F, 0x80, False),
}

SCALE_BIAS, SCALE_NAN = 127, 0xFF
"""Of f8E8M0FNU, which has an exponent only."""


def decoded(bits: ir.Value, name: str) -> ir.Value:
    """ui8 bits of format `name` as float32, exactly."""
    word = words.convert(bits, words.u32())
    if name not in FORMATS:
        return _scale(word)
    kind = FORMATS[name]
    size = words.both(word, 0x7F)
    field = words.shift_right(size, kind.mantissa)
    exponent = words.maximum(field, 1)
    mantissa = words.both(size, (1 << kind.mantissa) - 1)
    hidden = words.select(words.compare(field, "EQ", 0), mantissa, _with_bit(mantissa, kind))
    power = _power(words.add(exponent, F32_BIAS - kind.bias - kind.mantissa))
    number = words.multiply(words.convert(hidden, words.f32()), power)
    negative = words.compare(word, "GE", 0x80)
    signed = words.select(negative, words.create("negate", (number,), number.type), number)
    tested = size if kind.has_negative_zero else word
    return words.select(words.compare(tested, "EQ", kind.nan), float("nan"), signed)


def _with_bit(mantissa: ir.Value, kind: Float8) -> ir.Value:
    return words.either(mantissa, 1 << kind.mantissa)


def _power(field: ir.Value) -> ir.Value:
    """The float32 with this exponent field, which is that of a normal number."""
    bits = words.shift_left(field, F32_MANTISSA)
    return words.bitcast(bits, words.of_shape(bits, words.f32()))


def _scale(word: ir.Value) -> ir.Value:
    """2^(word - 127): the lowest one is half of the next, which is normal."""
    normal = _power(words.maximum(word, 1))
    lowest = words.multiply(normal, 0.5)
    number = words.select(words.compare(word, "EQ", 0), lowest, normal)
    return words.select(words.compare(word, "EQ", SCALE_NAN), float("nan"), number)


def encoded(x: ir.Value, name: str) -> ir.Value:
    """The bits of the nearest number, ties to even, as ui8; of what is beyond the largest, and of
    infinities, NaN."""
    kind = FORMATS[name]
    raw = words.bitcast(x, words.of_shape(x, words.u32()))
    size = words.both(raw, 2**31 - 1)
    lowest = F32_BIAS + 1 - kind.bias
    field = words.maximum(words.shift_right(size, F32_MANTISSA), lowest)
    # 2^(M - e), so that the last unit is 1; the exponent is far from float32's limits.
    scale = _power(words.subtract(2 * F32_BIAS + kind.mantissa, words.minimum(field, 200)))
    magnitude = words.bitcast(size, words.of_shape(size, words.f32()))
    whole = words.create("round_nearest_even", (words.multiply(magnitude, scale),), x.type)
    units = words.convert(whole, words.u32())
    found = words.add(units, words.shift_left(words.subtract(field, lowest), kind.mantissa))
    too_large = words.compare(found, "GT", kind.largest)
    sign = words.shift_left(words.shift_right(raw, 31), 7)
    if not kind.has_negative_zero:
        sign = words.select(words.compare(found, "EQ", 0), 0, sign)
    is_lost = words.either(too_large, words.compare(x, "NE", x))
    signed = words.either(found, sign)
    nan = words.either(sign, kind.nan) if kind.has_negative_zero else kind.nan
    lost = nan if isinstance(nan, ir.Value) else words.filled(nan, signed.type)
    return words.convert(words.select(is_lost, lost, signed), ir.IntegerType.get_unsigned(8))
