"""Weights that are one number per partition: biases, scales, statistics of norms.

Loaded as they lie, each number is a DMA row of its own and each row tile a transfer. Packed (as the
matrices are, weight_stream.py), a partition's numbers of all row tiles are one DMA row, the vector
one transfer; it streams in with the matrices."""

from __future__ import annotations

import math

from axonc.backends.numerics.dtypes import DType
from axonc.backends.program import Packing, TensorKind
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import Pool, View
from axonc.passes.graph.shapes import PartitionDims, normalised
from axonc.passes.layout.storage import Storage
from axonc.passes.tile.move import new_storage


def is_weight_vector(source: Storage, rows: PartitionDims) -> bool:
    """Whether all dims of a weight in device memory lie on partitions."""
    tensor = source.buffer.tensor
    if tensor is None or tensor.kind is not TensorKind.WEIGHT or tensor.packing is not None:
        return False
    kept = normalised(tuple(range(len(source.shape))), source.shape)
    return bool(kept) and tuple(sorted(rows)) == kept


def load_weight_vector(
    builder: KernelBuilder, source: Storage, rows: PartitionDims, dtype: DType
) -> Storage:
    """The vector in SBUF with `rows` on partitions."""
    limit = builder.target.partitions
    result = new_storage(builder, source.shape, dtype, rows, "vector", (), Pool.STREAM)
    dims = tuple((source.strides[d], source.shape[d]) for d in rows)
    packing = Packing(dims, ((1, 1),), source.offset, limit, 1)
    packed = builder.packed_weight(source.buffer, packing, dtype)
    count = min(limit, math.prod(source.shape))
    tile = View(result.buffer, dtype, 0, count, 0, ((1, packing.row_tiles),))
    builder.dma(tile, packed[0, 0:count, 0 : packing.row_tiles, 0])
    return result
