"""StableHLO scatters as updates of one window after the other: part of `legalize-to-neuron`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.stablehlo import scatter_dimensions
from axonc.passes.graph.fold_constants import fold, splat_of
from axonc.passes.legalize.dynamic import Window, read, wide, window, write
from axonc.passes.legalize.region_on_tensors import apply_region

_HINT = "compute the update by elementwise operations"


@dataclass(frozen=True)
class Update:
    """What one index vector asks for."""

    indices: dict[int, ir.Value]
    """By dim of the operand, its component of the index vector, in a type that holds all places of
    that dim; a constant for the dims of a batch."""
    values: tuple[ir.Value, ...]
    """By tensor scattered into, the new elements, of the size of the window."""


def scatter_windows(op: ir.Operation) -> tuple[ir.Value, ...]:
    """All tensors that are scattered into, by any elementwise computation.

    Raises:
        Unsupported: it is not elementwise.
    """
    count = len(op.operands) // 2
    operands = list(op.operands[:count])
    for update in _updates(op):
        sizes = build.shape_of(update.values[0])
        starts = [update.indices.get(d) for d in range(operands[0].type.rank)]
        box = window(operands[0].type.shape, sizes, starts)
        operands = _updated(op.regions[0], operands, update, box)
    return tuple(operands)


def _updated(
    region: ir.Region, operands: Sequence[ir.Value], update: Update, box: Window
) -> list[ir.Value]:
    inside = _is_inside(update.indices, box)
    if inside is not None and splat_of(inside) == 0:
        return list(operands)
    old = [read(operand, box) for operand in operands]
    made = apply_region(region, [*old, *update.values], "scatter", _HINT)
    return [
        write(operand, _kept_outside(inside, new, before, box), box)
        for operand, new, before in zip(operands, made, old, strict=True)
    ]


def _kept_outside(
    inside: ir.Value | None, new: ir.Value, before: ir.Value, box: Window
) -> ir.Value:
    """What was there where the window does not lie within the operand."""
    if inside is None:
        return new
    kind = build.tensor(box.sizes, inside.type.element_type)
    mask = fold(build.broadcast(inside, kind.shape, ()))
    return fold(build.create("select", (mask, new, before), new.type))


# ---- windows -------------------------------------------------------------------------------------


def _updates(op: ir.Operation) -> Iterator[Update]:
    """The updates of all index vectors, in their order."""
    dims = scatter_dimensions(op)
    tensors = len(op.operands) // 2
    operand, indices = op.operands[0], op.operands[tensors]
    updates = list(op.operands)[tensors + 1 :]
    vector_dim = dims.index_vector_dim
    batch = [n for d, n in enumerate(indices.type.shape) if d != vector_dim]
    sizes = _window_sizes(operand, updates[0], dims)
    for place in np.ndindex(*batch):
        found = [wide(v) for v in _components(indices, vector_dim, place)]
        by_dim = dict(zip(dims.scattered_dims_to_operand_dims, found, strict=True))
        by_dim |= _batch_indices(indices, dims, place)
        yield Update(by_dim, tuple(_values(u, dims, place, sizes) for u in updates))


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
