"""StableHLO slices and updates whose place is computed: part of `legalize-to-neuron`.

dynamic_slice and dynamic_update_slice, and gathers of a single window, which mean the same. Indices
that are constants make static slices. All start indices are clamped so that the window lies within
the operand, as StableHLO says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import numpy_to_dense
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import DynamicUpdateSliceOp, isa
from axonc.dialects.stablehlo import dense_integers, gather_dimensions
from axonc.passes.graph.fold_constants import fold, splat_of
from axonc.passes.unsupported import Unsupported

WIDE_INDEX_TYPES = ("i32", "ui32")
"""Types in which the machine computes addresses."""


@dataclass(frozen=True)
class Window:
    """A box of `sizes` in an operand of `shape`."""

    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    known: tuple[int | None, ...]
    """The clamped start of each dim, None where the program computes it."""
    computed: tuple[ir.Value, ...]
    """The indices of those dims, in order (scalars)."""

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
        single = [fold(build.reshape(wide(v), [1])) for v in self.computed]
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


def wide(index: ir.Value) -> ir.Value:
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
    return bool(isa(value.owner, DynamicUpdateSliceOp))


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
    vectors = index_vector(indices, dims.index_vector_dim)
    if vectors is None or batching or 0 in sizes:
        return None
    box = indexed_window(operand, sizes, tuple(dims.start_index_map), vectors)
    return build.reshape(read(operand, box), op.results[0].type.shape)


def index_vector(indices: ir.Value, vector_dim: int) -> list[ir.Value] | None:
    """The components of the only index vector as scalars; None when there are several."""
    shape = build.shape_of(indices)
    length = shape[vector_dim] if vector_dim < len(shape) else 1
    if math.prod(shape) != length:
        return None
    flat = fold(build.reshape(indices, [length]))
    parts = [fold(build.slice_(flat, [i], [i + 1])) for i in range(length)]
    return [fold(build.reshape(part, [])) for part in parts]


def indexed_window(
    operand: ir.Value, sizes: Sequence[int], indexed: Sequence[int], vector: Sequence[ir.Value]
) -> Window:
    indices: list[ir.Value | None] = [None] * operand.type.rank
    for dim, index in zip(indexed, vector, strict=True):
        indices[dim] = index
    return window(operand.type.shape, sizes, indices)


DYNAMIC_LEGALIZERS = {
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": dynamic_update_slice,
}
