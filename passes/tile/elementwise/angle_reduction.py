"""An angle less its whole turns, for every float32: Cody and Waite's way below SMALL_ANGLE, Payne
and Hanek's above.

A large x is m * 2^s with a whole m of 24 bits, so x / 2 pi less whole turns is m times the bits of
1 / 2 pi from place s on, modulo 1. In units of 2^-32 turns the first 32 of those bits times m wrap
in a word of GpSimdE as they should, and the next 32 add at most m, which float32 holds within 3
units (5e-9 rad). Which words the bits lie in is chosen by |x|, and shifts bring them in place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from axonc.backends.numerics.dtypes import F32, I32, U32
from axonc.passes.tile.elementwise.expression_nodes import (
    Expression,
    add,
    bits,
    bounds,
    cast,
    clamp,
    compare,
    constant,
    magnitude,
    multiply,
    node,
    select,
    subtract,
)

TURN = 2 * math.pi
TURN_PARTS = (6.28125, 0.00193500518798828125, 3.0199159819956752e-07)
"""2 pi in pieces of 8, 12 and 24 bits: times the turns below SMALL_ANGLE, the first two are
exact."""

SMALL_ANGLE = 2.0**13
"""Up to here there are less than 2^11 turns."""

FLOAT_PI = 3.1415927410125732
"""pi rounded to float32: the limit of ScalarE's sine."""

_LEADING_ZEROS = 10
_INVERSE_TURN = (0x000A2F98, 0x36E4E441, 0x529FC275, 0x7D1F534D, 0xDC0DB629, 0x5993C439)
"""1 / 2 pi, 182 bits after _LEADING_ZEROS of them."""

_FIRST_EXPONENT = 127 + 13
"""The exponent field of SMALL_ANGLE: there the bits begin at place 0."""

_WORD_FROM = (2.0**45, 2.0**77, 2.0**109)
"""The sizes of x from which the bits begin in the next word."""

_UNIT = 2.0**-32
_QUARTER_TURN = 2.0**30


@dataclass(frozen=True)
class Angle:
    """A function of an angle: sin(x), or with `is_cosine` sin(x + pi / 2)."""

    x: Expression
    is_cosine: bool

    @property
    def shift(self) -> float:
        return math.pi / 2 if self.is_cosine else 0.0

    def shifted(self, x: Expression) -> Expression:
        return add(x, self.shift) if self.is_cosine else x


def sine_of(angle: Angle) -> Expression:
    """The absolute error is below 5e-7 for every x; NaN for infinities and NaN.

    The turns may be counted one too few or too many next to half a turn, so that the rest y goes
    beyond pi by d < 1e-3. There sin(y) = sin(pi) - d within d^3: what ScalarE's table must not see
    is subtracted from its result.
    """
    low, high = bounds(angle.x)
    if -math.pi <= low + angle.shift and high + angle.shift <= math.pi:
        return node("table_sin", angle.shifted(angle.x))
    reduced = _reduced(Angle(cast(angle.x, F32), angle.is_cosine))
    inside = clamp(-FLOAT_PI, reduced, FLOAT_PI)
    infinite_to_nan = multiply(angle.x, 0.0)
    return subtract(node("table_sin", add(infinite_to_nan, inside)), subtract(reduced, inside))


def _reduced(angle: Angle) -> Expression:
    low, high = bounds(angle.x)
    small = _of_small(angle)
    if max(-low, high) <= SMALL_ANGLE:
        return small
    is_small = compare(magnitude(angle.x), "LT", SMALL_ANGLE)
    return select(is_small, small, _of_large(angle), F32)


def _of_small(angle: Angle) -> Expression:
    """By subtraction of the turns, counted in float32."""
    count = add(multiply(angle.x, 1 / TURN), angle.shift / TURN)
    turns = cast(cast(count, I32), F32)
    rest = angle.x
    for part in TURN_PARTS:
        rest = add(multiply(turns, -part), rest)
    return angle.shifted(rest)


def _of_large(angle: Angle) -> Expression:
    """By a product with the bits of 1 / 2 pi that matter."""
    word = bits(angle.x, U32)
    significand = _word("bit_or", _word("bit_and", word, 2.0**23 - 1), 2.0**23)
    first, second = _inverse_turn_bits(word, magnitude(angle.x))
    below = multiply(multiply(cast(second, F32), _UNIT), cast(significand, F32))
    turns = bits(_word("add", _word("multiply", significand, first), cast(below, U32)), I32)
    signed = _negated_where_negative(turns, angle.x)
    if angle.is_cosine:
        signed = node("add", signed, _QUARTER_TURN, dtype=I32)
    return multiply(cast(signed, F32), TURN * _UNIT)


def _negated_where_negative(turns: Expression, x: Expression) -> Expression:
    return node("multiply", turns, cast(node("table_sign", x), I32), dtype=I32)


def _inverse_turn_bits(word: Expression, size: Expression) -> tuple[Expression, Expression]:
    """The 64 bits of 1 / 2 pi that x, given by its bits and its size, is multiplied with."""
    exponent = _word("shift_right", _word("shift_left", word, 1.0), 24.0)
    place = _word("subtract", exponent, float(_FIRST_EXPONENT))
    left = _word("bit_and", place, 31.0)
    right = _word("subtract", 32.0, left)
    words = [_chosen_word(size, number) for number in range(3)]
    first, second = (
        _word("bit_or", _word("shift_left", a, left), _word("shift_right", b, right))
        for a, b in zip(words, words[1:], strict=False)
    )
    return first, second


def _chosen_word(size: Expression, number: int) -> Expression:
    """Word `number` from the one on in which the bits begin."""
    chosen = constant(float(_INVERSE_TURN[number]), U32)
    for group, least in enumerate(_WORD_FROM, 1):
        there = constant(float(_INVERSE_TURN[number + group]), U32)
        chosen = select(compare(size, "GE", least), there, chosen, U32)
    return chosen


def _word(op: str, *args: Expression | float) -> Expression:
    return node(op, *args, dtype=U32)
