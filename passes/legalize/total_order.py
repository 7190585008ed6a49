"""Comparison of floats by the total order: -inf < ... < -0 < +0 < ... < +inf < NaN.

The order of IEEE 754 puts NaN with a sign bit below all numbers. Here NaN has no sign, since the
engines do not keep it (which one an operation makes is not documented): every NaN is the largest,
equal to every other.
"""

from __future__ import annotations

from torch_mlir import ir

from axonc.dialects.neuron import builder as build

_SWAPPED = {"GT": "LT", "LE": "GE"}
_NEGATED = {"GE": "LT", "NE": "EQ"}


def total_order(lhs: ir.Value, rhs: ir.Value, direction: str) -> ir.Value:
    """lhs `direction` rhs as i1."""
    if direction in _SWAPPED:
        return total_order(rhs, lhs, _SWAPPED[direction])
    if direction in _NEGATED:
        return _not(total_order(lhs, rhs, _NEGATED[direction]))
    if direction == "EQ":
        return _not(_or(_is_less(lhs, rhs), _is_less(rhs, lhs)))
    return _is_less(lhs, rhs)


def _is_less(a: ir.Value, b: ir.Value) -> ir.Value:
    number_below_nan = _and(build.compare(b, b, "NE"), build.compare(a, a, "EQ"))
    zeros = _and(build.compare(a, b, "EQ"), _and(_is_below_zero(a), _not(_is_below_zero(b))))
    return _or(build.compare(a, b, "LT"), _or(number_below_nan, zeros))


def _is_below_zero(x: ir.Value) -> ir.Value:
    """The sign of zeros, told by their reciprocals; of two other equal numbers it is the same."""
    zero = build.splat_constant(0.0, x.type)
    return build.compare(build.create("reciprocal", (x,), x.type), zero, "LT")


def _not(x: ir.Value) -> ir.Value:
    return build.create("not", (x,), x.type)


def _and(a: ir.Value, b: ir.Value) -> ir.Value:
    return build.create("and", (a, b), a.type)


def _or(a: ir.Value, b: ir.Value) -> ir.Value:
    return build.create("or", (a, b), a.type)
