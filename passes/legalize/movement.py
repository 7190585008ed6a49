"""StableHLO operations that move, make or reduce data as neuron operations: part of
`legalize-to-neuron`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import NUMPY_DTYPES, element_name, integer, integer_array
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.table import INTEGER
from axonc.dialects.stablehlo import dense_integers, dot_dimensions
from axonc.passes.graph.fold_constants import constant_array, fold
from axonc.passes.graph.scalar_region import not_elementwise
from axonc.passes.graph.shapes import is_of_nothing
from axonc.passes.legalize.integer_dot import integer_dot, is_integer_dot
from axonc.passes.unsupported import Unsupported

Legalizer = Callable[[ir.Operation], ir.Value | tuple[ir.Value, ...]]


def constant(op: ir.Operation) -> ir.Value:
    attribute = op.attributes["value"]
    if str(attribute).startswith("dense_resource"):
        raise Unsupported("constant in a resource blob", "pass it as an argument (a weight)")
    return build.constant(attribute)


def iota(op: ir.Operation) -> ir.Value:
    """In i32, where the type is too narrow to count so far: then it wraps, which engines do not."""
    dimension = ir.IntegerAttr(op.attributes["iota_dimension"]).value
    kind = op.results[0].type
    attributes = {"dimension": integer(dimension)}
    if holds_places(kind, kind.shape[dimension]):
        return build.create("iota", (), kind, attributes)
    counted = build.tensor(kind.shape, ir.IntegerType.get_signless(32))
    return build.convert(build.create("iota", (), counted, attributes), kind.element_type)


def holds_places(kind: ir.RankedTensorType, count: int) -> bool:
    """Whether an element of the type holds all of 0 ... count - 1, if it is an integer."""
    name = element_name(kind)
    return name not in INTEGER or count - 1 <= np.iinfo(NUMPY_DTYPES[name]).max


def broadcast_in_dim(op: ir.Operation) -> ir.Value:
    dims = dense_integers(op.attributes["broadcast_dimensions"])
    return build.broadcast(op.operands[0], op.results[0].type.shape, dims)


def reshape(op: ir.Operation) -> ir.Value:
    return build.reshape(op.operands[0], op.results[0].type.shape)


def transpose(op: ir.Operation) -> ir.Value:
    return build.transpose(op.operands[0], dense_integers(op.attributes["permutation"]))


def slice_(op: ir.Operation) -> ir.Value:
    names = ("start_indices", "limit_indices", "strides")
    return build.slice_(op.operands[0], *(dense_integers(op.attributes[n]) for n in names))


def concatenate(op: ir.Operation) -> ir.Value:
    axis = ir.IntegerAttr(op.attributes["dimension"]).value
    present = [v for v in op.operands if v.type.shape[axis]]
    return build.concatenate(present or list(op.operands)[:1], axis)


def reverse(op: ir.Operation) -> ir.Value:
    dims = integer_array(dense_integers(op.attributes["dimensions"]))
    return build.create("reverse", (op.operands[0],), op.results[0].type, {"dims": dims})


def pad(op: ir.Operation) -> ir.Value:
    names = ("edge_padding_low", "edge_padding_high", "interior_padding")
    low, high, interior = (dense_integers(op.attributes[n]) for n in names)
    return padded(op.operands[0], op.operands[1], low, high, interior)


def padded(
    operand: ir.Value,
    value: ir.Value,
    low: Sequence[int],
    high: Sequence[int],
    interior: Sequence[int],
) -> ir.Value:
    """Negative padding cuts elements off: a slice after the positive part."""
    wide = build.pad(operand, value, [max(p, 0) for p in low], [max(p, 0) for p in high], interior)
    start = [max(-p, 0) for p in low]
    limit = [s - max(-p, 0) for s, p in zip(wide.type.shape, high, strict=True)]
    if not any(start) and limit == list(wide.type.shape):
        return wide
    return build.slice_(wide, start, limit)


def dot_general(op: ir.Operation) -> ir.Value:
    return _product(op, dot_dimensions(op))


def dot(op: ir.Operation) -> ir.Value:
    """The old two-operand product: last dim of lhs with first dim of rhs."""
    lhs = op.operands[0]
    return _product(op, ((), (), (lhs.type.rank - 1,), (0,)))


def _product(op: ir.Operation, dims: Sequence[Sequence[int]]) -> ir.Value:
    lhs, rhs = op.operands
    element = op.results[0].type.element_type
    if is_of_nothing(op):
        return build.splat_constant(0, op.results[0].type)
    if is_integer_dot(op):
        return integer_dot(lhs, rhs, dims, element)
    return build.dot(lhs, rhs, dims, element)


def optimization_barrier(op: ir.Operation) -> tuple[ir.Value, ...]:
    """Nothing: what it keeps apart is not moved over it either way."""
    return tuple(op.operands)


# ---- reductions ----------------------------------------------------------------------------------

_KINDS = {
    "stablehlo.add": "sum",
    "stablehlo.maximum": "max",
    "stablehlo.minimum": "min",
    "stablehlo.multiply": "product",
    "stablehlo.and": "and",
    "stablehlo.or": "or",
}
_BOOLEAN_KINDS = {"sum": "or", "max": "or", "min": "and", "product": "and"}
_COMBINE = {
    "sum": "add",
    "max": "maximum",
    "min": "minimum",
    "product": "multiply",
    "and": "and",
    "or": "or",
}
"""The elementwise operation that brings an initial value into a reduction."""


def reduce(op: ir.Operation) -> ir.Value:
    """A reduction of one tensor."""
    kind = reduction_kind_of(op)
    operand, initial = op.operands
    dims = sorted(dense_integers(op.attributes["dimensions"]))
    reduced = build.reduce(operand, kind, dims) if dims else operand
    return reduced if is_neutral(kind, initial) else combined_with(kind, reduced, initial)


def combined_with(kind: str, reduced: ir.Value, initial: ir.Value) -> ir.Value:
    """Every element of a reduction's result with its initial value."""
    start = fold(build.broadcast(initial, reduced.type.shape, ()))
    return build.create(_COMBINE[kind], (reduced, start), reduced.type)


