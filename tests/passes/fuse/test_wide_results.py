"""Results larger than SBUF: made and stored piece by piece, in checked mode, against numpy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc
from axonc.passes.tile.returned_pieces import LEAST_ELEMENTS

RNG = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tokens, width, vocabulary", [(128, 32, 15000), (200, 48, 10007)])
def test_logits(tokens: int, width: int, vocabulary: int, dtype: str) -> None:
    x, w, b = floats(1, tokens, width), floats(vocabulary, width), floats(vocabulary)

    def logits(x: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
        return (jnp.einsum("bti,vi->btv", x, w) + b).astype(dtype).astype(jnp.float32)

    lowered = jax.jit(logits).lower(x, w, b)
    executable = axonc.compile(lowered, weights={"w": w, "b": b})
    (found,) = executable.run(x, checked=True)
    expected = np.einsum("bti,vi->btv", x.astype(np.float64), w) + b
    tolerance = 1e-5 if dtype == "float32" else 1e-2
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()
    assert executable.compiled.program.sbuf_peak_bytes < 150 * 1024


def test_a_returned_concatenation_of_inputs_and_computed_values() -> None:
    wide = LEAST_ELEMENTS // 256
    x, y = floats(128, wide), floats(128, wide)

    def joined(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        whole = jnp.concatenate([x, y * 2, x[:, ::-1]], axis=1)
        return whole.reshape(2, 64, -1), x + 1

    found = axonc.compile(jax.jit(joined).lower(x, y)).run(x, y, checked=True)
    for left, right in zip(found, joined(x, y), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_square_result_that_is_a_view_of_a_donated_argument_is_not_taken_for_it() -> None:
    def turned(x: jax.Array) -> jax.Array:
        return x.T

    x = floats(16, 16)
    lowered = jax.jit(turned, donate_argnums=0).lower(x)
    np.testing.assert_array_equal(axonc.compile(lowered).run(x, checked=True)[0], x.T)


def test_device_memory_holds_no_copy_of_a_wide_result() -> None:
    x, w = floats(128, 16), floats(12000, 16)
    executable = axonc.compile(jax.jit(lambda x, w: x @ w.T).lower(x, w), weights={"w": w})
    timeline = executable.machine().timeline()
    written = timeline.hbm_bytes - timeline.hbm_read_bytes
    assert written == 128 * 12000 * 4


def test_a_vector_that_the_epilogue_reads_along_rows_and_along_columns() -> None:
    """Cut for the one and whole for the other (pairwise distances)."""

    def distances(x: jax.Array) -> jax.Array:
        s = jnp.sum(x * x, 1)
        return s[:, None] + s[None, :] - 2 * (x @ x.T)

    x = floats(1300, 16)
    (found,) = axonc.compile(jax.jit(distances).lower(x)).run(x)
    wide = x.astype(np.float64)
    expected = ((wide[:, None] - wide[None]) ** 2).sum(-1)
    assert np.abs(found - expected).max() <= 1e-4


def test_an_epilogue_operand_that_is_read_as_it_is_and_turned() -> None:
    def symmetric(x: jax.Array, a: jax.Array) -> jax.Array:
        return x @ x.T + a + a.T

    x, a = floats(1300, 16), floats(1300, 1300)
    (found,) = axonc.compile(jax.jit(symmetric).lower(x, a)).run(x, a)
    np.testing.assert_allclose(found, x @ x.T + a + a.T, atol=1e-4)
