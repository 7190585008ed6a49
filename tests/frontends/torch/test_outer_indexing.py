"""Slices instead of gathers: numpy's own indexing is the oracle."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from axonc.frontends.torch.outer_indexing import progression, take_by_slices

X = np.arange(4 * 5 * 6).reshape(4, 5, 6)
RANGE = np.arange


@pytest.mark.parametrize(
    ("indices", "first"),
    [
        ([RANGE(1, 4)], 0),
        ([RANGE(0, 5, 2)], 1),
        ([np.array(-1)], 0),
        ([np.zeros((2, 3), int)], 0),
        ([RANGE(4)[:, None], RANGE(2, 5)[None, :]], 0),
        ([RANGE(4)[None, :], RANGE(2, 5)[:, None]], 0),
        ([RANGE(1, 5)[None, :], RANGE(0, 6, 3)[:, None]], 1),
        ([np.zeros((1, 1, 1), int), RANGE(5)[None, None, :]], 0),
        ([RANGE(-3, 0)], 2),
    ],
)
def test_slices_agree_with_numpy(indices: list[np.ndarray], first: int):
    found = take_by_slices(jnp.asarray(X), indices, first)
    np.testing.assert_array_equal(found, X[(slice(None),) * first + tuple(indices)])


@pytest.mark.parametrize(
    "indices",
    [
        [np.array([0, 2, 3])],
        [np.array([3, 2, 1])],
        [np.array([0, 1, 2]), np.array([0, 1, 2])],
        [np.array([0, 1, 4])],
        [np.array([[0, 1], [1, 2]])],
    ],
    ids=["uneven", "descending", "diagonal", "out of range", "two axes"],
)
def test_no_slices_where_it_is_no_range(indices: list[np.ndarray]):
    assert take_by_slices(jnp.asarray(X), indices) is None


def test_empty_index_is_no_progression():
    assert progression(np.zeros(0, int), 4) is None
