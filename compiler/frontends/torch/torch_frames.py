"""Overlapping frames of a signal, put together again: `torch.istft`, gradients of `unfold`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import torch

aten = torch.ops.aten
Array: TypeAlias = jax.Array


def unfold_backward(frames: Array, sizes: Sequence[int], dim: int, size: int, step: int) -> Array:
    """The sum of frames [..., n, ..., size] that begin every `step` elements along `dim`, of a
    tensor of `sizes`. Cut into blocks of `step` elements, the k-th blocks of all frames lie side by
    side: they are added at once."""
    dim %= len(sizes)
    moved = jnp.moveaxis(frames, dim, -2)  # [..., n, size]
    count, total = moved.shape[-2], sizes[dim]
    blocks = -(-size // step)
    whole = jnp.pad(moved, _behind(moved, blocks * step - size))
    length = (count + blocks - 1) * step
    found = jnp.zeros((*moved.shape[:-2], length), frames.dtype)
    for number in range(blocks):
        block = whole[..., number * step : (number + 1) * step]
        line = block.reshape(*block.shape[:-2], count * step)
        widths = [(0, 0)] * (line.ndim - 1) + [(number * step, length - (number + count) * step)]
        found = found + jnp.pad(line, widths)
    found = jnp.pad(found, _behind(found, max(0, total - length)))[..., :total]
    return jnp.moveaxis(found, -1, dim)


def _behind(x: Array, count: int) -> list[tuple[int, int]]:
    """Padding of the last dim."""
    return [(0, 0)] * (x.ndim - 1) + [(0, count)]


FRAME_LOWERINGS: dict[Any, Any] = {aten.unfold_backward.default: unfold_backward}
FRAME_KEPT_WHOLE = tuple(FRAME_LOWERINGS)
