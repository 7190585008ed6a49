"""Casts against an independent reading of the formats: bit fields decoded as exact fractions."""

import struct
import warnings
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from axonc.backends.numerics.cast import from_float32, to_float32
from axonc.backends.numerics.dtypes import DTYPES, DType


@dataclass(frozen=True)
class Layout:
    """1 sign bit, `exponent` bits with the IEEE bias, `mantissa` bits; infinity and NaNs on top."""

    exponent: int
    mantissa: int

    @property
    def bits(self) -> int:
        return 1 + self.exponent + self.mantissa

    @property
    def infinity(self) -> int:
        """Code of +infinity; the codes below it are the finite values in increasing order."""
        return ((1 << self.exponent) - 1) << self.mantissa

    def value(self, code: int) -> Fraction:
        """Exact value of a finite positive code."""
        field, fraction = divmod(code, 1 << self.mantissa)
        bias = (1 << (self.exponent - 1)) - 1
        significand = fraction + ((1 << self.mantissa) if field else 0)
        return significand * Fraction(2) ** (max(field, 1) - bias - self.mantissa)


LAYOUTS = {
    "bf16": Layout(8, 7),
    "f16": Layout(5, 10),
    "f8e5m2": Layout(5, 2),
    "f8e4m3": Layout(4, 3),
    "f8e3m4": Layout(3, 4),
}
FORMATS = [pytest.param(DTYPES[name], layout, id=name) for name, layout in LAYOUTS.items()]
INTEGERS = [pytest.param(d, id=d.name) for d in DTYPES.values() if not d.is_float]


def patterns(layout: Layout) -> np.ndarray:
    return np.arange(1 << layout.bits, dtype=f"u{layout.bits // 8}")


def codes_of(stored: np.ndarray) -> np.ndarray:
    return stored.view(f"u{stored.dtype.itemsize}").astype(np.int64)


def finite_values(layout: Layout) -> np.ndarray:
    """Exact float64 values of the codes 0 .. infinity, which counts as the next power of 2."""
    steps = [layout.value(code) for code in range(layout.infinity)]
    steps.append(steps[-1] + (steps[-1] - steps[-2]))
    return np.array([float(step) for step in steps])


@pytest.mark.parametrize(("dtype", "layout"), FORMATS)
def test_up_cast_of_every_pattern(dtype: DType, layout: Layout) -> None:
    codes = patterns(layout)
    found = to_float32(codes.view(dtype.numpy), dtype)
    assert found.dtype == np.float32
    sign_bit = 1 << (layout.bits - 1)
    for code, value in zip(codes.tolist(), found.tolist(), strict=True):
        magnitude = code & (sign_bit - 1)
        if magnitude > layout.infinity:
            assert np.isnan(value)
        elif magnitude == layout.infinity:
            assert value == (-np.inf if code & sign_bit else np.inf)
        else:
            assert abs(Fraction(value)) == layout.value(magnitude)
            assert np.signbit(value) == bool(code & sign_bit)


@pytest.mark.parametrize(("dtype", "layout"), FORMATS)
def test_every_pattern_survives_the_round_trip(dtype: DType, layout: Layout) -> None:
    stored = patterns(layout).view(dtype.numpy)
    values = to_float32(stored, dtype)
    back = from_float32(values, dtype)
    nan = np.isnan(values)
    assert np.array_equal(codes_of(back)[~nan], codes_of(stored)[~nan])
    assert np.isnan(to_float32(back, dtype)[nan]).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("dtype", "layout"), FORMATS)
def test_midpoints_round_to_even_and_their_neighbours_away(
    dtype: DType, layout: Layout, sign: float
) -> None:
    values = finite_values(layout)
    middle64 = (values[:-1] + values[1:]) / 2
    middle = middle64.astype(np.float32)
    assert np.array_equal(middle.astype(np.float64), middle64)  # float32 holds them exactly
    lower = np.arange(layout.infinity)
    offset = (1 << (layout.bits - 1)) if sign < 0 else 0
    even = lower + (lower & 1)
    down = np.nextafter(middle, np.float32(0))
    up = np.nextafter(middle, np.float32(np.inf))
    for inputs, expected in ((middle, even), (down, lower), (up, lower + 1)):
        found = codes_of(from_float32(np.float32(sign) * inputs, dtype))
        assert np.array_equal(found, expected + offset)


