"""Arithmetic on 64-bit integers that are pairs of 32-bit words, by StableHLO on ui32.

GpSimdE computes with 32-bit words exactly, modulo 2^32. Everything here is exact modulo 2^64; each
function says why, where that is not plain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch_mlir import ir

from axonc.backends.numerics.wide_integers import split_words
from axonc.passes.prepare import words

HALF_BITS = 16
LOW_HALF = 2**HALF_BITS - 1
SIGN_BIT = 2**31
ALL_ONES = 2**32 - 1


@dataclass(frozen=True)
class Wide:
    """64-bit integers as two words of one shape."""

    low: ir.Value
    """The low words, ui32."""
    high: ir.Value
    """The high words, ui32."""
    is_signed: bool
    """Whether the top bit of `high` is the sign."""

    @property
    def words(self) -> tuple[ir.Value, ir.Value]:
        return self.low, self.high

    def like(self, low: ir.Value, high: ir.Value) -> Wide:
        """Other words of the same type."""
        return Wide(low, high, self.is_signed)

    def filled(self, number: int) -> Wide:
        """`number` everywhere, in the same shape and type."""
        low, high = (words.filled(part, self.low.type) for part in split_number(number))
        return self.like(low, high)

    def each(self, function: Callable[[ir.Value], ir.Value]) -> Wide:
        """What moves elements, applied to both words."""
        return self.like(function(self.low), function(self.high))


def split_number(number: int) -> tuple[int, int]:
    """(low word, high word) of an integer modulo 2^64."""
    return number & ALL_ONES, (number >> 32) & ALL_ONES


def wide_constant(array: np.ndarray, *, is_signed: bool) -> Wide:
    low, high = (words.constant(part, words.u32()) for part in split_words(array))
    return Wide(low, high, is_signed)


def extended(value: ir.Value, *, is_signed: bool) -> Wide:
    """An integer or boolean of at most 32 bits as a 64-bit one. is_signed: of the result; a
    negative value becomes what it is modulo 2^64."""
    low = words.convert(value, words.u32())
    name = str(value.type.element_type)
    if name == "i1" or name.startswith("u"):
        return Wide(low, words.filled(0, low.type), is_signed)
    return Wide(low, sign_mask(low), is_signed)


def sign_mask(word: ir.Value) -> ir.Value:
    """All ones where the top bit of a ui32 is set, else 0."""
    return words.subtract(0, words.shift_right(word, 31))


def _word_of(predicate: ir.Value) -> ir.Value:
    return words.convert(predicate, words.u32())


def is_negative(a: Wide) -> ir.Value:
    """Of a signed number, as i1."""
    return words.compare(a.high, "GE", SIGN_BIT)


# ---- sums and products ---------------------------------------------------------------------------


def add(a: Wide, b: Wide) -> Wide:
    """The low words carry exactly when their sum is below a summand."""
    low = words.add(a.low, b.low)
    carry = _word_of(words.compare(low, "LT", a.low))
    return a.like(low, words.add(words.add(a.high, b.high), carry))


def subtract(a: Wide, b: Wide) -> Wide:
    borrow = _word_of(words.compare(a.low, "LT", b.low))
    high = words.subtract(words.subtract(a.high, b.high), borrow)
    return a.like(words.subtract(a.low, b.low), high)


def negate(a: Wide) -> Wide:
    return subtract(a.filled(0), a)


def multiply(a: Wide, b: Wide) -> Wide:
    """2^64 and above do not count: the high words only meet low ones."""
    low, high = word_product(a.low, b.low)
    crossed = words.add(words.multiply(a.low, b.high), words.multiply(a.high, b.low))
    return a.like(low, words.add(high, crossed))


def word_product(a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The product of two ui32 in 64 bits, by halves: x = x0 + 2^16 x1.

    Products of halves are below 2^32. `middle` is below 3 * 2^16, and what is added up in the high
    word is the true high word of a product below 2^64, so nothing overflows.
    """
    a0, a1 = _halves(a)
    b0, b1 = _halves(b)
    low, cross, crossed = (words.multiply(x, y) for x, y in ((a0, b0), (a0, b1), (a1, b0)))
    middle = words.add(
        words.shift_right(low, HALF_BITS),
        words.add(words.both(cross, LOW_HALF), words.both(crossed, LOW_HALF)),
    )
    carried = [words.shift_right(x, HALF_BITS) for x in (cross, crossed, middle)]
    high = words.multiply(a1, b1)
    for part in carried:
        high = words.add(high, part)
    return words.multiply(a, b), high


def _halves(a: ir.Value) -> tuple[ir.Value, ir.Value]:
    return words.both(a, LOW_HALF), words.shift_right(a, HALF_BITS)


# ---- order ---------------------------------------------------------------------------------------


