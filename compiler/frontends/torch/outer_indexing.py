"""Indexing with index arrays known at import time: slices where a gather would be written.

Masks and position tables of transformers index with broadcast ranges, `mask[b[:,None], k[None,:]]`.
Each index array that is an arithmetic progression along one axis (or constant) is a slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Progression:
    """Indices start, start + step, ... of `count` elements along `axis` of the broadcast shape."""

    axis: int | None
    """None when the index is the same everywhere (then count is 1)."""
    start: int
    step: int
    count: int


def progression(index: np.ndarray, size: int) -> Progression | None:
    """`index` (broadcast shape, values in -size..size-1) as a progression, or None if it is none.

    Only ascending ones: a slice cannot go backwards.
    """
    index = np.where(index < 0, index + size, index)
    varying = [a for a in range(index.ndim) if np.any(np.diff(index, axis=a))]
    if not index.size or index.min() < 0 or index.max() >= size or len(varying) > 1:
        return None
    start = int(index.flat[0])
    if not varying:
        return Progression(None, start, 1, 1)
    line = np.moveaxis(index, varying[0], -1).reshape(-1, index.shape[varying[0]])[0]
    steps = set(np.diff(line).tolist())
    if len(steps) > 1 or min(steps) < 1:
        return None
    return Progression(varying[0], start, steps.pop(), line.size)


def take_by_slices(x: jax.Array, indices: Sequence[np.ndarray], first: int = 0) -> jax.Array | None:
    """`x[:, ..., *indices]`, the indices applying to adjacent dims from `first` on, by one slice.

    Returns None when an index is no progression, or two vary along the same axis.
    """
    arrays = np.broadcast_arrays(*indices)
    found = [progression(a, x.shape[first + i]) for i, a in enumerate(arrays)]
    parts = [p for p in found if p is not None]
    axes = [p.axis for p in parts if p.axis is not None]
    if len(parts) < len(found) or len(set(axes)) < len(axes):
        return None
    return _slice_and_place(x, parts, arrays[0].shape, first)


def _slice_and_place(
    x: jax.Array, parts: list[Progression], shape: tuple[int, ...], first: int
) -> jax.Array:
    after = first + len(parts)
    window = tuple(slice(p.start, p.start + p.step * (p.count - 1) + 1, p.step) for p in parts)
    taken = x[(slice(None),) * first + window]
    order = sorted(range(len(parts)), key=lambda i: _axis_order(parts[i]))
    taken = jnp.transpose(
        taken, (*range(first), *(first + i for i in order), *range(after, x.ndim))
    )
    varying = {p.axis for p in parts}
    kept = tuple(n if a in varying else 1 for a, n in enumerate(shape))
    before, behind = x.shape[:first], x.shape[after:]
    return jnp.broadcast_to(taken.reshape(*before, *kept, *behind), (*before, *shape, *behind))


def _axis_order(part: Progression) -> int:
    return -1 if part.axis is None else part.axis
