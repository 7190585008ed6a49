"""Between 64-bit integers that are pairs of 32-bit words and other types."""

from __future__ import annotations

from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.passes.prepare import wide_arithmetic as wide
from axonc.passes.prepare import words
from axonc.passes.prepare.wide_arithmetic import ALL_ONES, HALF_BITS, LOW_HALF, Wide

WORD_FACTOR = 2.0**32


def to_integer(a: Wide, element: ir.Type) -> ir.Value:
    """An integer of at most 32 bits: the low bits. A boolean: whether it is not zero."""
    if element_name(element) == "i1":
        return words.compare(words.either(a.low, a.high), "NE", 0)
    return words.convert(a.low, element)


def saturated_word(a: Wide) -> ir.Value:
    """The nearest i32, or ui32 of an unsigned number."""
    if not a.is_signed:
        return words.select(words.compare(a.high, "EQ", 0), a.low, ALL_ONES)
    fits = words.compare(a.high, "EQ", wide.sign_mask(a.low))
    limit = words.add(2**31 - 1, words.shift_right(a.high, 31))
    return words.convert(words.select(fits, a.low, limit), words.i32())


def to_float(a: Wide, element: ir.Type) -> ir.Value:
    """The nearest float32, ties to even; other floats by way of it, as XLA does.

    A magnitude of 2^48 or more is cut by 16 bits, the last bit that is left telling whether any of
    them was set. It still has 32 bits or more, 8 more than a float32: the bit that decides a tie is
    above the last, so rounding sees the same. Then there are at most 48 bits, two parts of 24 that
    float32 holds exactly, and their sum is rounded once.
    """
    size = wide.absolute(a)
    is_large = words.compare(size.high, "GE", 2**HALF_BITS)
    lost = words.compare(words.both(size.low, LOW_HALF), "NE", 0)
    cut = words.either(
        words.shift_right(size.low, HALF_BITS), words.shift_left(size.high, HALF_BITS)
    )
    low = words.select(is_large, words.either(cut, words.convert(lost, words.u32())), size.low)
    high = words.select(is_large, words.shift_right(size.high, HALF_BITS), size.high)
    upper = words.either(words.shift_left(high, 8), words.shift_right(low, 24))
    parts = [words.convert(x, words.f32()) for x in (upper, words.both(low, 2**24 - 1))]
    total = words.add(words.multiply(parts[0], 2.0**24), parts[1])
    scaled = words.select(is_large, words.multiply(total, 2.0**HALF_BITS), total)
    if a.is_signed:
        negated = words.create("negate", (scaled,), scaled.type)
        scaled = words.select(wide.is_negative(a), negated, scaled)
    return words.convert(scaled, element)


def from_float(value: ir.Value, *, is_signed: bool) -> Wide:
    """Towards zero; what is beyond becomes the nearest limit, NaN becomes 0."""
    x = words.convert(value, words.f32())
    size = words.create("abs", (x,), x.type)
    zeros = words.filled(0, words.of_shape(x, words.u32()))
    natural = natural_from_float(size, Wide(zeros, zeros, is_signed))
    below = words.compare(x, "LT", 0.0)
    if not is_signed:
        found = wide.select(words.compare(size, "GE", 2.0**64), natural.filled(-1), natural)
        return wide.select(below, natural.filled(0), found)
    found = wide.select(below, wide.negate(natural), natural)
    limit = wide.select(below, natural.filled(-(2**63)), natural.filled(2**63 - 1))
    return wide.select(words.compare(size, "GE", 2.0**63), limit, found)


def natural_to_float(a: Wide) -> ir.Value:
    """About a, without its sign: the conversions and the sum are off by 2^-24 of it each."""
    low, high = (words.convert(x, words.f32()) for x in a.words)
    return words.add(words.multiply(high, WORD_FACTOR), low)


def natural_from_float(x: ir.Value, like: Wide) -> Wide:
    """The integer part of a float32 from 0 to below 2^64. Its 24 bits lie in both words, or in one:
    what is left after the high word is taken off is exact, as is the high word in float32."""
    high = words.convert(words.multiply(x, 1 / WORD_FACTOR), words.u32())
    taken = words.multiply(words.convert(high, words.f32()), WORD_FACTOR)
    return like.like(words.convert(words.subtract(x, taken), words.u32()), high)
