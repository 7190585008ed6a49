"""Pooling, its gradients, and nearest up-sampling of torch in the type of their operand.

torchax pools through float64 when 64-bit types are on, and torch decomposes up-sampling into
indexing; both would reach the compiler as operations a NeuronCore lacks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import torch

from axonc.frontends.torch.torch_convolution import each_axis
from axonc.frontends.torch.torch_max_windows import largest_with_place, sliding_taps, to_places

aten = torch.ops.aten

# JAX is not typed here (mypy follows no JAX imports), so the alias is one for readers.
Array: TypeAlias = jax.Array
Pads = list[tuple[int, int]]


def max_pool(
    x: Array,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """(largest of each window, its index) over the last len(kernel_size) axes of x [N, C, ...].

    The index is traced tap by tap, and goes again when nothing reads it.
    """
    rank = len(kernel_size)
    steps, around = each_axis(stride or kernel_size, rank), each_axis(padding, rank)
    spread = each_axis(dilation, rank)
    pads = _pads(x, kernel_size, steps, around, spread, ceil_mode)
    values = jax.lax.reduce_window(
        x,
        _lowest(x.dtype),
        jax.lax.max,
        _leading(x, rank) + tuple(kernel_size),
        _leading(x, rank) + steps,
        [(0, 0)] * (x.ndim - rank) + pads,
        window_dilation=_leading(x, rank) + spread,
    )
    sizes, outs = x.shape[-rank:], values.shape[-rank:]
    lines = zip(sizes, outs, kernel_size, steps, around, spread, strict=True)
    return values, largest_with_place(x, [sliding_taps(*line) for line in lines])[1]


def max_pool_backward(
    gradient: Array,
    x: Array,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    place: Array,
) -> Array:
    """The gradient of x from that of the values of `max_pool`, by their indices; torchax finds the
    maxima anew, in other windows."""
    rank = len(kernel_size)
    steps, around = each_axis(stride or kernel_size, rank), each_axis(padding, rank)
    sizes, outs, spread = x.shape[-rank:], place.shape[-rank:], each_axis(dilation, rank)
    lines = zip(sizes, outs, kernel_size, steps, around, spread, strict=True)
    return to_places(gradient, place, [sliding_taps(*line) for line in lines])


def avg_pool(
    x: Array,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Mean of each window over the last len(kernel_size) axes of x [N, C, ...]; `padding` counts
    as elements if count_include_pad, what ceil_mode adds never does."""
    rank = len(kernel_size)
    steps, around = each_axis(stride or kernel_size, rank), each_axis(padding, rank)
    pads = _pads(x, kernel_size, steps, around, (1,) * rank, ceil_mode)
    sums = jax.lax.reduce_window(
        x,
        np.zeros((), x.dtype),
        jax.lax.add,
        _leading(x, rank) + tuple(kernel_size),
        _leading(x, rank) + steps,
        [(0, 0)] * (x.ndim - rank) + pads,
    )
    counts: Any = divisor_override
    if not divisor_override:
        counts = _counts(x.shape[-rank:], kernel_size, steps, around, pads, count_include_pad)
    if jnp.issubdtype(x.dtype, jnp.integer):
        return jax.lax.div(sums, jnp.broadcast_to(jnp.asarray(counts, x.dtype), sums.shape))
    return sums / jnp.asarray(counts, x.dtype)


def avg_pool_backward(gradient: Array, x: Array, *options: Any) -> Array:
    """The gradient of x from that of `avg_pool(x, *options)`, which is linear in x."""
    (found,) = jax.vjp(lambda value: avg_pool(value, *options), x)[1](gradient)
    return found


def _counts(
    sizes: Sequence[int],
    kernel: Sequence[int],
    steps: Sequence[int],
    around: Sequence[int],
    pads: Pads,
    include_pad: bool,
) -> np.ndarray:
    """How many elements each window counts: a scalar when all count the same, else [out ...]."""
    lines = []
    for size, window, step, pad, (low, high) in zip(
        sizes, kernel, steps, around, pads, strict=True
    ):
        first, last = (-pad, size + pad) if include_pad else (0, size)
        starts = np.arange(0, size + low + high - window + 1, step) - low
        lines.append(np.minimum(starts + window, last) - np.maximum(starts, first))
    counts = lines[0]
    for line in lines[1:]:
        counts = np.multiply.outer(counts, line)
    return counts.flat[0] if np.all(counts == counts.flat[0]) else counts


