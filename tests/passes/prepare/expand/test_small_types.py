"""Integers shorter than a byte, and 8-bit floats that the machine lacks: ml_dtypes and XLA."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import axonc

FLOATS = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e4m3b11fnuz")


def run(function: Callable[..., object], *inputs: np.ndarray) -> list[np.ndarray]:
    lowered = jax.jit(function, keep_unused=True).lower(*inputs)
    return axonc.compile(lowered).run(*inputs, checked=True)


def check(function: Callable[..., object], *inputs: np.ndarray) -> None:
    expected = jax.tree.leaves(jax.jit(function)(*inputs))
    for found, wanted in zip(run(function, *inputs), expected, strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(
            found.astype(np.float32), np.asarray(wanted).astype(np.float32)
        )


def pairs(name: str) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of numbers of 4 bits."""
    limits = ml_dtypes.iinfo(name)
    every = np.arange(int(limits.min), int(limits.max) + 1).astype(getattr(ml_dtypes, name))
    a, b = np.meshgrid(every, every, indexing="ij")
    return a, b


@pytest.mark.parametrize("name", ("int4", "uint4"))
def test_arithmetic_of_four_bits(name: str) -> None:
    def function(a: jax.Array, b: jax.Array) -> tuple[jax.Array, ...]:
        lax = jax.lax
        shifts = (lax.shift_left, lax.shift_right_logical, lax.shift_right_arithmetic)
        others = (lax.add, lax.sub, lax.mul, lax.max, lax.bitwise_xor, lax.lt, lax.div, lax.rem)
        return (
            *(f(a, b) for f in (*shifts, *others)),
            -a,
            ~a,
            lax.clz(a) if name == "uint4" else a,
        )

    check(function, *pairs(name))


@pytest.mark.parametrize("name", ("int4", "uint4", "int2", "uint2"))
def test_bits_are_packed_into_bytes_and_words(name: str) -> None:
    kind = np.dtype(getattr(ml_dtypes, name))
    parts = 8 // int(name[-1])
    x = np.arange(-24, 24, dtype=np.int8).reshape(6, 8)
    check(lambda x: jax.lax.bitcast_convert_type(x, kind), x)
    check(lambda x: jax.lax.bitcast_convert_type(x.reshape(-1, parts), np.int8), x.astype(kind))
    check(lambda x: (x.astype(kind), x.astype(np.float32).astype(kind) * 0), x % 2)


def test_dequantised_weights() -> None:
    weights, scales = pairs("int4")[0], np.linspace(0.5, 2, 16, dtype=np.float32)
    check(lambda x, w: x @ (w.astype(np.float32) * scales), np.eye(16, dtype=np.float32), weights)


@pytest.mark.parametrize("name", (*FLOATS, "float8_e8m0fnu"))
def test_every_float_of_eight_bits(name: str) -> None:
    every = np.arange(256, dtype=np.uint8).view(getattr(ml_dtypes, name))
    check(lambda x: (x.astype(np.float32), x[::-1]), every)


@pytest.mark.parametrize("name", FLOATS)
def test_rounding_to_eight_bits(name: str) -> None:
    """Ties, the smallest numbers and what is too large, as ml_dtypes has it."""
    kind = np.dtype(getattr(ml_dtypes, name))
    steps = np.array([1, 1.0625, 1.125, 1.1875, 1.3125, 1.5, 1.9375, -1.4375], np.float32)
    special = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 448, 464, 465, 240])
    x = np.concatenate([np.outer(np.float32(2) ** np.arange(-140, 40), steps).reshape(-1), special])
    x = x.astype(np.float32)
    (found,) = run(lambda x: x.astype(kind), x)
    wanted = x.astype(kind)
    is_nan = np.isnan(wanted.astype(np.float32))
    assert np.array_equal(is_nan, np.isnan(found.astype(np.float32)))
    assert np.array_equal(found.view(np.uint8)[~is_nan], wanted.view(np.uint8)[~is_nan])


def test_arithmetic_and_products_of_eight_bit_floats() -> None:
    x = np.arange(64, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).reshape(8, 8)
    check(lambda a: (a + a * a, jnp.dot(a, a, preferred_element_type=np.float32)), x)
