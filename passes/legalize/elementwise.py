"""StableHLO elementwise operations and composites as neuron operations: part of
`legalize-to-neuron`."""

from __future__ import annotations

from collections.abc import Callable

from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.table import ELEMENTWISE, FLOAT
from axonc.dialects.stablehlo import comparison_direction, comparison_type
from axonc.passes.graph.fold_constants import fold
from axonc.passes.legalize.reduce_precision import reduce_precision
from axonc.passes.legalize.total_order import total_order
from axonc.passes.unsupported import Unsupported

Legalizer = Callable[[ir.Operation], ir.Value]

DIRECT: dict[str, str] = {
    "abs": "abs",
    "add": "add",
    "and": "and",
    "atan2": "atan2",
    "cbrt": "cbrt",
    "ceil": "ceil",
    "cosine": "cosine",
    "count_leading_zeros": "count_leading_zeros",
    "divide": "divide",
    "exponential": "exp",
    "exponential_minus_one": "expm1",
    "floor": "floor",
    "log": "log",
    "log_plus_one": "log1p",
    "logistic": "logistic",
    "maximum": "maximum",
    "minimum": "minimum",
    "multiply": "multiply",
    "negate": "negate",
    "not": "not",
    "or": "or",
    "popcnt": "popcnt",
    "power": "power",
    "remainder": "remainder",
    "round_nearest_even": "round_even",
    "rsqrt": "rsqrt",
    "select": "select",
    "shift_left": "shift_left",
    "shift_right_arithmetic": "shift_right_arithmetic",
    "shift_right_logical": "shift_right_logical",
    "sign": "sign",
    "sine": "sine",
    "sqrt": "sqrt",
    "subtract": "subtract",
    "tanh": "tanh",
    "xor": "xor",
}
"""StableHLO name -> neuron name, same operands."""

_ON_BOOLEANS = {"add": "or", "multiply": "and", "subtract": "xor"}
"""What arithmetic on i1 means."""


def direct(name: str) -> Legalizer:
    """The legalizer of an operation that has a counterpart."""

    def legalize(op: ir.Operation) -> ir.Value:
        kind = op.results[0].type
        is_bool = str(kind.element_type) == "i1"
        target = _ON_BOOLEANS.get(name, DIRECT[name]) if is_bool else DIRECT[name]
        return build.create(target, list(op.operands), kind)

    return legalize


def select(op: ir.Operation) -> ir.Value:
    pred, on_true, on_false = op.operands
    kind = op.results[0].type
    return build.create("select", (_spread(pred, kind.shape), on_true, on_false), kind)


def clamp(op: ir.Operation) -> ir.Value:
    low, operand, high = op.operands
    kind = op.results[0].type
    raised = build.create("maximum", (_spread(low, kind.shape), operand), kind)
    return build.create("minimum", (raised, _spread(high, kind.shape)), kind)


def _spread(value: ir.Value, shape: list[int]) -> ir.Value:
    """A rank-0 value repeated to `shape`; anything else unchanged."""
    if value.type.rank or not len(shape):
        return value
    return fold(build.broadcast(value, shape, ()))


def compare(op: ir.Operation) -> ir.Value:
    lhs, rhs = op.operands
    if comparison_type(op) == "TOTALORDER" and element_name(lhs.type) in FLOAT:
        return total_order(lhs, rhs, comparison_direction(op))
    return build.compare(lhs, rhs, comparison_direction(op))


def convert(op: ir.Operation) -> ir.Value:
    return build.convert(op.operands[0], op.results[0].type.element_type)


def is_finite(op: ir.Operation) -> ir.Value:
    """|x| < inf, false for NaN."""
    operand = op.operands[0]
    infinity = build.splat_constant(float("inf"), operand.type)
    return build.compare(build.create("abs", (operand,), operand.type), infinity, "LT")


def round_away(op: ir.Operation) -> ir.Value:
    """Ties away from zero: floor(|x|), plus one when the rest is at least a half, with the sign of
    x."""
    x = op.operands[0]
    kind = x.type
    magnitude = build.create("abs", (x,), kind)
    whole = build.create("floor", (magnitude,), kind)
    rest = build.create("subtract", (magnitude, whole), kind)
    up = build.compare(rest, build.splat_constant(0.5, kind), "GE")
    more = build.create("add", (whole, build.splat_constant(1.0, kind)), kind)
    rounded = build.create("select", (up, more, whole), kind)
    return build.create("multiply", (build.create("sign", (x,), kind), rounded), kind)


def tangent(op: ir.Operation) -> ir.Value:
    """sin(x) / cos(x)."""
    x = op.operands[0]
    parts = [build.create(name, (x,), x.type) for name in ("sine", "cosine")]
    return build.create("divide", parts, x.type)


# ---- composites ----------------------------------------------------------------------------------


def composite(op: ir.Operation) -> ir.Value:
    name = ir.StringAttr(op.attributes["name"]).value
    if name not in COMPOSITES:
        raise Unsupported(
            f"composite '{name}'", "its decomposition must be inlined first: simplify"
        )
    return COMPOSITES[name](op, _composite_attributes(op))


def _composite_attributes(op: ir.Operation) -> dict[str, ir.Attribute]:
    if "composite_attributes" not in op.attributes:
        return {}
    return {a.name: a.attr for a in ir.DictAttr(op.attributes["composite_attributes"])}


_Attributes = dict[str, ir.Attribute]


def _direct_composite(name: str) -> Callable[[ir.Operation, _Attributes], ir.Value]:
    """The legalizer of a composite with the operands of neuron operation `name`."""
    return lambda op, _: build.create(name, list(op.operands), op.results[0].type)


def _gelu(op: ir.Operation, attributes: _Attributes) -> ir.Value:
    approximate = ir.StringAttr(attributes["approximate"]).value
    name = {"none": "gelu", "tanh": "gelu_tanh"}.get(approximate)
    if name is None:
        raise Unsupported(f"gelu with approximate='{approximate}'", "use 'none' or 'tanh'")
    return build.create(name, list(op.operands), op.results[0].type)


def _softmax(op: ir.Operation, attributes: _Attributes) -> ir.Value:
    axis = ir.IntegerAttr(attributes["axis"]).value
    return build.softmax(op.operands[0], axis % op.operands[0].type.rank)


def _layer_norm(op: ir.Operation, attributes: _Attributes) -> ir.Value:
    epsilon = ir.FloatAttr(attributes["epsilon"]).value
    operand, gamma, beta = op.operands
    return build.layer_norm(operand, gamma, beta, epsilon)


def _rms_norm(op: ir.Operation, attributes: _Attributes) -> ir.Value:
    operand, gamma = op.operands
    return build.rms_norm(operand, gamma, ir.FloatAttr(attributes["epsilon"]).value)


COMPOSITES: dict[str, Callable[[ir.Operation, _Attributes], ir.Value]] = {
    **{e.composite: _direct_composite(e.name) for e in ELEMENTWISE.values() if e.composite},
    "axonc.gelu": _gelu,
    "axonc.softmax": _softmax,
    "axonc.layer_norm": _layer_norm,
    "axonc.rms_norm": _rms_norm,
}

ELEMENTWISE_LEGALIZERS: dict[str, Legalizer] = {name: direct(name) for name in DIRECT} | {
    "select": select,
    "clamp": clamp,
    "compare": compare,
    "convert": convert,
    "reduce_precision": reduce_precision,
    "is_finite": is_finite,
    "round_nearest_afz": round_away,
    "tan": tangent,
    "composite": composite,
}
