"""Tensor-parallel blocks on 2, 4 and 8 cores: the one-core result, checked mode clean, quicker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import axonc
from axonc.frontends import import_program
from axonc.tools.core_report import core_facts

jax = pytest.importorskip("jax")
jnp = jax.numpy

Params = list[dict[str, np.ndarray]]


def norm(x: Any, gain: Any, shift: Any) -> Any:
    mean = x.mean(-1, keepdims=True)
    variance = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + 1e-12) * gain + shift


def attention(x: Any, p: Any, heads: int) -> Any:
    batch, tokens, width = x.shape

    def split(w: Any, b: Any) -> Any:
        return (x @ w + b).reshape(batch, tokens, heads, width // heads).transpose(0, 2, 1, 3)

    q, k, v = (split(p[n], p[n + "_bias"]) for n in "qkv")
    scores = jax.nn.softmax(q @ k.transpose(0, 1, 3, 2) / np.float32((width // heads) ** 0.5), -1)
    joined = (scores @ v).transpose(0, 2, 1, 3).reshape(batch, tokens, width)
    return joined @ p["o"] + p["o_bias"]


def mlp(x: Any, p: Any, heads: int) -> Any:
    return jax.nn.gelu(x @ p["up"] + p["up_bias"], approximate=False) @ p["down"] + p["down_bias"]


def bert(x: Any, layers: Any, heads: int) -> Any:
    for p in layers:
        x = norm(x + attention(x, p, heads), p["gain1"], p["shift1"])
        x = norm(x + mlp(x, p, heads), p["gain2"], p["shift2"])
    return x


def one_layer(width: int, wide: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    def made(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.06).astype(np.float32)

    square = {n: made(width, width) for n in "qkvo"} | {f"{n}_bias": made(width) for n in "qkvo"}
    wider = {"up": made(width, wide), "up_bias": made(wide), "down": made(wide, width)}
    rest = {n: 1 + made(width) for n in ("gain1", "gain2")}
    shifts = {n: made(width) for n in ("shift1", "shift2", "down_bias")}
    return square | wider | rest | shifts


def compiled(
    function: Callable[..., Any], x: np.ndarray, params: Any, heads: int, **options: Any
) -> axonc.Executable:
    """With the parameters as weights. function: (x, params, heads) -> result."""
    lowered = jax.jit(lambda x, params: function(x, params, heads)).lower(x, params)
    names = [argument.name for argument in import_program(lowered).arguments[1:]]
    weights = dict(zip(names, jax.tree.leaves(params), strict=True))
    return axonc.compile(lowered, weights=weights, **options)


def block(which: str) -> tuple[Callable[..., Any], Any]:
    layer = one_layer(128, 512, np.random.default_rng(3))
    keys = {"attention": [n + s for n in "qkvo" for s in ("", "_bias")]}
    keys["mlp"] = ["up", "up_bias", "down", "down_bias"]
    return {"attention": attention, "mlp": mlp}[which], {k: layer[k] for k in keys[which]}


@pytest.mark.parametrize("cores", [2, 4, 8])
@pytest.mark.parametrize("which", ["mlp", "attention"])
def test_a_block_on_several_cores_equals_one_core(which: str, cores: int) -> None:
    function, params = block(which)
    x = np.random.default_rng(1).standard_normal((2, 24, 128)).astype(np.float32)
    (wanted,) = compiled(function, x, params, 8).run(x)
    executable = compiled(function, x, params, 8, cores=cores, parallel="tensor")
    for checked in (True, False):
        (found,) = executable.run(x, checked=checked)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert executable.profile().timeline.collectives


def test_a_bert_of_four_layers_on_2_4_and_8_cores() -> None:
    rng = np.random.default_rng(7)
    layers = [one_layer(128, 512, rng) for _ in range(4)]
    x = rng.standard_normal((1, 32, 128)).astype(np.float32)
    (wanted,) = compiled(bert, x, layers, 8).run(x)
    for cores in (2, 4, 8):
        executable = compiled(bert, x, layers, 8, cores=cores, parallel="tensor")
        (found,) = executable.run(x, checked=True)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
        assert len(executable.profile().timeline.collectives) == 8


def test_a_bert_of_four_layers_as_a_pipeline_of_2_and_4_cores() -> None:
    """The one-core result; a call takes hardly longer; equal stages wait little for each other."""
    rng = np.random.default_rng(9)
    layers = [one_layer(128, 512, rng) for _ in range(4)]
    x = rng.standard_normal((1, 32, 128)).astype(np.float32)
    one = compiled(bert, x, layers, 8)
    (wanted,) = one.run(x)
    for cores in (2, 4):
        executable = compiled(bert, x, layers, 8, cores=cores, parallel="pipeline")
        (found,) = executable.run(x, checked=True)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
        assert executable.modelled_seconds < 1.15 * one.modelled_seconds
        facts = core_facts(executable)
        active = [row["active_seconds"] for row in facts["per_core"]]
        assert len(active) == cores and min(active) > 0
        assert facts["bubble_share"] == pytest.approx(1 - sum(active) / cores / max(active))
        assert facts["bubble_share"] < 0.35


def test_two_cores_take_less_time_where_weights_bind() -> None:
    """Layers of BERT-large, matmult in bf16, timed without being run."""
    layers = [one_layer(1024, 4096, np.random.default_rng(2)) for _ in range(4)]
    x = np.zeros((1, 128, 1024), np.float32)
    one, two = (
        compiled(bert, x, layers, 16, auto_cast="matmult", **more).modelled_seconds
        for more in ({}, {"cores": 2, "parallel": "tensor"})
    )
    start_and_end = 21e-6
    assert two - start_and_end < 0.64 * (one - start_and_end)


@pytest.mark.slow
def test_bert_large_on_two_cores_takes_at_most_061_of_one() -> None:
    layers = [one_layer(1024, 4096, np.random.default_rng(2))] * 24
    x = np.zeros((1, 128, 1024), np.float32)
    one = compiled(bert, x, layers, 16, auto_cast="matmult").modelled_seconds
    two = compiled(bert, x, layers, 16, auto_cast="matmult", cores=2, parallel="tensor")
    assert two.modelled_seconds <= 0.61 * one
