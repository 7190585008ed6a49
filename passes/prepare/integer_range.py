"""Intervals of integers, and what operations make of them. No MLIR in here.

Every function returns an interval that holds all exact results of the operation on members of its
arguments. Whether the results then fit the type is the caller's question (`Interval.within`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """All integers from `low` to `high`, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"an interval from {self.low} to {self.high}")

    def within(self, other: Interval) -> bool:
        """Whether all of it lies in `other`."""
        return other.low <= self.low and self.high <= other.high

    def meet(self, other: Interval) -> Interval | None:
        """What both hold; None when that is nothing."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Interval(low, high) if low <= high else None

    @property
    def largest(self) -> int:
        """The largest magnitude in it."""
        return max(abs(self.low), abs(self.high))

    @property
    def is_natural(self) -> bool:
        """Whether it holds no negative number."""
        return self.low >= 0

    @property
    def only(self) -> int | None:
        """Its member, when it has one only."""
        return self.low if self.low == self.high else None


BOOLEAN = Interval(0, 1)
ZERO = Interval(0, 0)

WORD = {
    "i64": Interval(-(2**31), 2**31 - 1),
    "ui64": Interval(0, 2**32 - 1),
}
"""What the 32-bit form of a 64-bit type holds."""


def of_type(name: str) -> Interval | None:
    """What an MLIR integer type holds; None for other types."""
    if name == "i1":
        return BOOLEAN
    digits = name.lstrip("ui")
    if not digits.isdigit() or name[0] not in "ui":
        return None
    bits = int(digits)
    return (
        Interval(0, 2**bits - 1)
        if name[0] == "u"
        else Interval(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )


def hull(intervals: Iterable[Interval]) -> Interval:
    """The least interval that holds all of them."""
    found = list(intervals)
    return Interval(min(r.low for r in found), max(r.high for r in found))


def add(a: Interval, b: Interval) -> Interval:
    return Interval(a.low + b.low, a.high + b.high)


def subtract(a: Interval, b: Interval) -> Interval:
    return Interval(a.low - b.high, a.high - b.low)


def negate(a: Interval) -> Interval:
    return Interval(-a.high, -a.low)


def multiply(a: Interval, b: Interval) -> Interval:
    """A product is linear in each factor, so its extremes lie at the ends."""
    corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
    return Interval(min(corners), max(corners))


def times(a: Interval, count: int) -> Interval:
    """The sum of `count` members."""
    return Interval(a.low * count, a.high * count)


def up_to(a: Interval, count: int) -> Interval:
    """The sum of at most `count` members."""
    return hull([ZERO, times(a, count)])


def absolute(a: Interval) -> Interval:
    low = 0 if a.low <= 0 <= a.high else min(abs(a.low), abs(a.high))
    return Interval(low, a.largest)


def sign(a: Interval) -> Interval:
    return Interval(_sign(a.low), _sign(a.high))


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def divide(a: Interval, b: Interval, at_zero: int) -> Interval:
    """Towards zero; `at_zero` for a zero divisor. A quotient is monotonic in each operand while the
    divisor keeps its sign, so its extremes lie at the ends of the positive and of the negative
    divisors."""
    found = [ZERO] if b.only == 0 else []
    for part in (b.meet(Interval(1, max(b.high, 1))), b.meet(Interval(min(b.low, -1), -1))):
        if part is not None:
            found += [
                _single(_quotient(x, y)) for x in (a.low, a.high) for y in (part.low, part.high)
            ]
    if b.low <= 0 <= b.high:
        found.append(_single(at_zero))
    return hull(found)


def _single(number: int) -> Interval:
    return Interval(number, number)


def _quotient(a: int, b: int) -> int:
    size = abs(a) // abs(b)
    return size if (a < 0) == (b < 0) else -size


def remainder(a: Interval, b: Interval) -> Interval:
    """With the sign of the dividend; the dividend for a zero divisor."""
    most = a.largest if b.low <= 0 <= b.high else min(a.largest, b.largest - 1)
    return Interval(-most if a.low < 0 else 0, most if a.high > 0 else 0)


def maximum(a: Interval, b: Interval) -> Interval:
    return Interval(max(a.low, b.low), max(a.high, b.high))


def minimum(a: Interval, b: Interval) -> Interval:
    return Interval(min(a.low, b.low), min(a.high, b.high))


def bit_and(a: Interval, b: Interval) -> Interval:
    """No larger than a natural operand; of two that may be negative, as `bit_or`."""
    naturals = [r.high for r in (a, b) if r.is_natural]
    return Interval(0, min(naturals)) if naturals else bit_or(a, b)


def bit_or(a: Interval, b: Interval) -> Interval:
    """Also of `xor`: both operands are sign-extended from so many bits, and so is the result."""
    bits = max(_magnitude_bits(r) for r in (a, b))
    natural = a.is_natural and b.is_natural
    return Interval(0 if natural else -(1 << bits), (1 << bits) - 1)


def _magnitude_bits(a: Interval) -> int:
    """Bits of a signed number without its sign bit."""
    return max(x.bit_length() if x >= 0 else (~x).bit_length() for x in (a.low, a.high))


def complement(a: Interval, kind: Interval) -> Interval:
    """Bitwise, in a type that holds `kind`."""
    top = kind.low + kind.high  # -1 for signed types, all ones for unsigned ones
    return Interval(top - a.high, top - a.low)


def shift_left(a: Interval, distance: Interval) -> Interval | None:
    """None for distances that are not known to be small."""
    if not distance.within(Interval(0, 64)):
        return None
    return multiply(a, Interval(1 << distance.low, 1 << distance.high))


def shift_right(a: Interval, distance: Interval) -> Interval | None:
    """Arithmetic, and of naturals also logical. None for distances that may be negative."""
    if not distance.is_natural:
        return None
    near, far = min(distance.low, 64), min(distance.high, 64)
    corners = [x >> d for x in (a.low, a.high) for d in (near, far)]
    return Interval(min(corners), max(corners))


def power(a: Interval, b: Interval) -> Interval | None:
    """None when the exponent is negative or large."""
    if not b.within(Interval(0, 64)):
        return None
    most = max(a.largest, 1) ** b.high
    return Interval(0 if a.is_natural else -most, most)
