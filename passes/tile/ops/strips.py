"""Strips of tensors too large for SBUF: how a result is cut, and parts of tensors addressed by the
indices of the whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from axonc.backends.numerics.dtypes import DType
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.passes.graph.shapes import PartitionDims, Shape
from axonc.passes.layout.storage import Storage
from axonc.passes.tile.move import load, new_storage

RESIDENT_BYTES = 128 * 1024
"""Bytes per partition, two thirds of SBUF, up to which one image and its result are kept there."""

STRIP_BYTES = 24 * 1024
"""Bytes per partition of a strip, of its image or of its result, whichever is larger: two strips of
both, and the weights, have room beside each other."""

Ranges = dict[int, tuple[int, int]]
"""[start, stop) of some dims of a tensor."""


def strip_ranges(sizes: Sequence[int], size_bytes: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """[start, stop) of each dim, for strips along the first dim that can be cut into them, the dims
    before it index by index. size_bytes: per partition, of all `sizes`."""
    axis, outer = 0, 1
    while axis < len(sizes) - 1 and size_bytes > STRIP_BYTES * outer * max(1, sizes[axis]):
        outer *= max(1, sizes[axis])
        axis += 1
    rows = sizes[axis]
    step = max(1, rows * STRIP_BYTES * outer // max(1, size_bytes))
    step = max(1, -(-rows // max(1, -(-rows // step))))  # of about the same size
    before = [[(i, i + 1) for i in range(n)] for n in sizes[:axis]]
    parts = [(first, min(first + step, rows)) for first in range(0, rows, step)]
    behind = [(0, n) for n in sizes[axis + 1 :]]
    for *first, part in itertools.product(*before, parts):
        yield (*first, part, *behind)


def part_of(
    builder: KernelBuilder,
    shape: Shape,
    rows: PartitionDims,
    dtype: DType,
    ranges: Ranges,
    name: str,
) -> tuple[Storage, Storage]:
    """A storage in SBUF for `ranges` of some dims; as it is, and addressed by the indices of the
    whole tensor."""
    sizes = tuple(
        ranges[d][1] - ranges[d][0] if d in ranges else size for d, size in enumerate(shape)
    )
    part = new_storage(builder, sizes, dtype, rows, name)
    shift = sum(start * part.strides[d] for d, (start, _) in ranges.items())
    return part, replace(part, offset=part.offset - shift)


def loaded_part(
    builder: KernelBuilder,
    source: Storage,
    rows: PartitionDims,
    dtype: DType,
    ranges: Ranges,
    name: str,
) -> Storage:
    """Those ranges of a tensor in device memory, addressed by the indices of the whole."""
    part, placed = part_of(builder, source.shape, rows, dtype, ranges, name)
    load(builder, part, cut(source, ranges))
    return placed


def cut(source: Storage, ranges: Ranges) -> Storage:
    """The ranges of a tensor in device memory."""
    low = tuple(ranges[d][0] if d in ranges else 0 for d in range(len(source.shape)))
    high = tuple(ranges[d][1] if d in ranges else n for d, n in enumerate(source.shape))
    found = source.sliced(low, high, (1,) * len(low))
    assert found is not None, "device memory has no partition dims"
    return found
