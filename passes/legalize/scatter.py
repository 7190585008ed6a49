"""StableHLO scatters as updates of one window after the other: part of `legalize-to-neuron`.

A window that does not lie within the operand changes nothing, as XLA does it. Windows that overlap
are updated in the order of their indices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.dialects.neuron import builder as build
from axonc.dialects.stablehlo import scatter_dimensions
from axonc.passes.graph.fold_constants import fold, splat_of
from axonc.passes.legalize.dynamic import Window, read, wide, window, write
from axonc.passes.legalize.movement import combining
from axonc.passes.unsupported import Unsupported

MOST_WINDOWS = 1024
"""Each becomes operations of its own."""

_HINT = "update larger windows, by x.at[...].set or lax.dynamic_update_slice"


@dataclass(frozen=True)
class Update:
    """What one index vector asks for. indices: those of its components, by dim of the operand, in a
    type that holds all places of a dim; the dims of a batch have constants. values: of the size of
    the window."""

    indices: dict[int, ir.Value]
    values: ir.Value


def scatter(op: ir.Operation) -> ir.Value:
    """Sets, or combines by an operation of a reduction.

    Raises:
        Unsupported: several tensors, another computation, too many windows.
    """
    if len(op.operands) != 3:
        raise Unsupported("scatter of several tensors", "scatter one at a time")
    operand = op.operands[0]
    how = _combination(op, element_name(operand.type))
    for update in _updates(op):
        sizes = build.shape_of(update.values)
        starts = [update.indices.get(d) for d in range(operand.type.rank)]
        box = window(operand.type.shape, sizes, starts)
        operand = _updated(operand, update, box, how)
    return operand


def _updated(operand: ir.Value, update: Update, box: Window, how: str | None) -> ir.Value:
    new = update.values
    if how is not None:
        new = build.create(how, (read(operand, box), new), new.type)
    inside = _is_inside(update.indices, box)
    if inside is not None and splat_of(inside) == 0:
        return operand
    if inside is not None:
        kind = build.tensor(box.sizes, inside.type.element_type)
        mask = fold(build.broadcast(inside, kind.shape, ()))
        new = fold(build.create("select", (mask, new, read(operand, box)), new.type))
    return write(operand, new, box)


def _combination(op: ir.Operation, element: str) -> str | None:
    """The operation on what was there and what comes; None when that replaces it.

    Raises:
        Unsupported: it is none of a reduction's.
    """
    block = op.regions[0].blocks[0]
    body = [o.operation for o in block.operations]
    if len(body) == 1 and body[0].operands[0] == block.arguments[1]:
        return None
    found = combining(op.regions[0], element)
    if found is None:
        names = ", ".join(o.name for o in body[:-1])
        raise Unsupported(f"scatter by {names or 'something else'}", "set, add, multiply, min, max")
    return found


# ---- windows -------------------------------------------------------------------------------------


def _updates(op: ir.Operation) -> Iterator[Update]:
    """Of every index vector, in their order."""
    dims = scatter_dimensions(op)
    operand, indices, updates = op.operands
    vector_dim = dims.index_vector_dim
    batch = [n for d, n in enumerate(indices.type.shape) if d != vector_dim]
    count = int(np.prod(batch, dtype=np.int64))
    if count > MOST_WINDOWS:
        raise Unsupported(f"scatter of {count} windows, at most {MOST_WINDOWS}", _HINT)
    sizes = _window_sizes(operand, updates, dims)
    for place in np.ndindex(*batch):
        found = [wide(v) for v in _components(indices, vector_dim, place)]
        by_dim = dict(zip(dims.scattered_dims_to_operand_dims, found, strict=True))
        by_dim |= _batch_indices(indices, dims, place)
        yield Update(by_dim, _values(updates, dims, place, sizes))


def _window_sizes(operand: ir.Value, updates: ir.Value, dims: Any) -> list[int]:
    single = {*dims.inserted_window_dims, *dims.input_batching_dims}
    sizes = iter([updates.type.shape[d] for d in dims.update_window_dims])
    return [1 if d in single else next(sizes) for d in range(operand.type.rank)]


def _components(indices: ir.Value, vector_dim: int, place: Sequence[int]) -> list[ir.Value]:
    """The index vector at `place` of the other dims, as scalars."""
    shape = build.shape_of(indices)
    if vector_dim == len(shape):
        return [_element(indices, place)]
    inside = [(*place[:vector_dim], i, *place[vector_dim:]) for i in range(shape[vector_dim])]
    return [_element(indices, where) for where in inside]


def _element(value: ir.Value, place: Sequence[int]) -> ir.Value:
    single = fold(build.slice_(value, place, [p + 1 for p in place]))
    return fold(build.reshape(single, []))


def _batch_indices(indices: ir.Value, dims: Any, place: Sequence[int]) -> dict[int, ir.Value]:
    kind = wide(build.splat_constant(0, build.tensor((), indices.type.element_type))).type
    found = {}
    for operand_dim, dim in zip(
        dims.input_batching_dims, dims.scatter_indices_batching_dims, strict=True
    ):
        number = place[dim - (dim > dims.index_vector_dim)]
        found[operand_dim] = build.splat_constant(number, kind)
    return found


def _values(updates: ir.Value, dims: Any, place: Sequence[int], sizes: Sequence[int]) -> ir.Value:
    inside, where = set(dims.update_window_dims), iter(place)
    shape = build.shape_of(updates)
    start = [0 if d in inside else next(where) for d in range(len(shape))]
    limit = [n if d in inside else s + 1 for d, (n, s) in enumerate(zip(shape, start, strict=True))]
    return fold(build.reshape(fold(build.slice_(updates, start, limit)), sizes))


def _is_inside(indices: dict[int, ir.Value], box: Window) -> ir.Value | None:
    """Whether the window lies within the operand, as a scalar; None when it surely does."""
    tests = []
    for dim, index in indices.items():
        last = box.shape[dim] - box.sizes[dim]
        for direction, bound in (("GE", 0), ("LE", last)):
            limit = build.splat_constant(bound, index.type)
            tests.append(fold(build.compare(index, limit, direction)))
    unsure = [t for t in tests if splat_of(t) != 1]
    if not unsure:
        return None
    inside = unsure[0]
    for test in unsure[1:]:
        inside = fold(build.create("and", (inside, test), inside.type))
    return inside
