"""Writing one row of a tensor at a run-time place, as a key-value cache does: one slice update.

torch writes it as index_copy or, by subscripts, as index_put, and torchax makes a scatter of both.
Anything but one row stays a scatter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import torch

from axonc.frontends.torch.torch_masked_rows import assign, is_mask
from axonc.frontends.torch.torchax_import import torchax_table

aten = torch.ops.aten

# JAX is not typed here (mypy follows no JAX imports), so the alias is one for readers.
Array: TypeAlias = jax.Array


def index_copy(x: Array, dim: int, index: Array, source: Array) -> Array:
    """x with `source` written at `index` along `dim`. torch raises for an index outside 0..n-1, so
    what happens there (it clamps) is free."""
    if index.size != 1 or not x.ndim:
        return torchax_table()[aten.index_copy].func(x, dim, index, source)
    return _written(x, dim % x.ndim, index.reshape(()), source.reshape(_row(x, dim)))


def index_put(
    x: Array, indices: Sequence[Array | None], values: Array, accumulate: bool = False
) -> Array:
    """x with x[indices] = values, or += values if `accumulate`. Negative indices count from the
    end."""
    if any(map(is_mask, indices)):
        return assign(x, indices, values, accumulate)
    given = [i for i, index in enumerate(indices) if index is not None]
    index = indices[given[0]] if len(given) == 1 else None
    if index is None or accumulate or not _is_one_row(index):
        return torchax_table()[aten.index_put].func(x, indices, values, accumulate)
    axis, place = given[0], index.reshape(())
    place = jnp.where(place < 0, place + x.shape[axis], place)
    selected = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    rows = jnp.broadcast_to(values, selected).reshape(_row(x, axis))
    return _written(x, axis, place, rows.astype(x.dtype))


def _is_one_row(index: Array) -> bool:
    return index.size == 1 and index.ndim <= 1 and jnp.issubdtype(index.dtype, jnp.integer)


def _row(x: Array, axis: int) -> tuple[int, ...]:
    shape = list(x.shape)
    shape[axis] = 1
    return tuple(shape)


def _written(x: Array, axis: int, place: Array, row: Array) -> Array:
    starts = [jnp.zeros((), place.dtype)] * x.ndim
    starts[axis] = place
    return jax.lax.dynamic_update_slice(x, row, starts, allow_negative_indices=False)


UPDATE_LOWERINGS: dict[Any, Callable[..., Any]] = {
    aten.index_copy.default: index_copy,
    aten.index_put.default: index_put,
}

UPDATE_KEPT_WHOLE = (aten.index_copy.default,)
"""torch decomposes this unless told not to."""
