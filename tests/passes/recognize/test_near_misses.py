"""A thousand near-misses for every recogniser: patterns with one thing changed that does nothing
for ordinary numbers. Recognised or not, the module must compute the same on hostile inputs."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from axonc.dialects.neuron.evaluate import evaluate_module
from axonc.driver.pipeline import TensorOptions, load_module, tensor_pipeline
from axonc.frontends import import_program
from axonc.pass_manager import PassManager
from axonc.passes.base import ModuleState

CASES = 1000
SLICES = 10
"""A thousand programs a recogniser in slices, of which one is quick enough for every run."""

Change = Callable[[jax.Array, float], jax.Array]

CHANGES: dict[str, Change] = {
    "clip": lambda x, c: jnp.clip(x, -abs(c), abs(c)),
    "lower": lambda x, c: jnp.maximum(x, -abs(c)),
    "upper": lambda x, c: jnp.minimum(x, abs(c)),
    "zero": lambda x, c: jnp.where(x == 0, -abs(c), x),
    "mask": lambda x, c: jnp.where(x > -abs(c), x, -1e9),
    "abs": lambda x, c: jnp.abs(x),
    "nan": lambda x, c: jnp.nan_to_num(x, nan=c),
    "floor": lambda x, c: jnp.where(jnp.abs(x) > abs(c), jnp.floor(x), x),
    "lowest": lambda x, c: jnp.maximum(x, jnp.finfo(jnp.float32).min),
    "bf16": lambda x, c: x.astype(jnp.bfloat16).astype(jnp.float32),
    "f16": lambda x, c: x.astype(jnp.float16).astype(jnp.float32),
    "none": lambda x, c: x,
}
"""By name: what is done to a value on the way; c is a number that ordinary values do not reach."""

ROUNDINGS = frozenset({"bf16", "f16"})

HOSTILE = np.array(
    [
        0,
        -0.0,
        1e-30,
        0.5,
        -3,
        7,
        -11,
        19.5,
        20.5,
        -21,
        35,
        60,
        -75,
        88,
        -95,
        120,
        -1e3,
        1e4,
        3e4,
        -2,
    ],
    np.float32,
)


def pattern(kind: str, name: str, place: int, c: float) -> Callable[..., jax.Array]:
    """The function of a recogniser with one change at one of its places."""

    def at(number: int, value: jax.Array) -> jax.Array:
        return CHANGES[name](value, c) if number == place else value

    def silu(x):
        x = at(0, x)
        return at(3, x * at(2, 1 / (1 + jnp.exp(at(1, -x)))))

    def gelu(x):
        x = at(0, x)
        inner = at(1, 0.7978845608 * (x + 0.044715 * x * x * x))
        return at(3, 0.5 * x * at(2, 1 + jnp.tanh(inner)))

    def softmax(x):
        x = at(0, x)
        powers = at(2, jnp.exp(at(1, x - x.max(-1, keepdims=True))))
        return powers / at(3, powers.sum(-1, keepdims=True))

    def norm(x, gamma):
        x = at(0, x)
        centred = x - x.mean(-1, keepdims=True)
        variance = at(1, (centred * centred).mean(-1, keepdims=True))
        return at(3, centred * jax.lax.rsqrt(variance + 1e-5)) * at(2, gamma)

    return {"silu": silu, "gelu": gelu, "softmax": softmax, "norm": norm}[kind]


def modules(function: Callable[..., jax.Array], *arguments: np.ndarray):
    """(as legalized, after all recognisers)."""
    source = jax.jit(function).lower(*arguments)
    passes = tensor_pipeline(TensorOptions())
    names = [p.name for p in passes]
    for last in ("legalize-to-neuron", "recognize-silu"):
        state = ModuleState(load_module(import_program(source)))
        PassManager(passes[: names.index(last) + 1]).run(state)
        yield state.module


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, SLICES))]
)
@pytest.mark.parametrize("kind", ["silu", "gelu", "softmax", "norm"])
def test_near_misses_compute_what_they_say(kind: str, part: int) -> None:
    rng = np.random.default_rng([part, len(kind)])
    x = rng.permutation(HOSTILE).reshape(4, 5)
    gamma = rng.standard_normal(5).astype(np.float32)
    arguments = (x, gamma) if kind == "norm" else (x,)
    seen: set[tuple[str, int, float]] = set()
    for _ in range(CASES // SLICES):
        name = str(rng.choice(list(CHANGES)))
        key = name, int(rng.integers(4)), float(rng.choice([15.0, 20.0, 30.0, 50.0, 100.0]))
        if key in seen:
            continue
        seen.add(key)
        written, found = modules(pattern(kind, *key), *arguments)
        rounds = name in ROUNDINGS  # which float64 would not do
        (expected,), (result,) = (evaluate_module(m, list(arguments), f64=not rounds)
                                  for m in (written, found))  # fmt: skip
        limit = 1e-4 if rounds else 1e-5
        np.testing.assert_allclose(result, expected, rtol=limit, atol=limit, err_msg=str(key))


@pytest.mark.parametrize(
    "kind,operation",
    [("silu", "silu"), ("gelu", "gelu_tanh"), ("softmax", "softmax"), ("norm", "layer_norm")],
)
def test_the_patterns_themselves_are_found(kind: str, operation: str) -> None:
    x = HOSTILE.reshape(4, 5)
    arguments = (x, x[0]) if kind == "norm" else (x,)
    _, found = modules(pattern(kind, "none", 0, 1.0), *arguments)
    assert f'"neuron.{operation}"' in str(found)


def test_gelu_by_erfc_is_found() -> None:
    _, found = modules(lambda x: jax.nn.gelu(x, approximate=False), HOSTILE)
    assert '"neuron.gelu"' in str(found)


def test_a_softmax_without_maximum_overflows_as_written() -> None:
    def naive(x):
        return jnp.exp(x) / jnp.exp(x).sum(-1, keepdims=True)

    _, found = modules(naive, HOSTILE.reshape(4, 5))
    assert "softmax" not in str(found)
