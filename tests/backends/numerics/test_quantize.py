"""8-bit storage: errors within the format's bound, nothing infinite, edge values."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from axonc.backends.numerics.format_names import FORMAT_NAMES
from axonc.backends.numerics.quantize import FORMATS, dequantize, quantize, scales_of
from axonc.diagnostics import UsageError

MATRICES = arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    elements=st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False),
)
EACH_FORMAT = pytest.mark.parametrize("name", FORMATS)


def bound(array: np.ndarray, scales: np.ndarray, name: str) -> np.ndarray:
    """Of |stored - value|, in float64; the last terms are float32's own rounding of the quotient
    and of the product."""
    wide = np.asarray(array, np.float64)
    steps = FORMATS[name].rounding_error(wide / scales) * scales
    return steps * (1 + 1e-6) + np.abs(wide) * 3e-7


@EACH_FORMAT
@pytest.mark.parametrize("kept", [(), (0,), (1,), (0, 1)])
@given(array=MATRICES)
@settings(max_examples=50, deadline=None)
def test_values_are_within_half_a_step(name: str, kept: tuple[int, ...], array: np.ndarray) -> None:
    scales = scales_of(array, kept, FORMATS[name])
    found = dequantize(quantize(array, scales, FORMATS[name]), scales, FORMATS[name])
    assert np.isfinite(found).all()
    error = np.abs(found.astype(np.float64) - array)
    assert (error <= bound(array, scales, name)).all()


@EACH_FORMAT
@given(x=MATRICES, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_product_is_within_the_sum_of_the_bounds(name: str, x: np.ndarray, seed: int) -> None:
    kind = FORMATS[name]
    w = np.random.default_rng(seed).standard_normal((x.shape[1], 5)).astype(np.float32)
    scales = scales_of(w, (1,), kind)
    stored = quantize(w, scales, kind).astype(np.float64)
    wide = x.astype(np.float64)
    found = (wide @ stored) * scales  # as behind the product
    largest = np.abs(wide) @ bound(w, scales.astype(np.float64), name)
    assert (np.abs(found - wide @ w.astype(np.float64)) <= largest * (1 + 1e-9) + 1e-30).all()


@EACH_FORMAT
def test_the_largest_of_a_channel_is_the_largest_of_the_format(name: str) -> None:
    kind = FORMATS[name]
    array = np.array([[1e-20, -3.0, 2.0], [5e10, 1.0, 0.0]], np.float32)
    stored = quantize(array, scales_of(array, (0,), kind), kind).astype(np.float32)
    assert stored[0, 1] == -kind.limit
    assert stored[1, 0] == kind.limit


@EACH_FORMAT
def test_beyond_the_scale_numbers_saturate(name: str) -> None:
    kind = FORMATS[name]
    stored = quantize(np.array([1e30, -np.inf, 0.0], np.float32), np.float32(1), kind)
    assert stored.astype(np.float32).tolist() == [kind.limit, -kind.limit, 0.0]


def test_limits_are_those_of_the_machine() -> None:
    """machine.md#formats: e4m3 has infinities, so 240 and not 448."""
    limits = {name: kind.limit for name, kind in FORMATS.items()}
    assert limits == {"fp8_e4m3": 240, "fp8_e5m2": 57344, "fp8_e3m4": 15.5, "int8": 127}


@EACH_FORMAT
def test_channels_of_zeros_and_of_denormals_stay_finite(name: str) -> None:
    array = np.zeros((3, 2), np.float32)
    array[1] = np.finfo(np.float32).smallest_subnormal
    scales = scales_of(array, (0,), FORMATS[name])
    assert scales[0, 0] == 1 and (scales > 0).all()
    found = dequantize(quantize(array, scales, FORMATS[name]), scales, FORMATS[name])
    assert np.isfinite(found).all() and not found[0].any()


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_infinities_and_nan_have_no_scale(bad: float) -> None:
    with pytest.raises(UsageError, match="infinity or NaN"):
        scales_of(np.array([1, bad], np.float32), (), FORMATS["fp8_e4m3"])


def test_a_bf16_weight_and_an_empty_one() -> None:
    array = np.array([[1.5, -2.0]], ml_dtypes.bfloat16)
    assert scales_of(array, (), FORMATS["int8"]).item() == pytest.approx(2 / 127)
    assert scales_of(np.zeros((0, 4), np.float32), (1,), FORMATS["int8"]).tolist() == [[1] * 4]


def test_the_names_for_option_lists_are_those_of_the_formats() -> None:
    assert FORMAT_NAMES == tuple(FORMATS)
