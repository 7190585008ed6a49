"""erf against math.erf in float64."""

import math

import numpy as np

from axonc.backends.numerics.error_function import BLOCK_ELEMENTS, erf

REFERENCE = np.vectorize(math.erf, otypes=[np.float64])


def test_error_bound() -> None:
    """1e-7 absolute and 2 units in the last place (measured: 7.6e-8 and 1.3 on AVX-512)."""
    x = np.concatenate(
        (
            np.linspace(-4.2, 4.2, 200_001),
            np.linspace(0.9, 0.94, 20_001),
            10.0 ** np.linspace(-44, 38, 20_001),
        )
    ).astype(np.float32)
    expected = REFERENCE(x.astype(np.float64))
    error = np.abs(erf(x) - expected)
    assert error.max() <= 1e-7
    assert (error / np.spacing(np.abs(expected).astype(np.float32))).max() <= 2
    assert np.abs(erf(x)).max() <= 1


def test_special_values() -> None:
    found = erf(np.array([0.0, -0.0, np.inf, -np.inf, 4.0, -5.0, np.nan], np.float32))
    assert found[:6].tolist() == [0.0, -0.0, 1.0, -1.0, 1.0, -1.0]
    assert np.signbit(found[1]) and np.isnan(found[6])


def test_pieces_and_strides_do_not_matter() -> None:
    x = np.random.default_rng(0).standard_normal((3, BLOCK_ELEMENTS)).astype(np.float32)
    whole = erf(x)
    assert np.array_equal(whole[1], erf(x[1]))
    assert np.array_equal(erf(x[:, ::2]), whole[:, ::2])
    assert np.array_equal(erf(-x), -whole)