def compare(a: Wide, direction: str, b: Wide) -> ir.Value:
    """By the high words, and by the low ones where those are equal; as i1."""
    if direction in _SWAPPED:
        return compare(b, _SWAPPED[direction], a)
    if direction in _NEGATED:
        return words.inverted(compare(a, _NEGATED[direction], b))
    high_equal = words.compare(a.high, "EQ", b.high)
    low = words.compare(a.low, direction, b.low)
    inner = words.both(high_equal, low)
    if direction == "EQ":
        return inner
    high = words.compare(_ordered(a), "LT", _ordered(b))
    return words.either(high, inner)


_SWAPPED = {"GT": "LT", "LE": "GE"}
_NEGATED = {"GE": "LT", "NE": "EQ"}


def _ordered(a: Wide) -> ir.Value:
    """The high word in a type that is ordered as the numbers are."""
    return words.convert(a.high, words.i32()) if a.is_signed else a.high


def select(predicate: ir.Value, on_true: Wide, on_false: Wide) -> Wide:
    low, high = (
        words.select(predicate, x, y) for x, y in zip(on_true.words, on_false.words, strict=True)
    )
    return on_true.like(low, high)


def maximum(a: Wide, b: Wide) -> Wide:
    return select(compare(a, "LT", b), b, a)


def minimum(a: Wide, b: Wide) -> Wide:
    return select(compare(b, "LT", a), b, a)


def absolute(a: Wide) -> Wide:
    """The lowest number stays what it is, as its negation wraps."""
    return select(is_negative(a), negate(a), a) if a.is_signed else a


def sign(a: Wide) -> Wide:
    """-1, 0 or 1."""
    is_zero = words.compare(words.either(a.low, a.high), "EQ", 0)
    fill = sign_mask(a.high) if a.is_signed else words.filled(0, a.high.type)
    low = words.select(is_zero, 0, words.either(fill, 1))
    return a.like(low, fill)


# ---- bits ----------------------------------------------------------------------------------------


def bitwise(function: Callable[[ir.Value, ir.Value], ir.Value]) -> Callable[[Wide, Wide], Wide]:
    """Of an operation on words, the one on pairs of them."""
    return lambda a, b: a.like(function(a.low, b.low), function(a.high, b.high))


def inverted(a: Wide) -> Wide:
    return a.each(words.inverted)


def distance_of(a: Wide) -> ir.Value:
    """What a shift by `a` has for a distance: a ui32; all from 64 on are alike, as are negative
    ones, which are large without their sign."""
    return words.select(words.compare(a.high, "EQ", 0), words.minimum(a.low, 64), 64)


def shift_left(a: Wide, distance: ir.Value) -> Wide:
    """Shifts of words by 32 and more give 0, and distances are unsigned: of `distance` - 32 and
    32 - `distance` at most one is small, so that one of the two terms is 0."""
    beyond, below = words.subtract(distance, 32), words.subtract(32, distance)
    over = words.either(words.shift_right(a.low, below), words.shift_left(a.low, beyond))
    high = words.either(words.shift_left(a.high, distance), over)
    return a.like(words.shift_left(a.low, distance), high)


def shift_right_logical(a: Wide, distance: ir.Value) -> Wide:
    """As `shift_left`."""
    beyond, below = words.subtract(distance, 32), words.subtract(32, distance)
    over = words.either(words.shift_left(a.high, below), words.shift_right(a.high, beyond))
    low = words.either(words.shift_right(a.low, distance), over)
    return a.like(low, words.shift_right(a.high, distance))


def shift_right_arithmetic(a: Wide, distance: ir.Value) -> Wide:
    """Of a number with its bits inverted where it is negative, inverted back: then zeros fill."""
    fill = sign_mask(a.high)
    flip = bitwise(words.differing)
    mask = a.like(fill, fill)
    return flip(shift_right_logical(flip(a, mask), distance), mask)


def power(a: Wide, b: Wide, bits: int) -> Wide:
    """a ** b by squaring. bits: that the exponents have. A negative exponent gives 0, but for the
    bases 1 and -1, whose powers depend on the last bit of the exponent only."""
    result, square = a.filled(1), a
    for place in range(bits):
        word = b.high if place >= 32 else b.low
        is_set = words.compare(words.both(word, 1 << (place % 32)), "NE", 0)
        result = select(is_set, multiply(result, square), result)
        square = square if place == bits - 1 else multiply(square, square)
    if not b.is_signed:
        return result
    of_one = select(words.compare(words.both(b.low, 1), "NE", 0), a, a.filled(1))
    is_one = words.either(compare(a, "EQ", a.filled(1)), compare(a, "EQ", a.filled(-1)))
    return select(is_negative(b), select(is_one, of_one, a.filled(0)), result)
