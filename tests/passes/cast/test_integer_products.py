"""Products of integer matrices on the matrix engine are exact, and wrap as integers do."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import axonc

KINDS = ["int8", "uint8", "int16", "uint16", "int32", "uint32"]


def values(dtype: str, *shape: int) -> np.ndarray:
    """All bits random, so the extremes of 8 bits occur."""
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(sum(shape))
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def product(a: np.ndarray, b: np.ndarray, result: str) -> np.ndarray:
    """Modulo 2^64, then what is left of it."""
    return (a.astype(np.int64) @ b.astype(np.int64)).astype(result)


def compiled(a: np.ndarray, b: np.ndarray, result: str, **options: object) -> axonc.Executable:
    function = jax.jit(lambda a, b: lax.dot(a, b, preferred_element_type=result))
    return axonc.compile(function.lower(a, b), **options)


@pytest.mark.parametrize("dtype", KINDS)
def test_every_type(dtype: str) -> None:
    a, b = values(dtype, 9, 70), values(dtype, 70, 5)
    result = "uint32" if dtype.startswith("u") else "int32"
    (found,) = compiled(a, b, result).run(a, b, checked=True)
    np.testing.assert_array_equal(found, product(a, b, result))


@pytest.mark.parametrize("low, high", [(-128, -128), (-128, 127), (127, 127)])
@pytest.mark.parametrize("depth", [1024, 1025, 3000])
def test_long_sums_of_extremes(low: int, high: int, depth: int) -> None:
    """1024 products of -128 are 2^24, the last sum that float32 surely holds."""
    a, b = np.full((3, depth), low, np.int8), np.full((depth, 4), high, np.int8)
    (found,) = compiled(a, b, "int32").run(a, b, checked=True)
    np.testing.assert_array_equal(found, product(a, b, "int32"))


def test_several_contracted_dims() -> None:
    a, b = values("int8", 2, 3, 40, 50), values("int8", 2, 50, 40, 7)

    def function(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.einsum("bxyk,bkyz->bxz", a, b, preferred_element_type=jnp.int32)

    (found,) = axonc.compile(jax.jit(function).lower(a, b)).run(a, b, checked=True)
    expected = np.einsum("bxyk,bkyz->bxz", a.astype(np.int64), b.astype(np.int64))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("result", ["int8", "int16", "float32"])
def test_results_of_other_types(result: str) -> None:
    a, b = values("int8", 4, 100), values("int8", 100, 6)
    (found,) = compiled(a, b, result).run(a, b, checked=True)
    np.testing.assert_array_equal(found, product(a, b, result))


@pytest.mark.parametrize(
    "options",
    [
        {"auto_cast": "all", "auto_cast_type": "fp8_e4m3"},
        {"auto_cast": "all"},
        {"auto_cast": "matmult", "auto_cast_type": "fp16"},
        {"auto_cast": "matmult", "weight_dtype": "fp8_e5m2"},
    ],
)
def test_casts_leave_them_exact(options: dict[str, str]) -> None:
    a, b = values("int8", 4, 100), values("int8", 100, 6)
    executable = compiled(a, b, "int32", weights={"b": b}, **options)
    np.testing.assert_array_equal(executable.run(a)[0], product(a, b, "int32"))


@pytest.mark.parametrize("auto_cast", ["matmult", "all"])
def test_casts_leave_convolutions_exact(auto_cast: str) -> None:
    x, k = values("int8", 1, 6, 6, 5), values("int8", 3, 3, 5, 4)

    def function(x: jax.Array, k: jax.Array) -> jax.Array:
        dims = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=dims, preferred_element_type=jnp.int32
        )

    executable = axonc.compile(jax.jit(function).lower(x, k), auto_cast=auto_cast)
    np.testing.assert_array_equal(executable.run(x, k)[0], function(x, k))


def test_weights_of_8_bits_are_read_as_they_are() -> None:
    a, b = values("int8", 4, 256), values("int8", 256, 512)
    executable = compiled(a, b, "int32", weights={"b": b})
    np.testing.assert_array_equal(executable.run(a, checked=True)[0], product(a, b, "int32"))
    assert executable.profile().hbm_bytes_read < 1.1 * (a.size + b.size)
