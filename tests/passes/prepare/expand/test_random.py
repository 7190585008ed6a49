"""Random numbers of JAX: the bits of XLA on the CPU, and floats made of them."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import axonc

KEY = np.array([7, 2**32 - 42], np.uint32)
STATE = np.array([1, 2**32 - 1, 2**32 - 1, 2**32 - 2], np.uint32)
"""Its counters run over into higher words."""


def check(function: Callable[..., object], *inputs: np.ndarray, tolerance: float = 0.0) -> None:
    lowered = jax.jit(function, keep_unused=True).lower(*inputs)
    expected = jax.tree.leaves(jax.jit(function)(*inputs))
    for found, wanted in zip(
        axonc.compile(lowered).run(*inputs, checked=True), expected, strict=True
    ):
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("algorithm", ("default", "three_fry", "philox"))
@pytest.mark.parametrize("dtype", ("uint8", "uint32", "uint64"))
@pytest.mark.parametrize("shape", ((3,), (4, 5), (1,), (3, 5, 7)))
def test_rng_bit_generator(algorithm: str, dtype: str, shape: tuple[int, ...]) -> None:
    with jax.enable_x64(True):
        kind = np.dtype(dtype)
        number = getattr(jax.lax.RandomAlgorithm, f"RNG_{algorithm.upper()}")
        check(lambda s: jax.lax.rng_bit_generator(s, shape, kind, algorithm=number), STATE)


DRAWS: dict[str, Callable[[jax.Array], object]] = {
    "bits": lambda k: jr.bits(k, (3, 7)),
    "bits of 8": lambda k: jr.bits(k, (3, 7), np.uint8),
    "uniform": lambda k: jr.uniform(k, (5, 3), minval=-1),
    "uniform in bf16": lambda k: jr.uniform(k, (5,), jnp.bfloat16),
    "split and fold in": lambda k: jr.fold_in(jr.split(k, 3)[1], 7),
    "a seed": lambda k: jr.key_data(jr.key(k[1])),
    "bernoulli": lambda k: jr.bernoulli(k, 0.3, (129,)),
    "randint": lambda k: jr.randint(k, (9,), -3, 100),
    "categorical": lambda k: jr.categorical(k, jnp.arange(8.0), shape=(5,)),
    "permutation": lambda k: jr.permutation(k, 10),
    "choice": lambda k: jr.choice(k, 10, (4,), replace=False),
}
FLOATS: dict[str, Callable[[jax.Array], object]] = {
    "normal": lambda k: jr.normal(k, (4, 33)),
    "gumbel": lambda k: jr.gumbel(k, (9,)),
    "truncated normal": lambda k: jr.truncated_normal(k, -2.0, 2.0, (9,)),
    "exponential": lambda k: jr.exponential(k, (9,)),
}


@pytest.mark.parametrize("partitionable", (True, False))
@pytest.mark.parametrize("name", DRAWS)
def test_draws_of_jax(name: str, partitionable: bool) -> None:
    with jax.threefry_partitionable(partitionable):
        check(DRAWS[name], KEY)


@pytest.mark.parametrize("name", FLOATS)
def test_floats_by_functions_of_the_machine(name: str) -> None:
    check(FLOATS[name], KEY, tolerance=2e-5)


@pytest.mark.parametrize("name", ("rbg", "unsafe_rbg"))
def test_keys_of_other_generators(name: str) -> None:
    def function(state: jax.Array) -> jax.Array:
        first, second = jr.split(jr.wrap_key_data(state, impl=name))
        return jr.uniform(first, (5,)) + jr.uniform(jr.fold_in(second, 3), (5,))

    check(function, STATE)
