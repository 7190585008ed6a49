"""Modelled times that layouts are compared by."""

from __future__ import annotations

import math

from axonc.backends.targets.target import Engine, Target
from axonc.passes.graph.shapes import PartitionDims, Shape

FIXED_CONVERSION_NS = 400.0
"""Latency of one transpose and its eviction, whatever the size (MultiplyMoving + ScalarE, 6.0)."""


DEVICE_MEMORY_CONVERSION_NS = 5000.0
"""A conversion by way of device memory: two DMA transfers with their latencies (1.4)."""


STACKED_EVICTION_NS = 100.0
"""Results stacked on partitions are evicted one batch element at a time: the fixed cost of each
(machine.md#costs, about 100 cycles)."""


SHORT_ROW_BYTES_PER_NS = 104.0
"""DMA bandwidth with rows of a kilobyte or less, which conversions have (6.1)."""


def streaming_ns(shape: Shape, rows: PartitionDims, target: Target) -> float:
    """VectorE time for one pass over a tensor: one element of every partition per cycle."""
    count = math.prod(shape[d] for d in rows)
    tiles = -(-count // target.partitions)
    per_partition = tiles * math.prod(shape) // count
    return per_partition / target.engines[Engine.VECTOR].clock_ghz


def load_ns(shape: Shape, rows: PartitionDims, target: Target) -> float:
    """DMA time of a load, every piece of neighbouring elements a descriptor; replicated tensors of
    some size are loaded once and repeated by the tensor engine."""
    large = [d for d, size in enumerate(shape) if size > 1]
    is_long = not rows or large[-1] not in rows
    count = math.prod(shape) // (shape[large[-1]] if is_long and large else 1)
    smallest_ns = target.dma.descriptor_time_ns[0][1]
    return count * smallest_ns / target.dma.engines + streaming_ns(shape, rows, target)
