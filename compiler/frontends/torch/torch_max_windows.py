"""Maxima of windows with their places: max_pool with indices, and adaptive max pools.

The places come from comparisons, a tap of the window after the other: a later one takes over when
it is larger, or NaN, which is torch's order.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import torch

from axonc.frontends.torch.torch_resampling import adaptive_window

aten = torch.ops.aten

# JAX is not typed here (mypy follows no JAX imports), so the alias is one for readers.
Array: TypeAlias = jax.Array


@dataclass(frozen=True)
class AxisTaps:
    """The windows of one axis: places[out, tap] in an operand of `size`, and whether one is there.

    What is not there (in the padding, or behind the end of a short window) is never taken.
    """

    places: np.ndarray
    is_there: np.ndarray
    size: int


def sliding_taps(size: int, out: int, window: int, step: int, pad: int, spread: int) -> AxisTaps:
    """Windows of `window` elements, `spread` apart, that begin `step` apart from -pad on."""
    places = np.arange(out)[:, None] * step - pad + np.arange(window) * spread
    return AxisTaps(places, (places >= 0) & (places < size), size)


def adaptive_taps(size: int, out: int) -> AxisTaps:
    """The windows of an adaptive pool, which differ in length."""
    windows = [adaptive_window(size, out, place) for place in range(out)]
    taps = np.arange(max(map(len, windows), default=0))
    places = np.array([w.start for w in windows], int)[:, None] + taps
    return AxisTaps(places, taps < np.array([len(w) for w in windows], int)[:, None], size)


def largest_with_place(x: Array, axes: Sequence[AxisTaps]) -> tuple[Array, Array]:
    """(largest of each window over the last axes of x, its place in those axes made one), int64."""
    rank = len(axes)
    best = place = None
    for taps in itertools.product(*(range(a.places.shape[1]) for a in axes)):
        value, is_there = x, np.ones((), bool)
        number = np.zeros((), np.int32)
        for axis, (tap, windows) in enumerate(zip(taps, axes, strict=True)):
            chosen = np.clip(windows.places[:, tap], 0, max(windows.size - 1, 0))
            value = _take(value, chosen, x.ndim - rank + axis)
            is_there = np.logical_and.outer(is_there, windows.is_there[:, tap])
            number = np.add.outer(number * windows.size, chosen).astype(np.int32)
        if best is None:
            best = jnp.where(is_there, value, _lowest(x.dtype))
            place = jnp.broadcast_to(jnp.asarray(_first_places(axes)), value.shape)
        takes = _takes_over(value, best) & is_there
        best, place = jnp.where(takes, value, best), jnp.where(takes, number, place)
    assert best is not None and place is not None, "a window without elements"
    return best, place.astype(jnp.int64)


def _first_places(axes: Sequence[AxisTaps]) -> np.ndarray:
    """The first element that is there of each window: the answer when no other is larger."""
    number = np.zeros((), np.int32)
    for windows in axes:
        rows = np.arange(len(windows.places))
        first = windows.places[rows, windows.is_there.argmax(axis=1)]
        number = np.add.outer(number * windows.size, first).astype(np.int32)
    return number


def _takes_over(value: Array, best: Array) -> Array:
    larger = value > best
    return larger | (value != value) if jnp.issubdtype(value.dtype, jnp.floating) else larger


def _lowest(dtype: Any) -> np.ndarray:
    is_float = jnp.issubdtype(dtype, jnp.floating)
    return np.asarray(-np.inf if is_float else jnp.iinfo(dtype).min, dtype)


def _take(x: Array, chosen: np.ndarray, axis: int) -> Array:
    """Elements of one axis, by a slice where they are equally far apart. The ends were clipped; a
    clipped element is none that is there, so a slice beside it does as well when it fits."""
    steps = np.unique(np.diff(chosen))
    if len(steps) == 0 or (len(steps) == 1 and steps[0] > 0):
        step = int(steps[0]) if len(steps) else 1
        start = int(chosen[0])
        stop = start + step * (len(chosen) - 1) + 1
        return jax.lax.slice_in_dim(x, start, stop, step, axis)
    return jnp.take(x, jnp.asarray(chosen, jnp.int32), axis=axis, mode="clip")


def to_places(gradient: Array, place: Array, axes: Sequence[AxisTaps]) -> Array:
    """Each element of gradient [..., out] added to zeros [..., size] at its place, as
    `largest_with_place` tells it, for windows that begin equally far apart.

    A place is that of one tap of its window. So for each tap those that chose it are spread over
    the operand, and the taps are added up; what falls outside of it is not there, thus zero."""
    chosen, zero = place.astype(jnp.int32), np.zeros((), gradient.dtype)
    lead = [(0, 0, 0)] * (gradient.ndim - len(axes))
    total: Any = jnp.zeros((), gradient.dtype)
    for taps in itertools.product(*(range(a.places.shape[1]) for a in axes)):
        is_there, number, pads = np.ones((), bool), np.zeros((), np.int32), list(lead)
        for tap, windows in zip(taps, axes, strict=True):
            line = windows.places[:, tap]
            is_there = np.logical_and.outer(is_there, windows.is_there[:, tap])
            number = np.add.outer(number * windows.size, line).astype(np.int32)
            step = int(line[1] - line[0]) if len(line) > 1 else 1
            pads.append((int(line[0]), windows.size - 1 - int(line[-1]), step - 1))
        taken = jnp.where((chosen == number) & is_there, gradient, zero)
        total = total + jax.lax.pad(taken, zero, pads)
    return total


def adaptive_max(x: Array, output_size: Sequence[int]) -> tuple[Array, Array]:
    """(largest of each window, its place) over the last axes of x; windows as of adaptive means."""
    sizes = x.shape[x.ndim - len(output_size) :]
    return largest_with_place(
        x, [adaptive_taps(*pair) for pair in zip(sizes, output_size, strict=True)]
    )


MAX_WINDOW_LOWERINGS: dict[Any, Callable[..., Any]] = {
    aten.adaptive_max_pool2d.default: adaptive_max,
    aten.adaptive_max_pool3d.default: adaptive_max,
}
