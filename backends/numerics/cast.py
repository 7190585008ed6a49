"""Casts between float32 and every storage type: what engines and DMA do on load and on store.

Float formats keep denormals and signed zeros; too large values become infinities, also in the
8-bit formats (machine.md#formats: saturation is not specified, IEEE is the safest reading); a NaN
stays a NaN (its payload is unspecified). Integers: round to nearest even, saturate, NaN gives 0
(assumed; the NKI 0.6 notes say rounding and saturating). 32-bit integers round to nearest even on
the way to float32, so they are exact up to 2^24 (machine.md#arithmetic).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import numpy as np

from axonc.backends.numerics.dtypes import (
    BF16,
    F8E3M4,
    F8E4M3,
    F8E5M2,
    F16,
    F32,
    TF32,
    DType,
)
from axonc.backends.numerics.stochastic import round_stochastically

Rounding = Literal["rne", "stochastic"]


def to_float32(array: np.ndarray, dtype: DType) -> np.ndarray:
    """`array`, stored as `dtype`, as float32; may return the argument. Inexact for i32 and u32."""
    return _UP_CASTS[dtype.code](array, dtype)


def from_float32(
    array: np.ndarray,
    dtype: DType,
    *,
    rounding: Rounding = "rne",
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """float32 `array` in the storage type of `dtype`; may return the argument.

    rounding: "rne" to nearest, ties to even; "stochastic" takes one of the two neighbours with a
    probability proportional to the distance to the other (needs `rng`; machine.md#rounding).
    """
    if rounding == "stochastic":
        if rng is None:
            raise ValueError("stochastic rounding needs rng, a seeded numpy.random.Generator")
        array = round_stochastically(array, dtype, rng)
    return _DOWN_CASTS[dtype.code](array, dtype)


def round_to_tf32(array: np.ndarray) -> np.ndarray:
    """float32 rounded to 10 mantissa bits, ties to even; the low 13 bits are zero."""
    bits = array.view(np.uint32)
    kept_odd = (bits >> np.uint32(13)) & np.uint32(1)
    rounded = (bits + np.uint32(0xFFF) + kept_odd) & np.uint32(0xFFFFE000)
    result = rounded.view(np.float32)
    nan = np.isnan(array)
    if nan.any():  # the addition may carry a NaN's mantissa away
        result[nan] = np.nan
    return result


def _keep(array: np.ndarray, dtype: DType) -> np.ndarray:
    return array


def _astype_float32(array: np.ndarray, dtype: DType) -> np.ndarray:
    return array.astype(np.float32)


def _byte_to_float32(array: np.ndarray, dtype: DType) -> np.ndarray:
    return _byte_values(dtype.code)[array.view(np.uint8)]


def _round_to_tf32(array: np.ndarray, dtype: DType) -> np.ndarray:
    return round_to_tf32(array)


def _to_bf16_or_f16(array: np.ndarray, dtype: DType) -> np.ndarray:
    with np.errstate(all="ignore"):  # overflow and NaN are results, not mistakes
        return array.astype(dtype.numpy)


def _to_byte_float(array: np.ndarray, dtype: DType) -> np.ndarray:
    """Through a table of the upper 16 bits, with the lower 16 folded into the last one.

    Rounding to odd at 8 significant bits does not change a later rounding to 5 or fewer, and is
    six times faster than the element-wise cast.
    """
    bits = array.view(np.uint32)
    upper = (bits >> np.uint32(16)).astype(np.uint16)
    upper |= (bits & np.uint32(0xFFFF)) != 0
    return _byte_codes(dtype.code)[upper].view(dtype.numpy)


def _to_integer(array: np.ndarray, dtype: DType) -> np.ndarray:
    limits = np.iinfo(dtype.numpy)
    highest = _largest_float32(limits.max)
    rounded = np.rint(array)
    nan = np.isnan(rounded)
    if nan.any():
        rounded = np.where(nan, np.float32(0), rounded)
    result = np.clip(rounded, np.float32(limits.min), highest).astype(dtype.numpy)
    if highest != limits.max:  # 32 bits: float32 has no value for the largest integer
        result[rounded > highest] = limits.max
    return result


@functools.cache
def _largest_float32(limit: int) -> np.float32:
    """The largest float32 that is not above `limit`."""
    value = np.float32(limit)
    return value if int(value) <= limit else np.nextafter(value, np.float32(0))


@functools.cache
def _byte_values(code: int) -> np.ndarray:
    """float32 of the 256 patterns of an 8-bit float format."""
    with np.errstate(all="ignore"):
        return np.arange(256, dtype=np.uint8).view(_BYTE_FLOATS[code].numpy).astype(np.float32)


@functools.cache
def _byte_codes(code: int) -> np.ndarray:
    """The byte for each pattern of the upper 16 bits of a float32."""
    upper = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    with np.errstate(all="ignore"):
        return upper.view(np.float32).astype(_BYTE_FLOATS[code].numpy).view(np.uint8)


_BYTE_FLOATS: dict[int, DType] = {d.code: d for d in (F8E5M2, F8E4M3, F8E3M4)}

_Cast = Callable[[np.ndarray, DType], np.ndarray]


def _casts(special: dict[DType, _Cast], otherwise: _Cast) -> list[_Cast]:
    """Casts indexed by `DType.code`."""
    by_code = {dtype.code: cast for dtype, cast in special.items()}
    return [by_code.get(code, otherwise) for code in range(13)]


_UP_CASTS = _casts(
    {F32: _keep, TF32: _keep, **dict.fromkeys(_BYTE_FLOATS.values(), _byte_to_float32)},
    _astype_float32,
)
_DOWN_CASTS = _casts(
    {
        F32: _keep,
        TF32: _round_to_tf32,
        BF16: _to_bf16_or_f16,
        F16: _to_bf16_or_f16,
        **dict.fromkeys(_BYTE_FLOATS.values(), _to_byte_float),
    },
    _to_integer,
)