def reduction_kind_of(op: ir.Operation) -> str:
    """What the region of a reduction of one tensor computes; logical for i1.

    Raises:
        Unsupported: anything else, which `expand-regions` would have taken apart if it could.
    """
    kind = _region_kind(op.regions[0], element_name(op.operands[0].type))
    if len(op.results) != 1 or kind is None:
        found = not_elementwise(op.regions[0])
        if found:
            hint = "compute elements by elementwise operations on scalars"
            raise Unsupported(f"reduction by a region with {found}", hint)
        body = [o.operation.name for o in op.regions[0].blocks[0].operations]
        names = ", ".join(body[:-1]) or "nothing"
        raise Unsupported(f"reduction by {names}", f"reduce with one of {', '.join(_KINDS)}")
    return kind


def combining(region: ir.Region, element: str) -> str | None:
    """The elementwise operation on its two arguments that a region is; None if it is another."""
    kind = _region_kind(region, element)
    return None if kind is None else _COMBINE[kind]


def _region_kind(region: ir.Region, element: str) -> str | None:
    block = region.blocks[0]
    body = [o.operation for o in block.operations]
    arguments = set(block.arguments)
    if len(body) != 2 or body[0].name not in _KINDS or set(body[0].operands) != arguments:
        return None
    kind = _KINDS[body[0].name]
    return _BOOLEAN_KINDS.get(kind, kind) if element == "i1" else kind


def is_neutral(kind: str, initial: ir.Value) -> bool:
    """Whether the initial value changes nothing."""
    array = constant_array(initial)
    if array is None:
        return False
    number, name = array.reshape(-1)[0], str(initial.type.element_type)
    if name == "i1":
        return bool(number) == (kind == "and")
    if kind in ("max", "min"):
        return _is_extreme(number, kind == "max")
    return bool(number == _NEUTRAL[kind])


_NEUTRAL = {"sum": 0, "product": 1, "or": 0, "and": -1}


def _is_extreme(number: object, smallest: bool) -> bool:
    value = np.asarray(number)
    if value.dtype.kind in "iu":
        limits = np.iinfo(value.dtype)
        return int(value) == (limits.min if smallest else limits.max)
    return float(value) == (-np.inf if smallest else np.inf)


MOVEMENT_LEGALIZERS: dict[str, Legalizer] = {
    "constant": constant,
    "iota": iota,
    "broadcast_in_dim": broadcast_in_dim,
    "reshape": reshape,
    "transpose": transpose,
    "slice": slice_,
    "concatenate": concatenate,
    "reverse": reverse,
    "pad": pad,
    "dot_general": dot_general,
    "dot": dot,
    "optimization_barrier": optimization_barrier,
}
