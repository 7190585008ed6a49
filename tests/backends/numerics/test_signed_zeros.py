"""Signs of zero where numpy leaves them open, and the types without any."""

import ml_dtypes
import numpy as np
import pytest

from axonc.backends.numerics.signed_zeros import maximum, minimum, sign

FLOATS = (np.float32, np.float16, ml_dtypes.bfloat16)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [1, 7, 64])
def test_zeros_are_ordered(dtype: type, size: int) -> None:
    """Whatever numpy does with the last elements of a vector."""
    plus, minus = np.zeros(size, dtype), -np.zeros(size, dtype)
    for a, b in ((plus, minus), (minus, plus), (plus, minus[0]), (minus, plus[0])):
        assert not np.signbit(maximum(a, b)).any()
        assert np.signbit(minimum(a, b)).all()
    assert np.signbit(maximum(minus, minus)).all()
    assert not np.signbit(minimum(plus, plus)).any()


def test_other_numbers_are_as_numpy_says() -> None:
    a, b = np.random.default_rng(0).choice([0, -1, 2, np.nan, np.inf], (2, 1000))
    np.testing.assert_array_equal(maximum(a, b), np.maximum(a, b))
    np.testing.assert_array_equal(minimum(a, b), np.minimum(a, b))


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint32])
def test_integers_have_one_zero(dtype: type) -> None:
    a, b = np.random.default_rng(0).integers(0, 2, (2, 50)).astype(dtype)
    np.testing.assert_array_equal(minimum(a, b), np.minimum(a, b))


@pytest.mark.parametrize("dtype", FLOATS)
def test_sign_keeps_the_sign_of_zero(dtype: type) -> None:
    found = sign(np.array([-0.0, 0.0, -2, 3, np.nan], dtype))
    assert found.dtype == dtype
    np.testing.assert_array_equal(np.signbit(found), np.signbit(np.array([-0.0, 0, -1, 1, 1])))
