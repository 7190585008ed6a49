"""Generation in one program: greedy until all rows have ended, and beam search, with a cache that
the loop carries; against the same function in JAX."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import axonc

VOCABULARY, WIDTH, HEADS, LAYERS, LENGTH = 48, 32, 4, 2, 10
HEAD = WIDTH // HEADS

Cache = tuple[jax.Array, jax.Array]
Weights = dict[str, np.ndarray]


def weights() -> Weights:
    rng = np.random.default_rng(0)

    def drawn(*shape: int, scale: float = 0.2) -> np.ndarray:
        return rng.normal(scale=scale, size=shape).astype(np.float32)

    found = {
        "tokens": drawn(VOCABULARY, WIDTH, scale=1.0),
        "places": drawn(LENGTH, WIDTH, scale=1.0),
        "head": drawn(WIDTH, VOCABULARY),
    }
    for n in range(LAYERS):
        found |= {
            f"{n}.qkv": drawn(WIDTH, 3 * WIDTH),
            f"{n}.out": drawn(WIDTH, WIDTH),
            f"{n}.up": drawn(WIDTH, 4 * WIDTH),
            f"{n}.down": drawn(4 * WIDTH, WIDTH),
        }
    return found


def normed(x: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


def attend(x: jax.Array, w: jax.Array, at: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
    rows = len(x)
    q, k, v = (part.reshape(rows, HEADS, 1, HEAD) for part in jnp.split(x @ w, 3, -1))
    keys, values = (
        lax.dynamic_update_slice(old, new, (0, 0, at, 0))
        for old, new in zip(cache, (k, v), strict=True)
    )
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, keys) / np.sqrt(HEAD)
    scores = jnp.where(jnp.arange(LENGTH) <= at, scores, -1e9)
    mixed = jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores, -1), values)
    return mixed.reshape(rows, WIDTH), (keys, values)


def next_logits(
    w: Weights, token: jax.Array, at: jax.Array, caches: list[Cache]
) -> tuple[jax.Array, list[Cache]]:
    x = w["tokens"][token] + w["places"][at]
    new = []
    for n, cache in enumerate(caches):
        mixed, cache = attend(normed(x), w[f"{n}.qkv"], at, cache)
        new.append(cache)
        x = x + mixed @ w[f"{n}.out"]
        x = x + jax.nn.gelu(normed(x) @ w[f"{n}.up"]) @ w[f"{n}.down"]
    return x @ w["head"], new


def empty(rows: int) -> list[Cache]:
    return [(jnp.zeros((rows, HEADS, LENGTH, HEAD)),) * 2 for _ in range(LAYERS)]


def greedy(w: Weights, first: jax.Array, end: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Steps taken, and tokens [rows, LENGTH]."""
    rows = len(first)

    def body(s):  # type: ignore[no-untyped-def]
        at, tokens, token, done, caches = s
        logits, caches = next_logits(w, token, at, caches)
        token = jnp.where(done, end, jnp.argmax(logits, -1).astype(jnp.int32))
        return at + 1, tokens.at[:, at + 1].set(token), token, done | (token == end), caches

    tokens = jnp.zeros((rows, LENGTH), jnp.int32).at[:, 0].set(first)
    start = (0, tokens, first, jnp.zeros(rows, bool), empty(rows))
    found = lax.while_loop(lambda s: (s[0] < LENGTH - 1) & ~jnp.all(s[3]), body, start)
    return found[0], found[1]


def beam_search(
    w: Weights, first: jax.Array, end: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Steps, tokens of the three best continuations, and their scores."""
    beams = 3

    def body(s):  # type: ignore[no-untyped-def]
        at, tokens, token, score, done, caches = s
        logits, caches = next_logits(w, token, at, caches)
        ended = jnp.where(jnp.arange(VOCABULARY) == end, 0.0, -1e9)
        each = jnp.where(done[:, None], ended, jax.nn.log_softmax(logits))
        score, best = lax.top_k((score[:, None] + each).reshape(-1), beams)
        source, token = best // VOCABULARY, (best % VOCABULARY).astype(jnp.int32)
        tokens = tokens[source].at[:, at + 1].set(token)
        caches = jax.tree.map(lambda cache: cache[source], caches)
        return at + 1, tokens, token, score, done[source] | (token == end), caches

    tokens = jnp.zeros((beams, LENGTH), jnp.int32).at[:, 0].set(first)
    score = jnp.where(jnp.arange(beams) == 0, 0.0, -1e9).astype(jnp.float32)
    begin = (0, tokens, jnp.full(beams, first), score, jnp.zeros(beams, bool), empty(beams))
    found = lax.while_loop(lambda s: (s[0] < LENGTH - 1) & ~jnp.all(s[4]), body, begin)
    return found[0], found[1], found[3]


Generate = Callable[..., tuple[jax.Array, ...]]


def assert_as_xla(generate: Generate, first: np.ndarray, ends: list[int]) -> list[int]:
    """For every token that ends a row: in both modes the result is that of XLA. How many steps
    each took."""
    w = weights()
    lowered = jax.jit(generate).lower(w, first, np.int32(0))
    executable = axonc.compile(lowered, weights={f"w.{name}": v for name, v in w.items()})
    steps = []
    for end in ends:
        wanted = jax.jit(generate)(w, first, np.int32(end))
        steps.append(int(wanted[0]))
        for checked in (True, False):
            results = executable.run(first, np.int32(end), checked=checked)
            for found, want in zip(results, wanted, strict=True):
                np.testing.assert_allclose(found, want, rtol=1e-4)
    return steps


def test_greedy_generation_ends_when_all_rows_have() -> None:
    first = np.array([1, 2], np.int32)
    tokens = np.asarray(jax.jit(greedy)(weights(), first, np.int32(-1))[1])
    common = sorted(set(tokens[0, 1:]) & set(tokens[1, 1:]))
    steps = assert_as_xla(greedy, first, [-1, *map(int, common[:2])])
    assert steps[0] == LENGTH - 1
    assert min(steps) < LENGTH - 1, "a common token ends it early"


@pytest.mark.parametrize("end", [-1, 32])
def test_beam_search(end: int) -> None:
    assert_as_xla(beam_search, np.array(3, np.int32), [end])
