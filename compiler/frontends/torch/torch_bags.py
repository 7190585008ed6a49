"""embedding_bag: sums, means or maxima of the rows of a table that each bag names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import torch

aten = torch.ops.aten

# JAX is not typed here (mypy follows no JAX imports), so the alias is one for readers.
Array: TypeAlias = jax.Array

_MEAN, _MAX = 1, 2


def embedding_bag(
    weight: Array,
    indices: Array,
    offsets: Array,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Array | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Array, None, None, None]:
    """[bags, features] of weight [n, features]: bag b has indices offsets[b] .. offsets[b + 1] - 1,
    without those that are `padding_idx`; an empty bag is 0. mode: 0 sum, 1 mean, 2 maximum. The
    other three results are for gradients and are not there.
    """
    bags = offsets.shape[0] - include_last_offset
    rows = weight.at[indices].get(mode="promise_in_bounds", wrap_negative_indices=False)
    mine = _membership(indices, offsets, bags)
    if padding_idx >= 0:
        mine = mine & (indices != padding_idx)
    if mode == _MAX:
        return _largest(rows, mine), None, None, None
    if per_sample_weights is not None:
        rows = rows * per_sample_weights[:, None]
    sums = jnp.matmul(mine.astype(rows.dtype), rows)
    if mode == _MEAN:
        counts = jnp.sum(mine, axis=1, keepdims=True, dtype=jnp.int32)
        sums = sums / jnp.maximum(counts, 1).astype(sums.dtype)
    return sums, None, None, None


def _membership(indices: Array, offsets: Array, bags: int) -> Array:
    """bool [bags, indices]: which indices are in which bag. The last bag goes to the end, which an
    offset after it has to be as well (torch.nn.EmbeddingBag, include_last_offset)."""
    place = jnp.arange(indices.shape[0], dtype=offsets.dtype)
    ends = jnp.append(offsets[1:bags], jnp.asarray(indices.shape[0], offsets.dtype))
    return (place >= offsets[:bags, None]) & (place < ends[:, None])


def _largest(rows: Array, mine: Array) -> Array:
    lowest = jnp.asarray(-jnp.inf, rows.dtype)
    best = jnp.max(jnp.where(mine[:, :, None], rows[None], lowest), axis=1)
    return jnp.where(jnp.any(mine, axis=1, keepdims=True), best, jnp.zeros((), rows.dtype))


BAG_LOWERINGS: dict[Any, Callable[..., Any]] = {
    aten._embedding_bag.default: embedding_bag,
    aten._embedding_bag_forward_only.default: embedding_bag,
}
