"""searchsorted and bucketize, either side: each value counts the elements it comes after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import torch

aten = torch.ops.aten

# JAX is not typed here (mypy follows no JAX imports), so the alias is one for readers.
Array: TypeAlias = jax.Array


def searchsorted(
    line: Array,
    values: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Array | None = None,
) -> Array:
    """Where each of `values` goes in `line` [..., n], ascending along its last axis, to keep it so:
    before its equals, or behind them if `right`.

    An element that is not >= the value (right: not >) is before it, and in an ascending line these
    are the first ones: their number is the place. NaN is behind everything, as in torch.
    """
    if sorter is not None:
        line = jnp.take_along_axis(line, sorter, axis=-1)
    values = jnp.asarray(values, line.dtype if isinstance(values, float) else None)
    if line.ndim > 1:
        line = jnp.expand_dims(line, -2)
    wanted = values[..., None]
    behind = line > wanted if right or side == "right" else line >= wanted
    dtype = jnp.int32 if out_int32 else jnp.int64
    return jnp.sum(~behind, axis=-1, dtype=jnp.int32).astype(dtype)


def bucketize(values: Any, line: Array, *, out_int32: bool = False, right: bool = False) -> Array:
    """searchsorted with the operands the other way about."""
    return searchsorted(line, values, out_int32=out_int32, right=right)


SEARCHING_LOWERINGS: dict[Any, Callable[..., Any]] = {
    aten.searchsorted.Tensor: searchsorted,
    aten.searchsorted.Scalar: searchsorted,
    aten.bucketize.Tensor: bucketize,
    aten.bucketize.Scalar: bucketize,
}
