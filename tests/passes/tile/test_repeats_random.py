"""Random layers, repeated: as a loop of the streams (checked and fast mode) and each by itself,
against JAX in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc
from axonc.backends.encoding import decode_stream, disassemble
from axonc.backends.targets import INF2, TARGETS

LAYERS = 4
HEADS = 4


def norm(x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)


def attention(q, k, v):
    split = lambda x: x.reshape(x.shape[0], HEADS, -1).transpose(1, 0, 2)  # noqa: E731
    scores = jax.nn.softmax(split(q) @ split(k).transpose(0, 2, 1) * 0.3, axis=-1)
    return (scores @ split(v)).transpose(1, 0, 2).reshape(q.shape)


Operation = Callable[..., jax.Array]

OPERATIONS: dict[str, tuple[int, Operation]] = {
    "dense": (1, lambda x, w, b, m: x @ w),
    "bias": (1, lambda x, w, b, m: x + b),
    "mask": (1, lambda x, w, b, m: x * m),
    "tanh": (1, lambda x, w, b, m: jnp.tanh(x * 0.7)),
    "gelu": (1, lambda x, w, b, m: jax.nn.gelu(x, approximate=False)),
    "norm": (1, lambda x, w, b, m: norm(x) * b + 0.1),
    "softmax": (1, lambda x, w, b, m: jax.nn.softmax(x, axis=-1) + x * 0.2),
    "wide": (1, lambda x, w, b, m: jnp.tanh(x @ jnp.concatenate([w, w.T], 1))[:, ::2]),
    "add": (2, lambda x, y, w, b, m: x + y * 0.5),
    "maximum": (2, lambda x, y, w, b, m: jnp.maximum(x, y)),
    "attention": (3, lambda x, y, z, w, b, m: attention(x, y, z)),
}
"""By name: how many values they take, and what they compute; w, b: of the layer; m: of all."""


@dataclass(frozen=True)
class Layer:
    """steps: operations, with places of their values in the pool, which begins with the carried
    values. carried: places of what the next layer gets; collected: of what the program returns."""

    steps: tuple[tuple[str, tuple[int, ...]], ...]
    carried: tuple[int, ...]
    collected: tuple[int, ...]

    def __call__(self, values, weight, bias, mask):
        pool = list(values)
        for name, places in self.steps:
            pool.append(OPERATIONS[name][1](*(pool[p] for p in places), weight, bias, mask))
        return [norm(pool[p]) for p in self.carried], [pool[p] for p in self.collected]


def random_layer(rng: np.random.Generator) -> Layer:
    """Ten steps on one to three carried values."""
    count = int(rng.integers(1, 4))
    steps = [("dense", (0,)), ("bias", (count,))]
    names = list(OPERATIONS)
    while len(steps) < 10:
        name = names[int(rng.integers(len(names)))]
        size = count + len(steps)
        # Late values mostly, so that few are of no use.
        places = size - 1 - rng.integers(0, min(size, 4), OPERATIONS[name][0])
        steps.append((name, tuple(int(p) for p in places)))
    size = count + len(steps)
    carried = [size - 1, *(int(p) for p in rng.integers(0, size, count - 1))]
    collected = [int(rng.integers(count, size))] if rng.random() < 0.4 else []
    return Layer(tuple(steps), tuple(carried), tuple(collected))


@pytest.fixture
def room(monkeypatch):
    """Sets the bytes of SBUF per partition."""

    def use(kib: int) -> None:
        monkeypatch.setitem(TARGETS, "inf2", replace(INF2, sbuf_partition_bytes=kib * 1024))

    return use


SEEDS = [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 80))]


@pytest.mark.parametrize("seed", SEEDS)
def test_layers(seed: int, room) -> None:
    rng = np.random.default_rng(seed)
    layer = random_layer(rng)
    tokens, width = int(rng.choice([7, 40, 130, 260])), int(rng.choice([32, 96, 160]))

    def network(weights, biases, mask, x):
        values, returned = [x * (n + 1) for n in range(len(layer.carried))], []
        for weight, bias in zip(weights, biases, strict=True):
            values, collected = layer(values, weight, bias, mask)
            returned += collected
        return [*values, *returned]

    arrays = (
        [
            (rng.standard_normal((width, width)) / width**0.5).astype(np.float32)
            for _ in range(LAYERS)
        ],
        [rng.standard_normal(width).astype(np.float32) for _ in range(LAYERS)],
        rng.uniform(0.5, 1, (tokens, 1)).astype(np.float32),
        rng.standard_normal((tokens, width)).astype(np.float32),
    )
    lowered = jax.jit(network, keep_unused=True).lower(*arrays)
    with jax.enable_x64(True):
        wanted = [np.asarray(y) for y in network(*jax.tree.map(np.float64, arrays))]
    if seed % 4 == 3:
        room(16)
    looped, flat = axonc.compile(lowered), axonc.compile(lowered, optlevel=3)
    assert not is_loop(flat)
    given = jax.tree.leaves(arrays)
    for executable, checked in ((looped, True), (looped, False), (flat, True)):
        for found, right in zip(executable.run(*given, checked=checked), wanted, strict=True):
            assert np.abs(found - right).max() <= 5e-5 * np.abs(right).max(), layer


def is_loop(executable: axonc.Executable) -> bool:
    streams = executable.compiled.program.streams.values()
    return any("branch" in disassemble(decode_stream(data)) for data in streams)
