"""What a product costs on the tensor engine."""

from __future__ import annotations

from axonc.backends.targets.target import Engine, Target
from axonc.passes.graph.dot_geometry import DotGeometry


def matmul_ns(geometry: DotGeometry, stationary: int, target: Target) -> float:
    """TensorE time with the given side stationary (machine.md#tensor-engine: max(64, columns) per
    tile)."""
    still, moving = geometry.sides[stationary], geometry.sides[1 - stationary]
    columns = moving.count(moving.free)
    row_tiles = -(-still.count(still.free) // target.pe_columns)
    depth_tiles = -(-geometry.depth // target.partitions)
    floor = target.engines[Engine.TENSOR].min_interval_cycles
    chunks = -(-columns // target.max_moving_columns)
    cycles = row_tiles * depth_tiles * max(chunks * floor, columns)
    return geometry.batch_count * cycles / target.engines[Engine.TENSOR].clock_ghz
