"""StableHLO slices and updates whose place is computed: part of `legalize-to-neuron`.

dynamic_slice and dynamic_update_slice, and gathers and scatters of a single window, which mean the
same. Indices that are constants make static slices. All start indices are clamped so that the
window lies within the operand, as StableHLO says; a scatter whose window does not changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch_mlir import ir

from axonc.dialects import neuron_builder as build
from axonc.dialects.attributes import numpy_to_dense
from axonc.dialects.stablehlo import dense_integers, gather_dimensions, scatter_dimensions
from axonc.passes.fold_constants import fold, splat_of
from axonc.passes.unsupported import Unsupported

WIDE_INDEX_TYPES = ("i32", "ui32")
"""Types in which the machine computes addresses."""

SCATTER_HINT = "update one window at a time, by x.at[...].set or lax.dynamic_update_slice"


@dataclass(frozen=True)
class Window:
    """A box of `sizes` in an operand of `shape`. known: the clamped start of each dim, None where
    the program computes it; computed: the indices of those dims, in order (scalars)."""

    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    known: tuple[int | None, ...]
    computed: tuple[ir.Value, ...]

    @property
    def dims(self) -> list[int]:
        """Dims with a computed start."""
        return [d for d, start in enumerate(self.known) if start is None]

    @property
    def start(self) -> list[int]:
        return [start or 0 for start in self.known]

    @property
    def limit(self) -> list[int]:
        return [a + n for a, n in zip(self.start, self.sizes, strict=True)]

    def starts(self) -> ir.Value:
        """The computed indices as one vector."""
        if not self.computed:
            empty = np.zeros(0, np.int32)
            return build.constant(numpy_to_dense(empty, ir.IntegerType.get_signless(32)))
        single = [fold(build.reshape(_wide(v), [1])) for v in self.computed]
        kinds = {str(v.type.element_type) for v in single}
        if len(kinds) > 1:
            raise Unsupported("indices of different types", "use int32 for all of them")
        return fold(build.concatenate(single, 0))


def window(
    shape: Sequence[int], sizes: Sequence[int], indices: Sequence[ir.Value | None]
) -> Window:
    """The box from `indices` (scalars; None: from 0)."""
    known: list[int | None] = []
    for index, total, size in zip(indices, shape, sizes, strict=True):
        number = 0 if index is None or total == size else splat_of(index)
        known.append(None if number is None else min(max(int(number), 0), total - size))
    computed = [v for v, start in zip(indices, known, strict=True) if start is None]
    return Window(
        tuple(shape), tuple(sizes), tuple(known), tuple(v for v in computed if v is not None)
    )


def _wide(index: ir.Value) -> ir.Value:
    """Narrow integers hold no index that i32 does not."""
    if str(index.type.element_type) in WIDE_INDEX_TYPES:
        return index
    return fold(build.convert(index, ir.IntegerType.get_signless(32)))


def read(operand: ir.Value, box: Window) -> ir.Value:
    """The elements of `operand` in the box."""
    if not box.dims:
        return fold(build.slice_(operand, box.start, box.limit))
    return build.dynamic_slice(operand, box.starts(), box.dims, box.start, box.sizes)


def write(operand: ir.Value, update: ir.Value, box: Window) -> ir.Value:
    """`operand` with the box replaced by `update`. A known box of a tensor that is computed on chip
    is a pad and a select, which fuse; one of a tensor in device memory is written there."""
    if box.shape == box.sizes:
        return update
    number = splat_of(operand)
    if not box.dims and number is not None:
        filling = build.splat_constant(number, build.tensor((), operand.type.element_type))
        return _padded(update, filling, box)
    if not box.dims and not _in_device_memory(operand):
        return _selected(operand, update, box)
    return build.dynamic_update_slice(operand, update, box.starts(), box.dims, box.start)


def _in_device_memory(value: ir.Value) -> bool:
    if isinstance(value.owner, ir.Block):
        return True
    return bool(value.owner.operation.name == "neuron.dynamic_update_slice")


def _padded(update: ir.Value, filling: ir.Value, box: Window) -> ir.Value:
    high = [n - b for n, b in zip(box.shape, box.limit, strict=True)]
    return build.pad(update, filling, box.start, high, [0] * len(high))


def _selected(operand: ir.Value, update: ir.Value, box: Window) -> ir.Value:
    """The padded update where a padded mask says so."""
    boolean = ir.IntegerType.get_signless(1)
    inside = build.splat_constant(1, build.tensor(box.sizes, boolean))
    outside = build.splat_constant(0, build.tensor((), boolean))
    zero = build.splat_constant(0, build.tensor((), operand.type.element_type))
    mask, placed = _padded(inside, outside, box), _padded(update, zero, box)
    return build.create("select", (mask, placed, operand), operand.type)


# ---- operations ----------------------------------------------------------------------------------


def dynamic_slice(op: ir.Operation) -> ir.Value:
    operand, *indices = op.operands
    sizes = dense_integers(op.attributes["slice_sizes"])
    if 0 in sizes:
        return build.slice_(operand, [0] * len(sizes), sizes)
    return read(operand, window(operand.type.shape, sizes, indices))


def dynamic_update_slice(op: ir.Operation) -> ir.Value:
    operand, update, *indices = op.operands
    if 0 in build.shape_of(update):
        return operand
    return write(operand, update, window(operand.type.shape, update.type.shape, indices))


def single_window_gather(op: ir.Operation) -> ir.Value | None:
    """A gather with one index vector: a dynamic slice. None when there are several."""
    dims = gather_dimensions(op)
    operand, indices = op.operands
    sizes = dense_integers(op.attributes["slice_sizes"])
    batching = tuple(getattr(dims, "operand_batching_dims", ()))
    vectors = _index_vector(indices, dims.index_vector_dim)
    if vectors is None or batching or 0 in sizes:
        return None
    box = _indexed_window(operand, sizes, tuple(dims.start_index_map), vectors)
    return build.reshape(read(operand, box), op.results[0].type.shape)


def _index_vector(indices: ir.Value, vector_dim: int) -> list[ir.Value] | None:
    """The components of the only index vector as scalars; None when there are several."""
    shape = build.shape_of(indices)
    length = shape[vector_dim] if vector_dim < len(shape) else 1
    if math.prod(shape) != length:
        return None
    flat = fold(build.reshape(indices, [length]))
    parts = [fold(build.slice_(flat, [i], [i + 1])) for i in range(length)]
    return [fold(build.reshape(part, [])) for part in parts]


def _indexed_window(
    operand: ir.Value, sizes: Sequence[int], indexed: Sequence[int], vector: Sequence[ir.Value]
) -> Window:
    indices: list[ir.Value | None] = [None] * operand.type.rank
    for dim, index in zip(indexed, vector, strict=True):
        indices[dim] = index
    return window(operand.type.shape, sizes, indices)


def scatter(op: ir.Operation) -> ir.Value:
    """A scatter with one index vector that sets or adds: a dynamic update."""
    dims = scatter_dimensions(op)
    if len(op.operands) != 3 or tuple(dims.input_batching_dims):
        raise Unsupported("scatter of several tensors, or with batching dims", SCATTER_HINT)
    operand, indices, updates = op.operands
    vector = _index_vector(indices, dims.index_vector_dim)
    if vector is None:
        raise Unsupported(f"scatter to the places in {indices.type}", SCATTER_HINT)
    sizes = _window_sizes(operand, updates, dims)
    update = fold(build.reshape(updates, sizes))
    box = _indexed_window(operand, sizes, tuple(dims.scattered_dims_to_operand_dims), vector)
    new = _combined(op, lambda: read(operand, box), update)
    inside = _is_inside(dict(zip(dims.scattered_dims_to_operand_dims, vector, strict=True)), box)
    if inside is not None:
        kind = build.tensor(sizes, inside.type.element_type)
        mask = fold(build.broadcast(inside, kind.shape, ()))
        new = fold(build.create("select", (mask, new, read(operand, box)), new.type))
    return write(operand, new, box)


def _window_sizes(operand: ir.Value, updates: ir.Value, dims: Any) -> list[int]:
    inserted = set(dims.inserted_window_dims)
    sizes = iter([updates.type.shape[d] for d in dims.update_window_dims])
    return [1 if d in inserted else next(sizes) for d in range(operand.type.rank)]


def _combined(op: ir.Operation, old: Callable[[], ir.Value], update: ir.Value) -> ir.Value:
    """What the scatter writes, given a way to read what was there.

    Raises:
        Unsupported: its computation neither replaces nor adds.
    """
    block = op.regions[0].blocks[0]
    body = [o.operation for o in block.operations]
    present, new = block.arguments
    if len(body) == 1 and body[0].operands[0] == new:
        return update
    adds = len(body) == 2 and body[0].name == "stablehlo.add"
    if adds and set(body[0].operands) == {present, new}:
        return build.create("add", (old(), update), update.type)
    names = ", ".join(o.name for o in body[:-1])
    raise Unsupported(f"scatter by {names or 'something else'}", "set, or add")


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


DYNAMIC_LEGALIZERS = {
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": dynamic_update_slice,
    "scatter": scatter,
}
