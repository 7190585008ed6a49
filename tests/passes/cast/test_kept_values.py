"""Values that auto-cast keeps in float32: programs whose results would be ruined, and near misses
that are cast as before."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc

RNG = np.random.default_rng(0)
POSITIONS = np.arange(8000, 8016, dtype=np.int32)
X = RNG.standard_normal((16, 64)).astype(np.float32)


def cast_error(
    function: Callable[..., jax.Array], *arrays: np.ndarray, **options: str
) -> tuple[float, axonc.Executable]:
    """The largest error of the results under --auto-cast, and the program."""
    jitted = jax.jit(function)
    executable = axonc.compile(jitted.lower(*arrays), **options)
    (found,) = executable.run(*arrays, checked=True)
    return float(np.abs(found - np.asarray(jitted(*arrays))).max()), executable


def kept(executable: axonc.Executable) -> list[str]:
    return [line for line in executable.compiled.casts if "kept: " in line]


def frequencies() -> jax.Array:
    return 1.0 / 10000 ** (jnp.arange(0, 64, 2, dtype=jnp.float32) / 64)


def rotated(x: jax.Array, angles: jax.Array) -> jax.Array:
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    left, right = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


def by_elements(positions: jax.Array, x: jax.Array) -> jax.Array:
    return rotated(x, positions.astype(jnp.float32)[:, None] * frequencies()[None])


def by_a_product(positions: jax.Array, x: jax.Array) -> jax.Array:
    """As transformers writes it: an outer product of frequencies and positions."""
    floats = positions.astype(jnp.float32)[None, None, :]
    angles = jnp.matmul(jnp.broadcast_to(frequencies()[None, :, None], (1, 32, 1)), floats)
    return rotated(x, jnp.swapaxes(angles, 1, 2)[0])


@pytest.mark.parametrize("rotary", [by_elements, by_a_product])
@pytest.mark.parametrize("what", ["matmult", "all"])
@pytest.mark.parametrize("kind", ["bf16", "fp16", "tf32", "fp8_e4m3"])
def test_rotary_embeddings_at_far_positions(rotary, what: str, kind: str) -> None:
    error, executable = cast_error(rotary, POSITIONS, X, auto_cast=what, auto_cast_type=kind)
    assert error < 0.05
    assert what == "matmult" or any("test_kept_values.py" in line for line in kept(executable))


def test_time_steps_that_are_floats() -> None:
    def embedded(times: jax.Array) -> jax.Array:
        angles = times[:, None] * frequencies()[None]
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)

    times = np.linspace(900, 999, 7, dtype=np.float32)
    assert cast_error(embedded, times, auto_cast="all")[0] < 0.005


def test_exponents() -> None:
    def decayed(x: jax.Array, rate: jax.Array) -> jax.Array:
        return jnp.exp(-x * rate) * 1e3

    x, rate = np.full((8, 8), 20.3, np.float32), np.full((8, 8), 0.31, np.float32)
    error, _ = cast_error(decayed, x, rate, auto_cast="all")
    assert error < 0.004 * float(np.exp(-20.3 * 0.31) * 1e3)


def test_what_becomes_an_index() -> None:
    def looked_up(x: jax.Array, table: jax.Array) -> jax.Array:
        return table[jnp.floor(x * 1000).astype(jnp.int32)] + jnp.argmax(x, axis=-1)[:, None]

    x = np.linspace(0, 0.999, 96, dtype=np.float32).reshape(4, 24)
    assert cast_error(looked_up, x, np.arange(1024, dtype=np.float32), auto_cast="none")[0] == 0
    # whole numbers up to 256 are exact in bf16: the sum of the two is below that
    table = (np.arange(1024) % 128).astype(np.float32)
    assert cast_error(looked_up, x, table, auto_cast="all")[0] == 0


def test_means_that_are_subtracted() -> None:
    def centred(x: jax.Array) -> jax.Array:
        return x - jnp.mean(x, axis=-1, keepdims=True)

    x = 500 + RNG.standard_normal((8, 64)).astype(np.float32)
    error, executable = cast_error(centred, x, auto_cast="all")
    assert error < 1e-3
    assert all("statistics" in line for line in kept(executable))


def test_masks_pictures_and_products_are_cast_as_before() -> None:
    def model(picture: jax.Array, mask: jax.Array, w: jax.Array) -> jax.Array:
        x = picture.astype(jnp.float32) / 255
        scores = jnp.tanh(x @ w) + jnp.where(mask, 0.0, -1e4)
        return jnp.sum(scores, axis=0)

    arrays = (
        RNG.integers(0, 256, (8, 16), np.uint8),
        RNG.integers(0, 2, (8, 16)).astype(bool),
        RNG.standard_normal((16, 16)).astype(np.float32),
    )
    _, executable = cast_error(model, *arrays, auto_cast="all")
    assert not kept(executable)


def test_a_product_under_a_sine_keeps_its_sums_only() -> None:
    def layer(x: jax.Array, w: jax.Array) -> jax.Array:
        return jnp.sin(30 * (x @ w))

    w = RNG.standard_normal((64, 32)).astype(np.float32)
    _, executable = cast_error(layer, X, w, auto_cast="all")
    dots = [line for line in executable.compiled.casts if "neuron.dot" in line]
    assert dots and all("f32 -> bf16: operands of a matrix product" in line for line in dots)


def test_an_override_has_the_last_word() -> None:
    error, executable = cast_error(
        by_elements, POSITIONS, X, auto_cast="all", auto_cast_override=(".*=bf16",)
    )
    assert error > 1
    assert not kept(executable)
