"""Reductions to the place of the largest or smallest element: part of `legalize-to-neuron`.

    v, i = stablehlo.reduce(x, iota) across dimensions = [d], choosing by x     (argmax, argmin)

becomes v = max(x) along d, and i the least place at which x is v. NaN counts as the extreme, as
frameworks say; the first of several extremes is meant.
"""

from __future__ import annotations

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import BroadcastOp, ConvertOp, IotaOp, ReshapeOp, isa
from axonc.dialects.neuron.table import FLOAT
from axonc.dialects.stablehlo import dense_integers
from axonc.passes.graph.comparator_region import extreme_of
from axonc.passes.graph.fold_constants import constant_array, splat_of
from axonc.passes.legalize.movement import holds_places, is_neutral
from axonc.passes.unsupported import Unsupported

_HINT = "reduce one tensor with add, max, min, multiply, and, or; or take its argmax or argmin"


def arg_reduce(op: ir.Operation) -> tuple[ir.Value, ir.Value]:
    """(extreme, its place) of a reduction of a tensor and the places of its elements.

    Raises:
        Unsupported: it is no argmax or argmin along one dim.
    """
    dims = dense_integers(op.attributes["dimensions"])
    if len(op.operands) != 4 or len(dims) != 1:
        raise Unsupported("reduction of several tensors at once", _HINT)
    values, places, first_value, first_place = op.operands
    name = element_name(values.type)
    kind = extreme_of(op.regions[0], name)
    (dim,) = dims
    if kind is None or not _counts_along(places, dim) or splat_of(first_place) != 0:
        raise Unsupported("reduction of several tensors at once that is no argmax or argmin", _HINT)
    if not holds_places(places.type, places.type.shape[dim]):
        counted = f"{places.type.shape[dim]} elements, counted in {element_name(places.type)}"
        raise Unsupported(f"arg{kind} of {counted}", "count in int32")
    reduction = {"max": "or", "min": "and"}[kind] if name == "i1" else kind
    if not is_neutral(reduction, first_value):
        raise Unsupported(f"arg{kind} with an initial value", "begin with the neutral element")
    extreme = build.reduce(values, reduction, dims)
    return extreme, _first_place(values, places, extreme, dim)


def _first_place(values: ir.Value, places: ir.Value, extreme: ir.Value, dim: int) -> ir.Value:
    """The least of `places` at which `values` is `extreme` or NaN."""
    shape = build.shape_of(values)
    kept = [d for d in range(len(shape)) if d != dim]
    found = build.compare(values, build.broadcast(extreme, shape, kept), "EQ")
    if element_name(values.type) in FLOAT:
        found = build.create("or", (found, build.compare(values, values, "NE")), found.type)
    beyond = build.splat_constant(shape[dim] - 1, places.type)
    return build.reduce(build.create("select", (found, places, beyond), places.type), "min", [dim])


def _counts_along(value: ir.Value, dim: int) -> bool:
    """Whether the elements are 0, 1, 2 ... along `dim`, the same along the others."""
    array = constant_array(value)
    if array is not None:
        shape = [-1 if d == dim else 1 for d in range(array.ndim)]
        return bool((array == np.arange(array.shape[dim]).reshape(shape)).all())
    if isinstance(value.owner, ir.Block):
        return False
    op = value.owner
    if isa(op, IotaOp):
        return op.dimension == dim
    if isa(op, BroadcastOp):
        dims = op.dims
        return dim in dims and _counts_along(op.operands[0], dims.index(dim))
    if isa(op, ReshapeOp):
        source = _same_dim(value, op.operands[0], dim)
        return source is not None and _counts_along(op.operands[0], source)
    return isa(op, ConvertOp) and _counts_along(op.operands[0], dim)


def _same_dim(value: ir.Value, before: ir.Value, dim: int) -> int | None:
    """The dim of `before` that dim `dim` was until a reshape which only adds or drops dims of one
    element; None after other reshapes."""
    new, old = build.shape_of(value), build.shape_of(before)
    if new[dim] == 1 or [n for n in new if n != 1] != [n for n in old if n != 1]:
        return None
    place = sum(n != 1 for n in new[:dim])
    return [d for d, n in enumerate(old) if n != 1][place]
