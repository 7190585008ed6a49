"""Gathers of windows and batches, and scatters of many windows, in checked mode, against JAX."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import axonc

I = np.array([3, 0, 2], np.int32)  # noqa: E741


def values(*shape: int, dtype: str = "float32") -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    return rng.integers(-9, 10, shape).astype(dtype)


def check(function: Callable[..., object], *arrays: np.ndarray) -> None:
    """Exactly what JAX gives: the numbers are small integers."""
    executable = axonc.compile(jax.jit(function, keep_unused=True).lower(*arrays))
    expected = jax.tree.leaves(jax.jit(function)(*arrays))
    for found, wanted in zip(executable.run(*arrays, checked=True), expected, strict=True):
        np.testing.assert_array_equal(found, np.asarray(wanted))


ALONG = np.array([[1, 2], [0, 8], [5, 5], [7, 3]], np.int32)


def take(axis: int) -> Callable[..., object]:
    return lambda x, i: jnp.take_along_axis(x, i, axis)


def clamped_windows(x: jax.Array, i: jax.Array) -> jax.Array:
    return jax.vmap(lambda i: lax.dynamic_slice(x, (i, i), (3, 2)))(i)


GATHERS: dict[str, tuple[Callable[..., object], tuple[np.ndarray, ...]]] = {
    "along an axis": (take(1), (values(4, 9), ALONG)),
    "along the first axis": (take(0), (values(6, 3, 2), values(4, 3, 2, dtype="int32") % 6)),
    "narrow indices": (take(1), (values(4, 130), ALONG.astype(np.int8))),
    "a window of each of a batch": (
        lambda x, i: jax.vmap(lambda c, i: lax.dynamic_slice(c, (i, 1), (2, 4)))(x, i),
        (values(3, 10, 8), I),
    ),
    "windows that are clamped": (clamped_windows, (values(5, 7), np.array([-4, 1, 9], np.int32))),
    "two dims at once": (lambda x, i: x[:, i, :, i], (values(2, 5, 3, 4), I)),
}


@pytest.mark.parametrize("name", GATHERS)
def test_gathers(name: str) -> None:
    function, arrays = GATHERS[name]
    check(function, *arrays)


@pytest.mark.parametrize("seed", range(8))
def test_random_gathers(seed: int) -> None:
    """Any dims indexed, in any order, with windows; dims of one element dropped or not."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 5))
    shape = tuple(int(n) for n in rng.integers(1, 6, rank))
    indexed = tuple(int(d) for d in rng.permutation(rank)[: rng.integers(1, rank + 1)])
    sizes = tuple(int(rng.integers(1, n + 1)) for n in shape)
    dropped = tuple(d for d in range(rank) if sizes[d] == 1 and rng.integers(2))
    count = rank - len(dropped)
    offset = tuple(sorted(int(d) for d in rng.permutation(count + 2)[:count]))
    numbers = lax.GatherDimensionNumbers(offset, dropped, indexed)
    indices = rng.integers(-2, 7, (2, 3, len(indexed))).astype(np.int32)
    check(lambda x, i: lax.gather(x, i, numbers, sizes, mode="clip"), values(*shape), indices)


COMBINATIONS = ["set", "add", "multiply", "min", "max"]


@pytest.mark.parametrize("how", COMBINATIONS)
@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8"])
def test_scatters_of_rows(how: str, dtype: str) -> None:
    """Some rows twice, and one that lies outside; set ones only once."""
    places = np.array([3, 0, 99] if how == "set" else [3, 0, 3, 99, 0], np.int32)
    x, new = values(5, 7, dtype=dtype), values(len(places), 7, dtype=dtype)
    check(lambda x, i, new: getattr(x.at[i], how)(new), x, places, new)


def test_indices_that_are_put_together_on_chip() -> None:
    """Vectors of two computed indices: single rows of a tensor that lies on partitions."""
    x, i, new = values(4, 9), np.array([3, -1], np.int32), values(2)
    check(lambda x, i, new: x.at[i, i + 2].add(new), x, i, new)


def test_rows_of_a_batch() -> None:
    """What a cache needs whose sequences have different lengths."""
    update = jax.vmap(lambda c, r, i: lax.dynamic_update_slice(c, r, (0, i, 0)))
    check(update, values(3, 2, 10, 8), values(3, 2, 1, 8), I)


def test_the_gradient_of_a_table() -> None:
    ids = np.array([[4, 1, 4], [0, 4, 1]], np.int32)
    check(jax.grad(lambda t, i: (t[i] * 2).sum()), values(6, 5), ids)


def test_the_gradient_of_a_choice() -> None:
    check(jax.grad(lambda x, i: jnp.take_along_axis(x, i[:, None], 1).sum()), values(3, 9), I)


