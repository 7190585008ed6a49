"""The decoder without weights: it compiles over cores; a small one with weights is right."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import axonc
from axonc.diagnostics import UsageError
from axonc.frontends import bind_arrays
from axonc.tools.models import gpt3_shape
from axonc.tools.models.gpt3_shape import Shape

SMALL = Shape(layers=3, width=64, heads=4, vocabulary=96, cache=8)


def test_published_size() -> None:
    assert 174e9 < Shape().parameters < 177e9


def test_a_program_without_weights_says_what_is_missing() -> None:
    executable = axonc.compile(gpt3_shape.imported(SMALL), cores=2, parallel="tensor")
    text = gpt3_shape.report(executable, SMALL)
    assert "on 2 cores" in text and "ms per token" in text and "6 in place" in text
    with pytest.raises(
        UsageError, match=r"weight 'p\..*' has no data[\s\S]*load it with the weights"
    ):
        executable.run(executable.random_inputs())


@pytest.mark.parametrize("tokens", [1, 3])
def test_a_step_over_cores_equals_a_float64_reference(tokens: int) -> None:
    shape = replace(SMALL, tokens=tokens)
    random = np.random.default_rng(0)
    weights = {
        f"p.{name}": (random.normal(size=size) * 0.1).astype(ml_dtypes.bfloat16)
        for name, size in gpt3_shape.weight_shapes(shape).items()
    }
    program = bind_arrays(gpt3_shape.imported(shape), weights)
    executable = axonc.compile(program, cores=2, parallel="tensor")
    updated = [t.name for t in executable.compiled.program.tensors if t.alias]
    assert len(updated) == 2 * shape.layers, "caches are not written where they lie"
    inputs = executable.random_inputs(1)
    inputs["i"] = np.arange(7, 7 + tokens, dtype=np.int32)[None]
    inputs["at"] = np.array(5, np.int32)
    logits = executable.run(inputs, checked=True)[0].astype(np.float64)
    expected = _reference({n[2:]: w.astype(np.float64) for n, w in weights.items()}, inputs, shape)
    assert np.abs(logits - expected).max() < 0.03 * np.abs(expected).max()


@pytest.mark.parametrize("optlevel", [2, 3])
def test_tokens_in_a_session_are_those_of_the_prompt_at_once(optlevel: int) -> None:
    """Token by token through caches updated in place on two cores; layers as a loop or apart."""
    random = np.random.default_rng(4)
    weights = {
        f"p.{name}": (random.normal(size=size) * 0.1).astype(ml_dtypes.bfloat16)
        for name, size in gpt3_shape.weight_shapes(SMALL).items()
    }
    program = bind_arrays(gpt3_shape.imported(SMALL), weights)
    executable = axonc.compile(program, cores=2, parallel="tensor", optlevel=optlevel)
    session = executable.session(executable.zero_state(), checked=True)
    tokens = np.array([[3, 90, 17]], np.int32)
    for at in range(3):
        (logits,) = session.run(tokens[:, at : at + 1], np.array(at, np.int32))
    empty = {n: np.zeros(a.shape) for n, a in executable.zero_state().items()}
    inputs = empty | {"i": tokens, "at": np.array(0)}
    wide = {n[2:]: w.astype(np.float64) for n, w in weights.items()}
    expected = _reference(wide, inputs, replace(SMALL, tokens=3))
    assert np.abs(logits.astype(np.float64) - expected).max() < 0.03 * np.abs(expected).max()


def _reference(p: dict[str, np.ndarray], inputs: dict[str, np.ndarray], shape: Shape) -> np.ndarray:
    at, tokens, heads = int(inputs["at"]), shape.tokens, shape.heads
    x = p["wte"][inputs["i"][0]] + p["wpe"][at : at + tokens]
    for i in range(shape.layers):
        w = {n.removeprefix(f"h.{i}."): v for n, v in p.items() if n.startswith(f"h.{i}.")}
        fused = _norm(x, w, "norm1") @ w["attention.qkv"] + w["attention.qkv_bias"]
        query, key, value = (
            part.reshape(tokens, heads, -1).transpose(1, 0, 2) for part in np.split(fused, 3, -1)
        )
        past = [inputs[f"c.{i}.{n}"][0, :, :at].astype(np.float64) for n in (0, 1)]
        key, value = np.concatenate([past[0], key], 1), np.concatenate([past[1], value], 1)
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(shape.head_width)
        scores[:, np.arange(at + tokens)[None] > at + np.arange(tokens)[:, None]] = -np.inf
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (shares / shares.sum(-1, keepdims=True)) @ value
        x = x + mixed.transpose(1, 0, 2).reshape(tokens, -1) @ w["attention.out"]
        x = x + w["attention.out_bias"]
        hidden = _norm(x, w, "norm2") @ w["feed.up"] + w["feed.up_bias"]
        hidden = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
        x = x + hidden @ w["feed.down"] + w["feed.down_bias"]
    return _norm(x[-1:], p, "norm") @ p["head"]


def _norm(x: np.ndarray, p: dict[str, np.ndarray], name: str) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return normal * p[f"{name}.gamma"] + p[f"{name}.beta"]
