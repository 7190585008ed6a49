"""8-bit storage of float tensors: value = number x scale, one scale per channel or per tensor.

The scale maps the largest magnitude of a channel to the largest finite number of the format, so
nothing overflows: e4m3 has infinities beyond 240 (machine.md#formats). Numbers are rounded to
nearest, ties to even. int8 is symmetric: -127 to 127, no zero point.
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from axonc.backends.numerics.cast import from_float32, to_float32
from axonc.backends.numerics.dtypes import F8E3M4, F8E4M3, F8E5M2, I8, DType
from axonc.diagnostics import UsageError

CHANNEL_RANGE = 1000.0
"""Channels of trained weights differ less than this in magnitude, with few exceptions (assumed)."""


Scales = np.ndarray | np.float32

INT8_LIMIT = 127.0
"""-128 is left out, so that the range is symmetric."""


@dataclass(frozen=True)
class QuantizedFormat:
    """An 8-bit format that numbers are stored in, with a scale."""

    name: str
    """As an option spells it."""
    mlir: str
    """Element type."""
    dtype: DType
    limit: float
    """Largest magnitude stored."""

    @property
    def is_float(self) -> bool:
        return self.dtype.is_float

    def rounding_error(self, numbers: np.ndarray) -> np.ndarray:
        """Bound of |stored - number| for numbers within the limit, before the scale: half a unit
        in the last place, which in the denormal range is a constant."""
        if not self.is_float:
            return np.full(np.shape(numbers), 0.5)
        facts = ml_dtypes.finfo(self.dtype.numpy)
        relative = np.abs(numbers) * float(facts.eps) / 2
        return np.maximum(relative, float(facts.smallest_subnormal) / 2)

    def has_channel_scales(self, option: str) -> bool:
        """Whether a weight gets a scale per channel: `option` is "channel", "tensor", or "auto",
        which takes one scale where the format's own exponent spans the channels."""
        return option == "channel" or option == "auto" and self._range < CHANNEL_RANGE

    @property
    def _range(self) -> float:
        """Largest over smallest magnitude stored at full precision."""
        smallest = float(ml_dtypes.finfo(self.dtype.numpy).smallest_normal) if self.is_float else 1
        return self.limit / smallest


def _float_format(name: str, mlir: str, dtype: DType) -> QuantizedFormat:
    return QuantizedFormat(name, mlir, dtype, float(ml_dtypes.finfo(dtype.numpy).max))


FORMATS: dict[str, QuantizedFormat] = {
    f.name: f
    for f in (
        _float_format("fp8_e4m3", "f8E4M3", F8E4M3),
        _float_format("fp8_e5m2", "f8E5M2", F8E5M2),
        _float_format("fp8_e3m4", "f8E3M4", F8E3M4),
        QuantizedFormat("int8", "i8", I8, INT8_LIMIT),
    )
}
"""By name. The three floats are the layouts of cFP8."""


def scales_of(array: np.ndarray, kept: tuple[int, ...], kind: QuantizedFormat) -> np.ndarray:
    """float32 scales, one per index of the axes `kept`; the other axes have size 1. 1 for a channel
    of zeros.

    Raises:
        UsageError: an infinity or NaN, which no scale maps into the format.
    """
    axes = tuple(a for a in range(array.ndim) if a not in kept)
    low = array.min(axis=axes, keepdims=True, initial=0).astype(np.float32)
    high = array.max(axis=axes, keepdims=True, initial=0).astype(np.float32)
    largest = np.maximum(-low, high)
    if not np.isfinite(largest).all():
        raise UsageError(f"an infinity or NaN has no form in {kind.name}")
    scales = largest / np.float32(kind.limit)
    # A channel of denormals could have a scale of 0, or one whose inverse overflows.
    tiny = np.finfo(np.float32).tiny
    return np.where(largest == 0, np.float32(1), np.maximum(scales, tiny)).astype(np.float32)


def quantize(array: np.ndarray, scales: Scales, kind: QuantizedFormat) -> np.ndarray:
    """`array` / `scales` in the storage type; beyond the limit it saturates."""
    numbers = np.asarray(array, np.float32) / scales
    np.clip(numbers, -kind.limit, kind.limit, out=numbers)
    return from_float32(np.ascontiguousarray(numbers), kind.dtype)


def dequantize(stored: np.ndarray, scales: Scales, kind: QuantizedFormat) -> np.ndarray:
    """The float32 values that `stored` stands for."""
    return to_float32(stored, kind.dtype) * scales
