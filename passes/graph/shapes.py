"""Shapes of tensors and of their groups of dims."""

from __future__ import annotations

from torch_mlir import ir

Shape = tuple[int, ...]


PartitionDims = tuple[int, ...]


def normalised(partition_dims: PartitionDims, shape: Shape) -> PartitionDims:
    """Without dims of size 1, which take no place on the partition axis."""
    return tuple(d for d in partition_dims if shape[d] > 1)


def reshape_groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """Smallest groups of dims of `old` and `new`, in order, with equal products."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        left: list[int] = []
        right: list[int] = []
        a = b = 1
        while not left and not right or a != b:
            if (a <= b and i < len(old)) or j >= len(new):
                left.append(i)
                a *= old[i]
                i += 1
            else:
                right.append(j)
                b *= new[j]
                j += 1
        while i < len(old) and old[i] == 1 and (j >= len(new) or new[j] != 1):
            left.append(i)
            i += 1
        while j < len(new) and new[j] == 1 and (i >= len(old) or old[i] != 1):
            right.append(j)
            j += 1
        groups.append((left, right))
    return groups


def shape_of(value: ir.Value) -> Shape:
    return tuple(ir.RankedTensorType(value.type).shape)


def is_of_nothing(op: ir.Operation) -> bool:
    """Whether an operand has no elements: a product then sums nothing, which is 0."""
    return any(0 in value.type.shape for value in op.operands)
