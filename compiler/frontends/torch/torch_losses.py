"""Losses that torch decomposes wrongly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import torch

aten = torch.ops.aten

# JAX is not typed here (mypy follows no JAX imports), so the alias is one for readers.
Array: TypeAlias = jax.Array

_REDUCTIONS: dict[int, Callable[[Array], Array]] = {0: lambda x: x, 1: jnp.mean, 2: jnp.sum}
"""By the number torch passes."""


def multilabel_margin_loss(x: Array, target: Array, reduction: int = 1) -> Array:
    """The sum over labels j and other classes i of max(0, 1 - x[j] + x[i]) / classes for x [batch,
    classes] or [classes]. A row of `target` has labels up to its first -1; torch's decomposition
    counts what is behind that as the label 0.
    """
    scores, labels = jnp.atleast_2d(x), jnp.atleast_2d(target)
    counts = jnp.cumsum(labels < 0, axis=1, dtype=jnp.int32) == 0
    classes = jnp.arange(scores.shape[1], dtype=labels.dtype)
    is_label = jnp.any((labels[:, :, None] == classes) & counts[:, :, None], axis=1)
    own = jnp.take_along_axis(scores, jnp.maximum(labels, 0), axis=1)
    margins = jnp.maximum(1 - own[:, :, None] + scores[:, None, :], 0)
    counted = counts[:, :, None] & ~is_label[:, None, :]
    rows = jnp.sum(jnp.where(counted, margins, 0), axis=(1, 2)) / scores.shape[1]
    return _REDUCTIONS[reduction](rows.reshape(x.shape[:-1]))


LOSS_LOWERINGS: dict[Any, Callable[..., Any]] = {
    aten.multilabel_margin_loss.default: multilabel_margin_loss
}

LOSS_KEPT_WHOLE = tuple(LOSS_LOWERINGS)
"""torch decomposes these unless told not to."""