@pytest.mark.parametrize(("dtype", "layout"), FORMATS)
def test_random_bit_patterns_round_to_the_nearest(dtype: DType, layout: Layout) -> None:
    rng = np.random.default_rng(11)
    x = rng.integers(0, 1 << 32, 200_000, dtype=np.uint32).view(np.float32)
    x = x[np.isfinite(x)]
    near = (rng.standard_normal(200_000) * 10.0 ** rng.uniform(-6, 4, 200_000)).astype(np.float32)
    x = np.concatenate((x, near))
    values = finite_values(layout)
    magnitude = np.abs(x.astype(np.float64))
    upper = np.minimum(np.searchsorted(values, magnitude), layout.infinity)
    lower = np.maximum(upper - 1, 0)
    to_lower, to_upper = magnitude - values[lower], values[upper] - magnitude
    tie_goes_up = (to_lower == to_upper) & (lower & 1 == 1)
    expected = np.where((to_upper < to_lower) | tie_goes_up, upper, lower)
    expected = expected + np.where(np.signbit(x), 1 << (layout.bits - 1), 0)
    assert np.array_equal(codes_of(from_float32(x, dtype)), expected)


@pytest.mark.parametrize(("dtype", "layout"), FORMATS)
def test_special_values(dtype: DType, layout: Layout) -> None:
    largest = np.float32(finite_values(layout)[-2])
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, largest, 3.4e38, -3.4e38, 1e-45], np.float32)
    back = to_float32(from_float32(x, dtype), dtype)
    assert not np.signbit(back[0]) and np.signbit(back[1]) and back[1] == 0
    assert back[2] == np.inf and back[3] == -np.inf and np.isnan(back[4])
    assert back[5] == largest
    assert back[6] == np.inf and back[7] == -np.inf and back[8] == 0


def test_nan_payloads_in_the_low_bits_stay_nan() -> None:
    x = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0x7F80FFFF], np.uint32).view(np.float32)
    for dtype in DTYPES.values():
        if dtype.is_float:
            assert np.isnan(to_float32(from_float32(x, dtype), dtype)).all(), dtype


def test_tf32_keeps_ten_mantissa_bits_ties_to_even() -> None:
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 0x7F800000, 100_000, dtype=np.int64)
    ties = (bits & ~0x1FFF) | 0x1000
    for pattern in (bits, ties, ties + 1, ties - 1):
        x = pattern.astype(np.uint32).view(np.float32)
        kept, rest = pattern >> 13, pattern & 0x1FFF
        up = (rest > 0x1000) | ((rest == 0x1000) & (kept & 1 == 1))
        found = from_float32(x, DTYPES["tf32"]).view(np.uint32).astype(np.int64)
        assert np.array_equal(found, (kept + up) << 13)
        assert np.array_equal(from_float32(-x, DTYPES["tf32"]).view(np.uint32) & 0x7FFFFFFF, found)


@pytest.mark.parametrize("name", ["f32", "tf32"])
def test_four_byte_floats_are_loaded_as_they_are(name: str) -> None:
    x = np.array([1.5, -0.0, np.inf, 1e-45], np.float32)
    assert np.array_equal(to_float32(x, DTYPES[name]).view(np.uint32), x.view(np.uint32))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_round_to_even_and_saturate(dtype: DType) -> None:
    limits = np.iinfo(dtype.numpy)
    edges = [float(limits.min), float(limits.max), 0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 254.5, 1e30]
    rng = np.random.default_rng(3)
    spread = rng.standard_normal(20_000) * 2.0 ** rng.uniform(-2, 36, 20_000)
    x = np.concatenate((edges, np.negative(edges), spread)).astype(np.float32)
    x = np.concatenate((x, np.nextafter(x, np.float32(0)), np.nextafter(x, np.float32(np.inf))))
    expected = [min(max(round(value), limits.min), limits.max) for value in x.tolist()]
    assert from_float32(x, dtype).tolist() == expected


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_from_special_values(dtype: DType) -> None:
    limits = np.iinfo(dtype.numpy)
    x = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
    assert from_float32(x, dtype).tolist() == [0, limits.max, limits.min, 0]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_up_cast_round_to_even(dtype: DType) -> None:
    limits = np.iinfo(dtype.numpy)
    if dtype.size_bytes < 4:
        stored = np.arange(limits.min, limits.max + 1).astype(dtype.numpy)
    else:
        rng = np.random.default_rng(8)
        stored = rng.integers(limits.min, limits.max, 20_000, dtype=dtype.numpy, endpoint=True)
        ties = np.array([2**24, 2**24 + 1, 2**24 + 3, 2**30 + 64, limits.min, limits.max])
        stored = np.concatenate((stored, ties.astype(dtype.numpy)))
    expected = [struct.unpack("f", struct.pack("f", float(v)))[0] for v in stored.tolist()]
    assert to_float32(stored, dtype).tolist() == expected


def test_casts_do_not_warn_nor_need_contiguous_arrays() -> None:
    x = np.array([np.nan, 1e38, np.inf, -7.25, 1e-42, 3.0], np.float32)[::2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype in DTYPES.values():
            stored = from_float32(x, dtype)
            assert stored.dtype == dtype.numpy and stored.shape == x.shape
            reversed_view = to_float32(stored[::-1], dtype)
            assert np.array_equal(reversed_view[::-1], to_float32(stored, dtype), equal_nan=True)
