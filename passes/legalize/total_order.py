"""Comparison of floats by the total order: -inf < ... < -0 < +0 < ... < +inf < NaN.

The order of IEEE 754 puts NaN with a sign bit below all numbers. Here NaN has no sign, since the
engines do not keep it (which one an operation makes is not documented): every NaN is the largest,
equal to every other.

Front ends sort by numbers of which they replaced every NaN by one, and both zeros by +0. The first
changes nothing here; the second makes the zeros equal, as they are to the engines' comparisons
already. So such numbers are compared as they were before.
"""

from __future__ import annotations

import math

from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import CompareOp, SelectOp, isa
from axonc.passes.graph.fold_constants import splat_of

_SWAPPED = {"GT": "LT", "LE": "GE"}
_NEGATED = {"GE": "LT", "NE": "EQ"}


def total_order(lhs: ir.Value, rhs: ir.Value, direction: str) -> ir.Value:
    """lhs `direction` rhs as i1."""
    a, b = _one_nan(lhs), _one_nan(rhs)
    plain = [_one_zero(v) for v in (a, b)]
    if plain[0] is not None and plain[1] is not None:
        return _ordered(plain[0], plain[1], direction, tells_zeros=False)
    return _ordered(a, b, direction, tells_zeros=True)


def _one_nan(value: ir.Value) -> ir.Value:
    """y, if `value` is NaN where x is, else y, and y is x, or x with one zero: NaN where x is."""
    owner = value.owner
    if not _has_owner(owner) or not isa(owner, SelectOp):
        return value
    predicate, on_true, y = owner.operands
    number = splat_of(on_true)
    x = _compared_with_itself(predicate)
    if number is None or not math.isnan(number) or x is None:
        return value
    return y if y == x or _one_zero(y) == x else value


def _one_zero(value: ir.Value) -> ir.Value | None:
    """x, if `value` is +0 where x is a zero, else x."""
    owner = value.owner
    if not _has_owner(owner) or not isa(owner, SelectOp):
        return None
    predicate, on_true, x = owner.operands
    test = predicate.owner
    if not _has_owner(test) or not isa(test, CompareOp) or test.direction != "EQ":
        return None
    if not _is_positive_zero(on_true) or splat_of(test.operands[1]) != 0:
        return None
    return x if test.operands[0] == x else None


def _is_positive_zero(value: ir.Value) -> bool:
    number = splat_of(value)
    return number == 0 and math.copysign(1.0, number) > 0


def _compared_with_itself(predicate: ir.Value) -> ir.Value | None:
    """x, if `predicate` is x != x."""
    test = predicate.owner
    if not _has_owner(test) or not isa(test, CompareOp) or test.direction != "NE":
        return None
    return test.operands[0] if test.operands[0] == test.operands[1] else None


def _has_owner(owner: object) -> bool:
    """Whether a value comes from an operation, not from a block."""
    return not isinstance(owner, ir.Block)


def _ordered(lhs: ir.Value, rhs: ir.Value, direction: str, *, tells_zeros: bool) -> ir.Value:
    if direction in _SWAPPED:
        return _ordered(rhs, lhs, _SWAPPED[direction], tells_zeros=tells_zeros)
    if direction in _NEGATED:
        return _not(_ordered(lhs, rhs, _NEGATED[direction], tells_zeros=tells_zeros))
    if direction == "EQ":
        less = (_is_less(a, b, tells_zeros) for a, b in ((lhs, rhs), (rhs, lhs)))
        return _not(_or(*less))
    return _is_less(lhs, rhs, tells_zeros)


def _is_less(a: ir.Value, b: ir.Value, tells_zeros: bool) -> ir.Value:
    """a is a number, and not >= b: then b is larger, or NaN. Zeros are equal to that."""
    less = _and(build.compare(a, a, "EQ"), _not(build.compare(a, b, "GE")))
    if not tells_zeros:
        return less
    zeros = _and(build.compare(a, b, "EQ"), _and(_is_below_zero(a), _not(_is_below_zero(b))))
    return _or(less, zeros)


def _is_below_zero(x: ir.Value) -> ir.Value:
    """The sign of zeros, told by a quotient (VectorE's reciprocal takes longer than its divide, and
    1 / x would become one); of two other equal numbers it is the same."""
    zero, two = (build.splat_constant(number, x.type) for number in (0.0, 2.0))
    return build.compare(build.create("divide", (two, x), x.type), zero, "LT")


def _not(x: ir.Value) -> ir.Value:
    return build.create("not", (x,), x.type)


def _and(a: ir.Value, b: ir.Value) -> ir.Value:
    return build.create("and", (a, b), a.type)


def _or(a: ir.Value, b: ir.Value) -> ir.Value:
    return build.create("or", (a, b), a.type)