def test_places_known_at_compile_time() -> None:
    check(lambda x: x.at[jnp.array([1, 1, 3])].add(x[:3]), values(5, 7))


@pytest.mark.parametrize("seed", range(8))
def test_random_scatters(seed: int) -> None:
    """Windows anywhere, overlapping, some beyond the edges."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 4))
    shape = tuple(int(n) for n in rng.integers(1, 6, rank))
    indexed = tuple(int(d) for d in rng.permutation(rank)[: rng.integers(1, rank + 1)])
    sizes = [int(rng.integers(1, n + 1)) for n in shape]
    inserted = tuple(d for d in range(rank) if sizes[d] == 1 and rng.integers(2))
    kept = [n for d, n in enumerate(sizes) if d not in inserted]
    window = tuple(sorted(int(d) for d in rng.permutation(len(kept) + 1)[: len(kept)]))
    (batch_dim,) = set(range(len(kept) + 1)) - set(window)
    numbers = lax.ScatterDimensionNumbers(window, inserted, indexed)
    indices = rng.integers(-1, 6, (4, len(indexed))).astype(np.int32)
    updates = values(*kept[:batch_dim], 4, *kept[batch_dim:])

    def added(x: jax.Array, i: jax.Array, u: jax.Array) -> jax.Array:
        return lax.scatter_add(x, i, u, numbers, mode="drop")

    check(added, values(*shape), indices, updates)


MANY = np.random.default_rng(0).integers(-9, 45, 2000).astype(np.int32)
"""Places in a table of 40 rows, most of them many times, some outside."""


@pytest.mark.parametrize("how", ["add", "set", "min", "max"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "uint32", "int8", "bool"])
def test_scatters_of_many_windows(how: str, dtype: str) -> None:
    if (how, dtype) == ("add", "bool"):
        pytest.skip("JAX adds no booleans")
    x, new = values(40, 3, dtype=dtype), values(len(MANY), 3, dtype=dtype)
    check(lambda x, i, new: getattr(x.at[i], how)(new, mode="drop"), x, MANY, new)


@pytest.mark.parametrize("how", ["add", "min", "max"])
@pytest.mark.parametrize("dtype", ["int32", "uint32"])
def test_scatters_of_large_integers(how: str, dtype: str) -> None:
    """Sums wrap; halves of numbers decide where the other halves are equal."""
    rng, limits = np.random.default_rng(1), np.iinfo(dtype)
    edges = np.array([limits.min, limits.min + 1, 0, 1, 65535, 65536, limits.max], dtype)
    x, new = rng.choice(edges, 40), rng.choice(edges, len(MANY))
    new[::2] = rng.integers(limits.min, limits.max, len(MANY) // 2, dtype)
    check(lambda x, i, new: getattr(x.at[i], how)(new, mode="drop"), x, MANY, new)


@pytest.mark.parametrize("shape", [(3, 40, 5), (300, 40, 5)])
def test_scatters_along_a_middle_dim(shape: tuple[int, int, int]) -> None:
    """Of few rows the dims before are rows, too; of many the table is transposed."""
    new = values(shape[0], 200, shape[2])
    check(lambda x, i, new: x.at[:, i].add(new), values(*shape), MANY[:200], new)


def test_a_table_that_is_given_away_is_updated_in_place() -> None:
    x, new = values(400, 8), values(2000, 8)
    add = jax.jit(lambda x, i, new: x.at[i].add(new), donate_argnums=0, keep_unused=True)
    executable = axonc.compile(add.lower(x, MANY, new))
    (found,) = executable.run(x, MANY, new, checked=True)
    np.testing.assert_array_equal(found, jnp.asarray(x).at[MANY].add(new))
    assert [t.name for t in executable.compiled.program.tensors if t.alias]


def test_a_table_of_more_rows_than_float32_counts() -> None:
    rows = 2**24 + 40
    i = np.array([2**24 + 1, 2**24 + 3, rows - 1, rows, 2**31 - 1, -1, 5], np.int32)
    x = np.arange(rows, dtype=np.int32)
    executable = axonc.compile(jax.jit(lambda x, i: x[i]).lower(x, i))
    (found,) = executable.run(x, i)
    np.testing.assert_array_equal(found, x[np.where(i < 0, i + rows, np.minimum(i, rows - 1))])


def test_too_many_windows_are_refused() -> None:
    x, i = values(5), np.zeros(2000, np.int32)
    lowered = jax.jit(lambda x, i: x.at[i].multiply(2.0)).lower(x, i)
    with pytest.raises(axonc.UnsupportedOpError, match="scatter of 2000 windows by .*multiply"):
        axonc.compile(lowered)