def _pads(
    x: Array,
    kernel: Sequence[int],
    steps: Sequence[int],
    around: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> Pads:
    """Padding below and above of each window axis. ceil_mode adds a last partial window, if it
    starts in the input or below it (torch.nn.MaxPool2d's note)."""
    pads = []
    sizes = x.shape[-len(kernel) :]
    for size, window, step, pad, spread in zip(sizes, kernel, steps, around, dilation, strict=True):
        extent = spread * (window - 1) + 1
        above = pad
        if ceil_mode:
            count = math.ceil((size + 2 * pad - extent) / step) + 1
            count -= (count - 1) * step >= size + pad
            above = max(pad, (count - 1) * step + extent - size - pad)
        pads.append((pad, above))
    return pads


def _leading(x: Array, rank: int) -> tuple[int, ...]:
    return (1,) * (x.ndim - rank)


def _lowest(dtype: Any) -> np.ndarray:
    """What no element is below."""
    is_float = jnp.issubdtype(dtype, jnp.floating)
    return np.asarray(-np.inf if is_float else jnp.iinfo(dtype).min, dtype)


def nearest(
    x: Array, output_size: Sequence[int] | None, scale_factors: Sequence[float] | None
) -> Array:
    """Nearest up-sampling of x [N, C, ...] along its last axes: element floor(i / factor)."""
    return _resample(x, output_size, scale_factors, 0.0)


def nearest_exact(
    x: Array, output_size: Sequence[int] | None, scale_factors: Sequence[float] | None
) -> Array:
    """As `nearest`, from the centre of each element: floor((i + 0.5) / factor)."""
    return _resample(x, output_size, scale_factors, 0.5)


def _resample(
    x: Array,
    output_size: Sequence[int] | None,
    scale_factors: Sequence[float] | None,
    offset: float,
) -> Array:
    for index in range(x.ndim - 2):
        axis, size = index + 2, x.shape[index + 2]
        factor = scale_factors[index] if scale_factors else None
        count = output_size[index] if output_size else math.floor(size * (factor or 1))
        step = np.float32(1 / factor if factor else size / count)
        chosen = ((np.arange(count, dtype=np.float32) + np.float32(offset)) * step).astype(int)
        x = _take(x, np.minimum(chosen, size - 1), axis)
    return x


def _take(x: Array, chosen: np.ndarray, axis: int) -> Array:
    """Elements of one axis; a broadcast when each is repeated equally often, in order."""
    size = x.shape[axis]
    repeats = len(chosen) // size
    if np.array_equal(chosen, np.repeat(np.arange(size), repeats)):
        spread = (*x.shape[: axis + 1], repeats, *x.shape[axis + 1 :])
        wide = jnp.broadcast_to(jnp.expand_dims(x, axis + 1), spread)
        return wide.reshape(*x.shape[:axis], size * repeats, *x.shape[axis + 1 :])
    return jnp.take(x, jnp.asarray(chosen, jnp.int32), axis=axis, mode="clip")


IMAGE_LOWERINGS: dict[Any, Callable[..., Any]] = {
    aten.max_pool2d_with_indices.default: max_pool,
    aten.max_pool3d_with_indices.default: max_pool,
    aten.max_pool2d_with_indices_backward.default: max_pool_backward,
    aten.max_pool3d_with_indices_backward.default: max_pool_backward,
    aten.avg_pool1d.default: avg_pool,
    aten.avg_pool2d.default: avg_pool,
    aten.avg_pool3d.default: avg_pool,
    aten.avg_pool2d_backward.default: avg_pool_backward,
    aten.avg_pool3d_backward.default: avg_pool_backward,
    aten.upsample_nearest1d.vec: nearest,
    aten.upsample_nearest2d.vec: nearest,
    aten.upsample_nearest3d.vec: nearest,
    aten._upsample_nearest_exact1d.vec: nearest_exact,
    aten._upsample_nearest_exact2d.vec: nearest_exact,
    aten._upsample_nearest_exact3d.vec: nearest_exact,
}

IMAGE_KEPT_WHOLE = tuple(op for op in IMAGE_LOWERINGS if "upsample" in str(op))
"""torch decomposes these unless told not to."""
