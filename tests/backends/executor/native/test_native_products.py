"""Products in native code: against float64, at the borders of panels and rounds, in pieces."""

from __future__ import annotations

import numpy as np
import pytest
from matmul_chains import assert_modes_agree, random_chain

from axonc.backends.executor import machine
from axonc.backends.executor.native.native_code import has_wide_vectors
from axonc.backends.executor.native.native_products import Product, Rows, bind_product
from axonc.backends.executor.native.product_code import ROUND_ROWS
from axonc.backends.executor.native.workers import Workers
from axonc.backends.numerics.dtypes import BF16, F16, F32
from axonc.backends.numerics.strided import as_strided

pytestmark = pytest.mark.skipif(not has_wide_vectors(), reason="this CPU has no 512-bit vectors")

GUARD = np.float32(-777)


def rows_of(rng, views, rows, columns, dtype) -> Rows:
    """Views in one array with gaps around them, as tiles of SBUF have; the gaps are NaN."""
    memory = np.full((views * rows, columns + 7), np.nan, np.float32)
    memory[:, 3 : 3 + columns] = rng.standard_normal((views * rows, columns))
    stored = memory.astype(dtype.numpy)[:, 3 : 3 + columns]
    return Rows([stored[n * rows : (n + 1) * rows] for n in range(views)], dtype)


def matrix(rows: Rows) -> np.ndarray:
    return np.concatenate(rows.views).astype(np.float64)


def results_like_psum(tiles, rows, columns) -> tuple[np.ndarray, np.ndarray]:
    """(memory with guards, [tiles, rows, columns] view of it): tiles side by side in a row."""
    memory = np.full((rows, tiles * (columns + 3)), GUARD, np.float32)
    strides = ((columns + 3) * 4, memory.strides[0], 4)
    return memory, as_strided(memory[:, 1:], (tiles, rows, columns), strides)


def run(product: Product, parts: int = 1) -> np.ndarray:
    bind_product(product, parts, {}, Workers(2))()
    return product.results.reshape(-1, product.results.shape[2])


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(
    ("tiles", "tile_rows", "columns"),
    [(1, 1, 1), (1, 7, 31), (1, 9, 33), (3, 8, 16), (4, 128, 64), (2, 32, 130), (1, 128, 512)],
)
@pytest.mark.parametrize(("views", "rows"), [(1, 1), (1, 5), (3, 32), (6, 128)])
def test_products(parts, tiles, tile_rows, columns, views, rows):
    rng = np.random.default_rng(views * rows + columns)
    stationary = rows_of(rng, views, rows, tiles * tile_rows, F32)
    moving = rows_of(rng, views, rows, columns, F32)
    memory, results = results_like_psum(tiles, tile_rows, columns)
    found = run(Product(stationary, moving, results, False), parts)
    expected = matrix(stationary).T @ matrix(moving)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert np.count_nonzero(memory == GUARD) == tile_rows * tiles * 3


@pytest.mark.parametrize("stationary_type", [F32, BF16])
@pytest.mark.parametrize("moving_type", [F32, BF16])
def test_element_types(stationary_type, moving_type):
    rng = np.random.default_rng(0)
    stationary = rows_of(rng, 2, 24, 20, stationary_type)
    moving = rows_of(rng, 2, 24, 50, moving_type)
    found = run(Product(stationary, moving, results_like_psum(1, 20, 50)[1], False))
    np.testing.assert_allclose(found, matrix(stationary).T @ matrix(moving), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("views", [1, ROUND_ROWS // 128 * 2 + 1])
def test_results_are_added_to_what_is_there(views):
    rng = np.random.default_rng(1)
    stationary, moving = rows_of(rng, views, 128, 16, F32), rows_of(rng, views, 128, 40, F32)
    _, results = results_like_psum(1, 16, 40)
    results[...] = before = rng.standard_normal(results.shape)
    found = run(Product(stationary, moving, results, True))
    expected = before[0] + matrix(stationary).T @ matrix(moving)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=5e-5)


def test_pieces_do_not_change_a_bit():
    rng = np.random.default_rng(2)
    stationary, moving = rows_of(rng, 9, 128, 40, BF16), rows_of(rng, 9, 128, 100, F32)
    found = [
        run(Product(stationary, moving, results_like_psum(1, 40, 100)[1], False), parts)
        for parts in (1, 2, 3, 7)
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other.view(np.uint32), found[0].view(np.uint32))


def test_special_values_stay_in_their_row_and_column():
    stationary = np.ones((4, 10), np.float32)
    moving = np.ones((4, 35), np.float32)
    stationary[1, 3], moving[2, 34], moving[0, 7] = np.inf, np.nan, -np.inf
    _, results = results_like_psum(1, 10, 35)
    found = run(Product(Rows([stationary], F32), Rows([moving], F32), results, False))
    with np.errstate(invalid="ignore"):
        expected = stationary.T.astype(np.float64) @ moving.astype(np.float64)
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_denormals_count_and_zero_is_positive():
    tiny = np.float32(2.0**-140)
    stationary = np.array([[tiny, -1, 2.0**-70]], np.float32)
    moving = np.array([[2.0**100, 0, 2.0**-70]], np.float32)
    _, results = results_like_psum(1, 3, 3)
    found = run(Product(Rows([stationary], F32), Rows([moving], F32), results, False))
    expected = stationary.T.astype(np.float64) * moving
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert not np.signbit(found[1, 1]) and found[2, 2] == np.float32(2.0**-140)


def test_other_types_and_strides_are_gathered_first():
    assert not Rows([np.zeros((4, 8), F16.numpy)], F16).is_readable
    assert not Rows([np.zeros((4, 16), np.float32)[:, ::2]], F32).is_readable
    assert not Rows([np.zeros((4, 2, 8), np.float32)], F32).is_readable
    assert Rows([np.zeros((4, 16), np.float32)[:, 3:9]], F32).is_readable


def test_a_panel_must_not_cross_tiles():
    operand = Rows([np.zeros((4, 24), np.float32)], F32)
    assert not Product(operand, operand, np.zeros((2, 12, 24), np.float32), False).is_supported
    assert Product(operand, operand, np.zeros((3, 8, 24), np.float32), False).is_supported


@pytest.mark.parametrize("seed", range(6))
def test_programs_run_without_native_code_too(seed, monkeypatch):
    """As they do on other CPUs."""
    monkeypatch.setattr(machine, "has_wide_vectors", lambda: False)
    assert_modes_agree(random_chain(seed), seed)
