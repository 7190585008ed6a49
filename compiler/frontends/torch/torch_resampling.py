"""Resampling along axes as products with constant matrices: adaptive averages, and bilinear and
bicubic interpolation with antialiasing.

Each output element is a weighted sum of neighbours, with weights that depend on sizes alone. Along
one axis that is a matrix [out, in], made here; the matrix engine does the rest. An infinity or a
NaN in the operand reaches the whole line it lies in (0 times it is NaN).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import torch

aten = torch.ops.aten

# JAX is not typed here (mypy follows no JAX imports), so the alias is one for readers.
Array: TypeAlias = jax.Array
Kernel = Callable[[np.ndarray], np.ndarray]


def along_axes(x: Array, matrices: Sequence[np.ndarray | None]) -> Array:
    """x with its last axes contracted with a matrix [out, in] each; None leaves an axis.

    Narrow floats are computed in float32, as torch does.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    for axis, matrix in enumerate(matrices, x.ndim - len(matrices)):
        if matrix is not None:
            weights = jnp.asarray(matrix, wide.dtype)
            wide = jnp.moveaxis(jnp.tensordot(wide, weights, ((axis,), (1,))), -1, axis)
    return wide.astype(x.dtype)


def adaptive_average(x: Array, output_size: Sequence[int]) -> Array:
    """Means of the windows floor(i n / out) .. ceil((i + 1) n / out) of the last axes of x."""
    sizes = x.shape[x.ndim - len(output_size) :]
    if x.size and all(n % out == 0 for n, out in zip(sizes, output_size, strict=True)):
        return _equal_averages(x, sizes, output_size)
    return along_axes(x, [_means(n, out) for n, out in zip(sizes, output_size, strict=True)])


def adaptive_average_backward(gradient: Array, x: Array, rank: int) -> Array:
    """The gradient of x from that of its `adaptive_average` over the last `rank` axes."""
    sizes = gradient.shape[gradient.ndim - rank :]
    (found,) = jax.vjp(lambda value: adaptive_average(value, sizes), x)[1](gradient)
    return found


def _equal_averages(x: Array, sizes: Sequence[int], output_size: Sequence[int]) -> Array:
    """Windows of one length that do not overlap: each axis is two, and one of them is averaged."""
    lead = x.ndim - len(sizes)
    pairs = [part for n, out in zip(sizes, output_size, strict=True) for part in (out, n // out)]
    split = x.reshape(*x.shape[:lead], *pairs)
    return jnp.mean(split, axis=tuple(range(lead + 1, split.ndim, 2)))


def adaptive_window(size: int, out: int, place: int) -> range:
    """The elements of window `place` of `out` over an axis of `size`."""
    return range(place * size // out, -(-(place + 1) * size // out))


def _means(size: int, out: int) -> np.ndarray | None:
    if size == out:
        return None
    matrix = np.zeros((out, size))
    for place in range(out):
        window = adaptive_window(size, out, place)
        matrix[place, window.start : window.stop] = 1 / len(window)
    return matrix


def _triangle(distance: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - np.abs(distance))


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic with a = -1/2, which torch takes for antialiasing."""
    d = np.abs(distance)
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0))


def _antialiased(
    size: int, out: int, align_corners: bool, scale: float | None, kernel: Kernel, support: float
) -> np.ndarray:
    """The matrix of one axis. When it shrinks, the kernel is as much wider as elements get fewer.

    Element i lies at (i + 1/2) step; elements of the source whose centres are within the support
    count, and weights are divided by their sum. (The rule of torch's UpSampleKernel.cpp.)
    """
    step = _step(size, out, align_corners, scale)
    width = max(step, 1.0)
    matrix = np.zeros((out, size))
    for place in range(out):
        centre = step * (place + 0.5)
        first = max(int(centre - support * width + 0.5), 0)
        last = min(int(centre + support * width + 0.5), size)
        weights = kernel((np.arange(first, last) - centre + 0.5) / width)
        matrix[place, first:last] = weights / (weights.sum() or 1)
    return matrix


def _step(size: int, out: int, align_corners: bool, scale: float | None) -> float:
    """How far elements of the result are from each other, in elements of the source."""
    if align_corners:
        return (size - 1) / (out - 1) if out > 1 else 0.0
    return 1 / scale if scale else size / out


def _upsample(kernel: Kernel, support: float) -> Callable[..., Array]:
    def upsample(
        x: Array,
        output_size: Sequence[int] | None,
        align_corners: bool,
        scale_factors: Sequence[float] | None,
    ) -> Array:
        """x [N, C, H, W] resampled to output_size, or by scale_factors."""
        sizes, scales = x.shape[-2:], scale_factors or (None, None)
        wanted = output_size or [math.floor(n * (s or 1)) for n, s in zip(sizes, scales)]  # noqa: B905
        return along_axes(
            x,
            [
                _antialiased(n, out, align_corners, s, kernel, support)
                for n, out, s in zip(sizes, wanted, scales, strict=True)
            ],
        )

    return upsample


def _by_axis(upsample: Callable[..., Array]) -> Callable[..., Array]:
    """The overload that has a scale for each axis."""

    def with_scales(
        x: Array,
        output_size: Sequence[int],
        align_corners: bool,
        scales_h: float | None = None,
        scales_w: float | None = None,
    ) -> Array:
        return upsample(x, output_size, align_corners, (scales_h, scales_w))

    return with_scales


bilinear_antialiased = _upsample(_triangle, 1.0)
bicubic_antialiased = _upsample(_cubic, 2.0)

RESAMPLING_LOWERINGS: dict[Any, Callable[..., Any]] = {
    aten._adaptive_avg_pool2d.default: adaptive_average,
    aten._adaptive_avg_pool3d.default: adaptive_average,
    aten.adaptive_avg_pool1d.default: adaptive_average,
    aten._adaptive_avg_pool2d_backward.default: lambda g, x: adaptive_average_backward(g, x, 2),
    aten._adaptive_avg_pool3d_backward.default: lambda g, x: adaptive_average_backward(g, x, 3),
    aten._upsample_bilinear2d_aa.vec: bilinear_antialiased,
    aten._upsample_bicubic2d_aa.vec: bicubic_antialiased,
    aten._upsample_bilinear2d_aa.default: _by_axis(bilinear_antialiased),
    aten._upsample_bicubic2d_aa.default: _by_axis(bicubic_antialiased),
}
