"""Reductions as trees of elementwise operations: neighbours are combined until one is left.

StableHLO lets a reduction combine the elements by any tree, as long as they stay in order: so that
is what it computes, whatever the region does. Of n elements a tree takes about 2 log2 n operations.
"""

from __future__ import annotations

from collections.abc import Sequence

from axonc.passes.prepare import words
from axonc.passes.prepare.regions.scalar_body import Combine, Tensors


def reduced(combine: Combine, tensors: Tensors, initial: Tensors, dims: Sequence[int]) -> Tensors:
    """The tensors without `dims`: the scalars `initial`, then all elements in order.

    The last dim is reduced first, so the order is that of the elements in memory."""
    shape = list(tensors[0].type.shape)
    kept = [n for d, n in enumerate(shape) if d not in dims]
    first = [words.broadcast(v, kept, ()) for v in initial]
    if not all(shape[d] for d in dims):
        return first
    for dim in sorted(dims, reverse=True):
        tensors = combined_along(combine, tensors, dim)
    return combine(first, [words.reshape(v, kept) for v in tensors])


def combined_along(combine: Combine, tensors: Tensors, dim: int) -> Tensors:
    """One element along `dim`, all others combined in order.

    What is left over where a number is odd comes after all that is combined there: the last ones
    left over are the first to follow."""
    left_over: list[Tensors] = []
    while (size := tensors[0].type.shape[dim]) > 1:
        if size % 2:
            left_over.append(part(tensors, dim, size - 1, size))
        pairs = (part(tensors, dim, n, size - size % 2, 2) for n in (0, 1))
        tensors = combine(*pairs)
    for each in reversed(left_over):
        tensors = combine(tensors, each)
    return tensors


def part(tensors: Tensors, dim: int, start: int, limit: int, stride: int = 1) -> Tensors:
    return [words.slice_along(v, dim, start, limit, stride) for v in tensors]
