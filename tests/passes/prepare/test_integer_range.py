"""Every rule for intervals holds for all members of small intervals, by trying them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement, product

import pytest
from hostile_integers import quotient, remainder

from axonc.passes.prepare import integer_range as rules
from axonc.passes.prepare.integer_range import Interval

ENDS = (-9, -8, -3, -1, 0, 1, 2, 7, 8)
INTERVALS = [Interval(a, b) for a, b in combinations_with_replacement(ENDS, 2)]


def members(interval: Interval) -> range:
    return range(interval.low, interval.high + 1)


def pairs() -> Iterator[tuple[Interval, Interval]]:
    return product(INTERVALS, INTERVALS)


BINARY: dict[str, tuple[Callable[..., Interval], Callable[[int, int], int]]] = {
    "add": (rules.add, lambda a, b: a + b),
    "subtract": (rules.subtract, lambda a, b: a - b),
    "multiply": (rules.multiply, lambda a, b: a * b),
    "divide": (lambda a, b: rules.divide(a, b, -1), quotient),
    "remainder": (rules.remainder, remainder),
    "maximum": (rules.maximum, max),
    "minimum": (rules.minimum, min),
    "and": (rules.bit_and, lambda a, b: a & b),
    "or": (rules.bit_or, lambda a, b: a | b),
    "xor": (rules.bit_or, lambda a, b: a ^ b),
}


@pytest.mark.parametrize("name", BINARY)
def test_binary_rules_hold_all_results(name: str) -> None:
    rule, function = BINARY[name]
    for a, b in pairs():
        found = rule(a, b)
        results = [function(x, y) for x in members(a) for y in members(b)]
        assert found.low <= min(results) and max(results) <= found.high, (a, b, found)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "maximum", "minimum"])
def test_binary_rules_hold_no_more_than_needed(name: str) -> None:
    rule, function = BINARY[name]
    for a, b in pairs():
        results = [function(x, y) for x in members(a) for y in members(b)]
        assert rule(a, b) == Interval(min(results), max(results))


UNARY: dict[str, tuple[Callable[[Interval], Interval], Callable[[int], int]]] = {
    "negate": (rules.negate, lambda a: -a),
    "abs": (rules.absolute, abs),
    "sign": (rules.sign, lambda a: (a > 0) - (a < 0)),
    "not": (lambda a: rules.complement(a, Interval(-128, 127)), lambda a: ~a),
}


@pytest.mark.parametrize("name", UNARY)
def test_unary_rules_are_exact(name: str) -> None:
    rule, function = UNARY[name]
    for a in INTERVALS:
        results = [function(x) for x in members(a)]
        assert rule(a) == Interval(min(results), max(results))


@pytest.mark.parametrize(
    ("rule", "function"),
    [
        (rules.shift_left, lambda a, b: a << b),
        (rules.shift_right, lambda a, b: a >> b),
        (rules.power, lambda a, b: a**b),
    ],
)
def test_rules_with_a_natural_operand(
    rule: Callable[..., Interval | None], function: Callable[[int, int], int]
) -> None:
    for a, b in pairs():
        found = rule(a, b)
        if not b.is_natural:
            assert found is None
            continue
        results = [function(x, y) for x in members(a) for y in members(b)]
        assert found is not None and found.low <= min(results) and max(results) <= found.high


def test_sums_of_members() -> None:
    a = Interval(-2, 3)
    assert rules.times(a, 4) == Interval(-8, 12)
    assert rules.up_to(Interval(2, 3), 4) == Interval(0, 12)


def test_unsigned_complement() -> None:
    assert rules.complement(Interval(0, 5), Interval(0, 255)) == Interval(250, 255)


def test_an_interval_is_not_empty() -> None:
    with pytest.raises(ValueError, match="from 2 to 1"):
        Interval(2, 1)
