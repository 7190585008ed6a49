"""Quotients and remainders of 64-bit integers that are pairs of 32-bit words.

By small constants digit by digit, as on paper; by anything else with float32 quotients that come
closer to the exact one from below.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir

from axonc.passes.prepare import wide_arithmetic as wide
from axonc.passes.prepare import words
from axonc.passes.prepare.wide_arithmetic import HALF_BITS, LOW_HALF, Wide
from axonc.passes.prepare.wide_conversions import natural_from_float, natural_to_float

STEPS = 4
BELOW = 1 - 2.0**-18
"""A float32 quotient times this is surely below the exact one."""


@dataclass(frozen=True)
class Division:
    quotient: Wide
    rest: Wide


def divide(a: Wide, b: Wide, small: int | None) -> Wide:
    """Towards zero; -1 (all bits set) for a zero divisor, and the lowest number divided by -1 is
    itself, as XLA says. small: b, when it is a number that `_by_digits` takes."""
    found = _magnitudes(a, b, small).quotient
    if a.is_signed:
        is_odd = words.compare(words.differing(a.high, b.high), "GE", wide.SIGN_BIT)
        found = wide.select(is_odd, wide.negate(found), found)
    return wide.select(_is_zero(b), a.filled(-1), found)


def remainder(a: Wide, b: Wide, small: int | None) -> Wide:
    """With the sign of the dividend; the dividend itself for a zero divisor. small: as `divide`."""
    found = _magnitudes(a, b, small).rest
    if a.is_signed:
        found = wide.select(wide.is_negative(a), wide.negate(found), found)
    return wide.select(_is_zero(b), a, found)


def takes_digits(number: int | None) -> bool:
    """Whether `_by_digits` divides by this number, or its negation."""
    return number is not None and 0 < abs(number) <= LOW_HALF


def _is_zero(b: Wide) -> ir.Value:
    return words.compare(words.either(b.low, b.high), "EQ", 0)


def _magnitudes(a: Wide, b: Wide, small: int | None) -> Division:
    """Without signs. The magnitude of the lowest number is right as an unsigned one."""
    size = wide.absolute(a)
    if small is not None:
        return _by_digits(size, abs(small))
    return _by_estimates(size, wide.absolute(b))


def _by_digits(a: Wide, divisor: int) -> Division:
    """Digits of 16 bits, the highest first. A rest is below the divisor, which is below 2^16, so
    rest * 2^16 + digit is below 2^32, and the quotient of the two is a digit."""
    digits = [
        part
        for word in (a.high, a.low)
        for part in (words.shift_right(word, HALF_BITS), words.both(word, LOW_HALF))
    ]
    rest, found = words.filled(0, a.low.type), []
    for digit in digits:
        number = words.either(words.shift_left(rest, HALF_BITS), digit)
        quotient = words.divide(number, divisor)
        rest = words.subtract(number, words.multiply(quotient, divisor))
        found.append(quotient)
    high, low = (words.either(words.shift_left(found[i], HALF_BITS), found[i + 1]) for i in (0, 2))
    return Division(a.like(low, high), a.like(rest, words.filled(0, rest.type)))


def _by_estimates(a: Wide, b: Wide) -> Division:
    """The rest r is divided by b in float32, a little too small: r loses that multiple of b.

    Let x = r / b, exactly. The two conversions are off by less than 2^-22 of their values each, the
    quotient by less than 2^-20, so that the product with BELOW lies between x (1 - 2^-17) and x:
    the rest stays positive, and r / b falls to less than x 2^-17 + 1, the 1 for the digits that
    the conversion drops. From 2^64: 2^47 + 1, 2^30 + 2, 2^13 + 2, at last less than 2.1. Then b is
    taken off at most twice. Multiples of b are at most a: nothing overflows. A zero divisor gives a
    number that is not used.
    """
    quotient, rest = a.filled(0), a
    divisor = natural_to_float(b)
    for _ in range(STEPS):
        estimate = words.multiply(words.divide(natural_to_float(rest), divisor), BELOW)
        more = natural_from_float(estimate, a)
        quotient = wide.add(quotient, more)
        rest = wide.subtract(rest, wide.multiply(more, b))
    naturals = Wide(*b.words, is_signed=False)
    for _ in range(2):
        fits = wide.compare(Wide(*rest.words, is_signed=False), "GE", naturals)
        quotient = wide.select(fits, wide.add(quotient, a.filled(1)), quotient)
        rest = wide.select(fits, wide.subtract(rest, b), rest)
    return Division(quotient, rest)
