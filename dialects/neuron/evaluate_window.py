"""Reference semantics of `neuron.convolution` and `neuron.reduce_window` in numpy: a sum over the
elements of the window, each a strided part of the spread and padded input."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from torch_mlir import ir

from axonc.dialects.neuron.table import REDUCTIONS
from axonc.dialects.neuron.window import WindowDim
from axonc.dialects.neuron.window_rules import convolution_dims, pool_windows


def convolve(op: ir.Operation, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """The product of a `neuron.convolution`, in the dtype of its operands (float32 or float64)."""
    dims = convolution_dims(op)
    image, kernel = lhs.transpose(dims.lhs), rhs.transpose(dims.rhs)
    groups, windows = dims.groups, dims.windows
    spread = _spread(image, windows, 2, 0)
    batch, outputs = image.shape[0], kernel.shape[0]
    lengths = [w.output_length(n) for w, n in zip(windows, image.shape[2:], strict=True)]
    order = (*range(2, kernel.ndim), 0, 1)
    result = np.zeros((batch, groups, outputs // groups, *lengths), lhs.dtype)
    for tap in itertools.product(*(range(w.size) for w in windows)):
        seen = spread[(slice(None), slice(None)) + _places(windows, tap, lengths)]
        seen = seen.reshape(batch, groups, -1, *lengths)
        index = tuple(w.kernel_index(t) for w, t in zip(windows, tap, strict=True))
        weight = kernel.transpose(order)[index].reshape(groups, outputs // groups, -1)
        result += np.einsum("goi,bgi...->bgo...", weight, seen, optimize=True)
    flat = result.reshape(batch, outputs, *lengths)
    return flat.transpose(np.argsort(dims.result))


def pool(op: ir.Operation, operand: np.ndarray, neutral: float | int) -> np.ndarray:
    """The result of a `neuron.reduce_window` in the operand's dtype; `neutral` fills the
    padding."""
    windows = pool_windows(op)
    combine = REDUCTIONS[ir.StringAttr(op.attributes["kind"]).value]
    spread = _spread(operand, windows, 0, neutral)
    lengths = [w.output_length(n) for w, n in zip(windows, operand.shape, strict=True)]
    taps = itertools.product(*(range(w.size) for w in windows))
    parts = (spread[_places(windows, tap, lengths)] for tap in taps)
    result = next(parts)
    for part in parts:
        result = combine(np.stack([result, part]), axis=0, dtype=result.dtype)  # type: ignore[call-arg]
    return result


def _spread(
    array: np.ndarray, windows: Sequence[WindowDim], first: int, fill: float | int
) -> np.ndarray:
    """Dims from `first` on dilated and padded (or cut) as the windows say."""
    for axis, window in enumerate(windows, first):
        length = array.shape[axis]
        shape = list(array.shape)
        shape[axis] = (length - 1) * window.base_dilation + 1 if length else 0
        spread = np.full(shape, fill, array.dtype)
        spread[_along(axis, slice(None, None, window.base_dilation))] = array
        shape[axis] = window.padded_length(length)
        padded = np.full(shape, fill, array.dtype)
        cut = spread[_along(axis, slice(max(0, -window.low), None))]
        low = max(0, window.low)
        count = max(0, min(cut.shape[axis], shape[axis] - low))
        padded[_along(axis, slice(low, low + count))] = cut[_along(axis, slice(0, count))]
        array = padded
    return array


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (*(slice(None) for _ in range(axis)), part)


def _places(
    windows: Sequence[WindowDim], tap: Sequence[int], lengths: Sequence[int]
) -> tuple[slice, ...]:
    """What element `tap` of every window reads."""
    return tuple(
        slice(t * w.dilation, t * w.dilation + max(0, (n - 1) * w.stride + 1), w.stride)
        if n
        else slice(0, 0)
        for w, t, n in zip(windows, tap, lengths, strict=True)
    )
