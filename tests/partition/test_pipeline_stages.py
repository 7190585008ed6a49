"""Stages of a pipeline, those without a weight of their own among them."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import axonc

RNG = np.random.default_rng(1)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_a_stage_may_hold_no_weight() -> None:
    def product_and_reverse(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return (x @ p["w"])[::-1]

    weights, x = {"w": floats(32, 64)}, floats(8, 32)
    lowered = jax.jit(product_and_reverse).lower(weights, x)
    executable = axonc.compile(lowered, weights=weights, parallel="pipeline", cores=2)
    assert [line.split(",")[0] for line in executable.compiled.shardings] == [
        "core 0: 1 weights", "core 1: 0 weights",
    ]  # fmt: skip
    for checked in (True, False):
        (found,) = executable.run(x, checked=checked)
        np.testing.assert_allclose(found, (x @ weights["w"])[::-1], atol=1e-4)


def test_a_program_without_a_place_to_cut_says_so() -> None:
    def crossed(p: dict[str, jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return x.T + 1, p["w"] @ x

    weights, x = {"w": floats(64, 32)}, floats(32, 8)
    lowered = jax.jit(crossed).lower(weights, x)
    with pytest.raises(axonc.CompileError, match="can be cut into 1 stages, not 2"):
        axonc.compile(lowered, weights=weights, parallel="pipeline", cores=2)
