"""Slices and updates at places known when the program runs, in checked mode, against JAX."""

from __future__ import annotations

import random
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc

RNG = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def check(function: Callable[..., object], *arrays: np.ndarray) -> None:
    """The compiled program gives what JAX gives; exactly, as nothing is rounded here."""
    expected = jax.tree.leaves(jax.jit(function)(*arrays))
    executable = axonc.compile(jax.jit(function, keep_unused=True).lower(*arrays))
    found = executable.run(*arrays, checked=True)
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(left, np.asarray(right))


def place(*values: int) -> list[np.ndarray]:
    return [np.int32(v) for v in values]


SIZES = (1, 2, 3, 7, 16, 65, 130)


def random_box(seed: int) -> tuple[list[int], list[int], list[int]]:
    """(shape, sizes of a box in it, indices, some of them outside)."""
    rnd = random.Random(seed)
    shape = [rnd.choice(SIZES) for _ in range(rnd.choice([1, 2, 2, 3, 4]))]
    while np.prod(shape) > 30_000:
        shape[shape.index(max(shape))] = 3
    sizes = [rnd.choice([1, n, rnd.randint(1, n)]) for n in shape]
    indices = [rnd.choice([0, -3, n, rnd.randint(0, n)]) for n in shape]
    return shape, sizes, indices


def seeds(quick: int) -> list[object]:
    slow = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(quick, 10 * quick)]
    return [*range(quick), *slow]


@pytest.mark.parametrize("seed", seeds(8))
def test_slices_of_arguments(seed: int) -> None:
    shape, sizes, indices = random_box(seed)

    def sliced(x: jax.Array, *at: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(x, at, sizes, allow_negative_indices=False)

    check(sliced, floats(*shape), *place(*indices))


@pytest.mark.parametrize("seed", seeds(8))
def test_updates_of_arguments_and_of_computed_values(seed: int) -> None:
    shape, sizes, indices = random_box(100 + seed)

    def updated(x: jax.Array, u: jax.Array, *at: jax.Array) -> tuple[jax.Array, jax.Array]:
        write = jax.lax.dynamic_update_slice
        first = write(x, u, at, allow_negative_indices=False)
        return first, write(x + 1, u * 2, at, allow_negative_indices=False)

    check(updated, floats(*shape), floats(*sizes), *place(*indices))


def test_the_old_tensor_is_still_read_after_an_update() -> None:
    def both(x: jax.Array, u: jax.Array, i: jax.Array) -> tuple[jax.Array, ...]:
        a = jax.lax.dynamic_update_slice(x, u, (i, 0))
        b = jax.lax.dynamic_update_slice(a, u + 1, (i + 1, 0))
        c = jax.lax.dynamic_update_slice(b, u + 2, (i + 2, 0))
        return a.T + 1, c, x

    check(both, floats(9, 40), floats(2, 40), *place(3))


def test_a_slice_of_an_updated_tensor_sees_the_update() -> None:
    def read_back(x: jax.Array, u: jax.Array, i: jax.Array) -> jax.Array:
        y = jax.lax.dynamic_update_slice(x, u, (0, i, 0))
        return jax.lax.dynamic_slice(y, (1, i - 1, 0), (2, 3, 16)) * 2

    check(read_back, floats(3, 20, 16), floats(3, 1, 16), *place(7))


def test_known_places_in_arguments() -> None:
    def known(x: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = jax.lax.dynamic_update_slice(x, u, (2, 3))
        return y, jax.lax.dynamic_update_slice(jnp.zeros((8, 8)), u, (1, 5))

    check(known, floats(8, 8), floats(4, 3))


@pytest.mark.parametrize("index", [-20, -1, 0, 6, 9, 100])
def test_scatter_of_one_window_outside_the_tensor_changes_nothing(index: int) -> None:
    def scattered(x: jax.Array, u: jax.Array, i: jax.Array) -> tuple[jax.Array, ...]:
        return x.at[:, i].set(u), x.at[i, 2].add(u[0]), x.at[i].get(mode="clip"), x[:, i, 1:]

    check(scattered, floats(7, 9, 16), floats(7, 16), *place(index))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int32"])
def test_index_types(dtype: str) -> None:
    def sliced(x: jax.Array, i: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(x, (i, i * 0), (2, 5), allow_negative_indices=False)

    check(sliced, floats(300, 5), np.array(100, dtype))
    if dtype == "uint32":
        check(sliced, floats(300, 5), np.array(2**32 - 5, dtype))


@pytest.mark.parametrize("dtype", ["bfloat16", "int32", "bool"])
def test_element_types(dtype: str) -> None:
    def moved(x: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.lax.dynamic_slice(x, (i, i), (3, 4)), x.at[i].set(x[i + 1])

    check(moved, (floats(12, 10) * 4).astype(jnp.dtype(dtype)), *place(5))


def test_the_time_of_a_program_with_computed_places_is_known_without_running_it() -> None:
    def sliced(x: jax.Array, i: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(x, (i, 0), (2, 5))

    executable = axonc.compile(jax.jit(sliced).lower(floats(30, 5), np.int32(0)))
    assert executable.modelled_seconds > 0
