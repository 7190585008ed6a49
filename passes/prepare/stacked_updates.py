"""Layers of a loop that each update their part of a stacked tensor update the tensor itself.

A loop over layers takes its cache apart and puts it together again: part l = dynamic_slice(cache,
l), updated somewhere, stacked. Then the cache would be copied in every call. Instead every layer
writes into the whole, and reads its part from there; where that happens in place is decided later
(`update_in_place`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import numpy_to_dense
from axonc.dialects.stablehlo import dense_integers
from axonc.passes.graph.known_scalars import Known, known_scalar
from axonc.passes.graph.rewrite import in_place_of, redirect

UPDATE = "stablehlo.dynamic_update_slice"


@dataclass(frozen=True)
class LayerUpdate:
    """An update of one layer of a stacked tensor."""

    op: ir.Operation
    """Updates part `number` of `source`, without the stacked dim."""
    source: ir.Value
    number: int


def updated_as_a_whole(parts: Mapping[int, ir.Value], dim: int, known: Known) -> ir.Value | None:
    """The stack along `dim` of `parts` (by place; in the order of the program) as updates of the
    tensor each is the same part of; None if that is not what they are."""
    layers = []
    for place, part in parts.items():
        layer = _layer_update(part, dim, known)
        if layer is None or layer.number != place:
            return None
        layers.append(layer)
    source = layers[0].source
    if any(layer.source != source for layer in layers) or len(layers) != source.type.shape[dim]:
        return None
    whole = layers[0].source
    for layer in layers:
        whole = _rewritten(layer, whole, dim)
    return whole


def _layer_update(part: ir.Value, dim: int, known: Known) -> LayerUpdate | None:
    op = _made_by(_without_dim(part, dim), UPDATE)
    taken = None if op is None else _made_by(op.operands[0], "stablehlo.reshape")
    read = None if taken is None else _made_by(taken.operands[0], "stablehlo.dynamic_slice")
    if op is None or read is None or not _is_stacked(op.operands[0], read.operands[0], dim):
        return None
    sizes = dense_integers(read.attributes["slice_sizes"])
    number = known_scalar(read.operands[1 + dim], known)
    if number is None or sizes[dim] != 1 or not 0 <= number < read.operands[0].type.shape[dim]:
        return None
    return LayerUpdate(op, read.operands[0], int(number))


def _without_dim(part: ir.Value, dim: int) -> ir.Value | None:
    """What `part` is with a dim of one element at `dim`."""
    op = _made_by(part, "stablehlo.broadcast_in_dim") or _made_by(part, "stablehlo.reshape")
    if op is None or not _is_stacked(op.operands[0], part, dim):
        return None
    if op.name.endswith("broadcast_in_dim"):
        kept = [d for d in range(part.type.rank) if d != dim]
        if list(dense_integers(op.attributes["broadcast_dimensions"])) != kept:
            return None
    return op.operands[0]


def _is_stacked(part: ir.Value, whole: ir.Value, dim: int) -> bool:
    """Whether `whole` has the shape of `part` but for one more dim at `dim`."""
    shape = list(whole.type.shape)
    return list(part.type.shape) == [*shape[:dim], *shape[dim + 1 :]]


def _made_by(value: ir.Value | None, name: str) -> ir.Operation | None:
    if value is None or isinstance(value.owner, ir.Block):
        return None
    op = value.owner.operation
    return op if op.name == name else None


def _rewritten(layer: LayerUpdate, whole: ir.Value, dim: int) -> ir.Value:
    """`whole` with the layer's update; who read the updated part reads it from there."""
    op = layer.op
    _, update, *starts = op.operands
    element = op.results[0].type.element_type
    with in_place_of(op):
        shape = list(update.type.shape)
        wide = _create("reshape", [update], [*shape[:dim], 1, *shape[dim:]], element)
        place = _constant(layer.number, starts[0].type)
        operands = [whole, wide, *starts[:dim], place, *starts[dim:]]
        made = ir.Operation.create(UPDATE, [whole.type], operands).results[0]
        first = [layer.number if d == dim else 0 for d in range(whole.type.rank)]
        last = [f + 1 if d == dim else n for d, (f, n) in enumerate(_pairs(first, whole))]
        part = _slice(made, first, last)
        read = _create("reshape", [part], list(op.results[0].type.shape), element)
    redirect(op.results, [read])
    return made


def _pairs(first: Sequence[int], whole: ir.Value) -> list[tuple[int, int]]:
    return list(zip(first, whole.type.shape, strict=True))


def _slice(value: ir.Value, first: Sequence[int], last: Sequence[int]) -> ir.Value:
    attributes = {
        "start_indices": ir.DenseI64ArrayAttr.get(list(first)),
        "limit_indices": ir.DenseI64ArrayAttr.get(list(last)),
        "strides": ir.DenseI64ArrayAttr.get([1] * len(first)),
    }
    sizes = [b - a for a, b in zip(first, last, strict=True)]
    return _create("slice", [value], sizes, value.type.element_type, attributes)


def _create(
    name: str,
    operands: Sequence[ir.Value],
    shape: Sequence[int],
    element: ir.Type,
    attributes: dict[str, ir.Attribute] | None = None,
) -> ir.Value:
    kind = ir.RankedTensorType.get(list(shape), element)
    op = ir.Operation.create(f"stablehlo.{name}", [kind], list(operands), attributes)
    return op.results[0]


def _constant(number: int, kind: ir.RankedTensorType) -> ir.Value:
    value = numpy_to_dense(np.array(number), kind.element_type)
    return ir.Operation.create("stablehlo.constant", [kind], [], {"value": value}).results[0]
