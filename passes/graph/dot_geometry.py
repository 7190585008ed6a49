"""The dims of a `neuron.dot`, sorted by what they do, and which of them may share the partition
axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch_mlir import ir

from axonc.backends.targets.target import Target
from axonc.dialects.attributes import integers
from axonc.passes.graph.shapes import PartitionDims, Shape, normalised, shape_of

LHS, RHS = 0, 1


@dataclass(frozen=True)
class DotSide:
    """One operand: its batch, contracted and free dims, and the result dims of the free ones."""

    shape: Shape
    batch: tuple[int, ...]
    contract: tuple[int, ...]
    free: tuple[int, ...]
    result_free: tuple[int, ...]

    def operand_dim(self, dim: int) -> int | None:
        """The operand's dim that lies along a dim of the result, if any."""
        if dim < len(self.batch):
            return self.batch[dim]
        return self.free[self.result_free.index(dim)] if dim in self.result_free else None

    def result_dim(self, dim: int) -> int:
        """The result's dim along one of the operand that is not contracted."""
        if dim in self.batch:
            return self.batch.index(dim)
        return self.result_free[self.free.index(dim)]

    def rows(self, stacked: int) -> PartitionDims:
        """Partition dims that put the contraction on the partition axis, below the last `stacked`
        batch dims."""
        return normalised(self.batch[len(self.batch) - stacked :] + self.contract, self.shape)

    def count(self, dims: tuple[int, ...]) -> int:
        return math.prod(self.shape[d] for d in dims)


@dataclass(frozen=True)
class DotGeometry:
    """result shape = batch dims, lhs free dims, rhs free dims."""

    sides: tuple[DotSide, DotSide]
    result_shape: Shape

    @property
    def batch(self) -> tuple[int, ...]:
        """Batch dims of the result."""
        return tuple(range(len(self.sides[LHS].batch)))

    @property
    def batch_count(self) -> int:
        return math.prod(self.result_shape[d] for d in self.batch)

    @property
    def depth(self) -> int:
        """Length of the contraction."""
        return self.sides[LHS].count(self.sides[LHS].contract)

    def result_rows(self, stationary: int, stacked: int) -> PartitionDims:
        """Partition dims of the result when side `stationary` is the stationary operand, with the
        last `stacked` batch dims above its free dims."""
        prefix = self.batch[len(self.batch) - stacked :]
        return normalised(prefix + self.sides[stationary].result_free, self.result_shape)

    def stackings(self, rows: int, target: Target) -> list[int]:
        """How many of the last batch dims may lie on partitions above `rows` rows each."""
        found = [0]
        for stacked in range(1, len(self.batch) + 1):
            count = math.prod(self.result_shape[: len(self.batch)][-stacked:])
            new = self.result_shape[len(self.batch) - stacked] > 1
            if new and stacks_on_partitions(rows, count, target):
                found.append(stacked)
        return found


def dot_geometry(op: ir.Operation) -> DotGeometry:
    a = op.attributes
    shapes = shape_of(op.operands[0]), shape_of(op.operands[1])
    batch = integers(a["lhs_batch"]), integers(a["rhs_batch"])
    contract = integers(a["lhs_contract"]), integers(a["rhs_contract"])
    sides = []
    position = len(batch[0])
    for side in (LHS, RHS):
        taken = {*batch[side], *contract[side]}
        free = tuple(d for d in range(len(shapes[side])) if d not in taken)
        result_free = tuple(range(position, position + len(free)))
        position += len(free)
        sides.append(DotSide(shapes[side], batch[side], contract[side], free, result_free))
    return DotGeometry((sides[0], sides[1]), shape_of(op.results[0]))


def stacks_on_partitions(rows: int, batch_count: int, target: Target) -> bool:
    """Whether groups of `rows` rows, one per batch element, keep legal start partitions when
    stacked on the partition axis (machine.md#operands: starts by size; PE rows in quadrants)."""
    if batch_count == 1:
        return True
    half = target.partitions // 2
    return rows in (target.partition_quadrant, half) or rows % target.partitions == 0
