"""Training: three steps of forward, backward and optimizer in one program, against the framework.

A state is a pytree of parameters, what the optimizer remembers, running statistics, the key that
dropout draws from and the scale of the loss. `step(state, x, y)` gives the next state and the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

import axonc

Tree = dict[str, Any]
Step = Callable[[Tree, Any, Any], tuple[Tree, Any]]
Loss = Callable[[Tree, Tree, jax.Array, jax.Array, jax.Array], tuple[jax.Array, Tree]]
Optimizer = Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]

STEPS, CLASSES = 3, 5
MESH = AbstractMesh((2,), ("d",), axis_types=(AxisType.Auto,))
TOLERANCE = 1e-4
RNG = np.random.default_rng(0)


def drawn(*shape: int, scale: float = 0.3) -> np.ndarray:
    return RNG.normal(scale=scale, size=shape).astype(np.float32)


# ---- optimizers: (gradients, memory, parameters) -> (parameters, memory)


def sgd(gradients: Tree, memory: Tree, params: Tree) -> tuple[Tree, Tree]:
    """With momentum."""
    speed = jax.tree.map(lambda v, g: 0.9 * v + g, memory["speed"], gradients)
    return jax.tree.map(lambda p, v: p - 0.05 * v, params, speed), {"speed": speed}


def adamw(gradients: Tree, memory: Tree, params: Tree) -> tuple[Tree, Tree]:
    """With weight decay, both moments freed of their bias. The root gets more than the usual 1e-8,
    which makes the last bits of a gradient that is almost zero a step of full length."""
    count = memory["count"] + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, memory["first"], gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, memory["second"], gradients)

    def moved(p: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        m, v = m / (1 - 0.9**count), v / (1 - 0.999**count)
        return p - 0.01 * (m / (jnp.sqrt(v) + 1e-4) + 0.01 * p)

    params = jax.tree.map(moved, params, first, second)
    return params, {"first": first, "second": second, "count": count}


def memory_of(optimizer: Optimizer, params: Tree) -> Tree:
    def zeros() -> Tree:
        return jax.tree.map(np.zeros_like, params)

    if optimizer is sgd:
        return {"speed": zeros()}
    return {"first": zeros(), "second": zeros(), "count": np.float32(0)}


# ---- models: loss(params, statistics, key, x, y) -> (loss, statistics)


def cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), y[..., None], -1)
    return -chosen.mean()


def dropout(key: jax.Array, x: jax.Array, rate: float = 0.25) -> jax.Array:
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)


def mlp_params(*sizes: int) -> Tree:
    pairs = enumerate(zip(sizes, sizes[1:], strict=False))
    return {f"{n}": {"w": drawn(i, o, scale=1 / np.sqrt(i)), "b": drawn(o)} for n, (i, o) in pairs}


def mlp_loss(
    params: Tree, stats: Tree, key: jax.Array, x: jax.Array, y: jax.Array
) -> tuple[jax.Array, Tree]:
    h = jax.nn.relu(x @ params["0"]["w"] + params["0"]["b"])
    h = dropout(key, h)
    h = jnp.tanh(h @ params["1"]["w"] + params["1"]["b"])
    return cross_entropy(h @ params["2"]["w"] + params["2"]["b"], y), stats


def convolved(x: jax.Array, w: np.ndarray, stride: int = 1) -> jax.Array:
    dims = ("NCHW", "OIHW", "NCHW")
    return lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=dims)


def batch_norm(x: jax.Array, params: Tree, stats: Tree) -> tuple[jax.Array, Tree]:
    """By the batch; the running statistics follow it."""
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    stats = {"mean": 0.9 * stats["mean"] + 0.1 * mean, "var": 0.9 * stats["var"] + 0.1 * var}
    shape = (1, -1, 1, 1)
    normed = (x - mean.reshape(shape)) * lax.rsqrt(var.reshape(shape) + 1e-5)
    return normed * params["scale"].reshape(shape) + params["shift"].reshape(shape), stats


def norm_params(channels: int) -> Tree:
    return {"scale": np.ones(channels, np.float32), "shift": np.zeros(channels, np.float32)}


def resnet_params(channels: int = 8) -> Tree:
    def kernel(o: int, i: int, size: int) -> np.ndarray:
        return drawn(o, i, size, size, scale=1 / np.sqrt(i * size * size))

    wide = 2 * channels
    return {
        "stem": kernel(channels, 3, 3),
        "a": kernel(wide, channels, 3),
        "b": kernel(wide, wide, 3),
        "short": kernel(wide, channels, 1),
        "norms": {
            "stem": norm_params(channels),
            **{n: norm_params(wide) for n in ("a", "b", "short")},
        },
        "head": drawn(wide, CLASSES),
    }


def max_pooled(x: jax.Array) -> jax.Array:
    window = (1, 1, 3, 3)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, (1, 1, 2, 2), "SAME")


def resnet_loss(
    params: Tree, stats: Tree, key: jax.Array, x: jax.Array, y: jax.Array
) -> tuple[jax.Array, Tree]:
    new = {}

    def normed(name: str, h: jax.Array) -> jax.Array:
        h, new[name] = batch_norm(h, params["norms"][name], stats[name])
        return h

    h = jax.nn.relu(normed("stem", convolved(x, params["stem"])))
    h = max_pooled(h)
    inner = jax.nn.relu(normed("a", convolved(h, params["a"], 2)))
    inner = normed("b", convolved(inner, params["b"]))
    h = jax.nn.relu(inner + normed("short", convolved(h, params["short"], 2)))
    return cross_entropy(dropout(key, h.mean((2, 3))) @ params["head"], y), new


HEADS, WORDS = 4, 20


def transformer_params(layers: int = 1, width: int = 32) -> Tree:
    def product(inner: int, outer: int) -> np.ndarray:
        return drawn(inner, outer, scale=1 / np.sqrt(inner))

    def layer() -> Tree:
        return {
            "qkv": product(width, 3 * width),
            "out": product(width, width),
            "up": product(width, 2 * width),
            "down": product(2 * width, width),
            "norms": [norm_params(width), norm_params(width)],
        }

    return {"words": drawn(WORDS, width), "layers": [layer() for _ in range(layers)]}


def layer_norm(x: jax.Array, params: Tree) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    normed = centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return normed * params["scale"] + params["shift"]


def attention(x: jax.Array, params: Tree) -> jax.Array:
    batch, length, width = x.shape
    parts = jnp.split(x @ params["qkv"], 3, -1)
    q, k, v = (p.reshape(batch, length, HEADS, -1).swapaxes(1, 2) for p in parts)
    scores = q @ k.swapaxes(2, 3) / np.sqrt(width / HEADS)
    scores = jnp.where(np.tri(length, dtype=bool), scores, -1e9)
    mixed = jax.nn.softmax(scores, -1) @ v
    return mixed.swapaxes(1, 2).reshape(x.shape) @ params["out"]


def transformer_loss(
    params: Tree, stats: Tree, key: jax.Array, x: jax.Array, y: jax.Array
) -> tuple[jax.Array, Tree]:
    """The table of words is the last product's too, so its gradient has two parts."""
    h = params["words"][x]
    for number, layer in enumerate(params["layers"]):
        first, second = jax.random.split(jax.random.fold_in(key, number))
        h = h + dropout(first, attention(layer_norm(h, layer["norms"][0]), layer))
        up = jax.nn.gelu(layer_norm(h, layer["norms"][1]) @ layer["up"])
        h = h + dropout(second, up @ layer["down"])
    return cross_entropy(h @ params["words"].T, y), stats


# ---- steps


def step_of(loss: Loss, optimizer: Optimizer, over: str | None = None) -> Step:
    """One step with a scaled loss: where a gradient is not finite nothing moves and the scale is
    halved. over: the axis of cores that each have a part of the batch."""

    def step(state: Tree, x: jax.Array, y: jax.Array) -> tuple[Tree, jax.Array]:
        key, drop = jax.random.split(state["key"])
        scale = state["scale"]

        def scaled(params: Tree) -> tuple[jax.Array, tuple[jax.Array, Tree]]:
            value, stats = loss(params, state["stats"], drop, x, y)
            return value * scale, (value, stats)

        (_, (value, stats)), grads = jax.value_and_grad(scaled, has_aux=True)(state["params"])
        grads = jax.tree.map(lambda g: g / scale, grads)
        if over is not None:
            value, grads, stats = lax.pmean((value, grads, stats), over)
        finite = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]).all()
        params, memory = optimizer(grads, state["memory"], state["params"])
        new = {"params": params, "memory": memory, "stats": stats}
        old = {name: state[name] for name in new}
        kept = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
        return {**kept, "key": key, "scale": jnp.where(finite, scale, scale / 2)}, value

    return step


def state_of(params: Tree, optimizer: Optimizer, stats: Tree | None = None) -> Tree:
    return {
        "params": params,
        "memory": memory_of(optimizer, params),
        "stats": stats or {},
        "key": np.asarray(jax.random.PRNGKey(7)),
        "scale": np.float32(1024),
    }


def resnet_stats(params: Tree) -> Tree:
    return {
        name: {"mean": norm["shift"], "var": norm["scale"]}
        for name, norm in params["norms"].items()
    }


def batches(*shape: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rows = shape[0]
    return [
        (drawn(*shape, scale=1.0), RNG.integers(0, CLASSES, rows).astype(np.int32))
        for _ in range(STEPS)
    ]


def sentences(rows: int, length: int) -> list[tuple[np.ndarray, np.ndarray]]:
    words = RNG.integers(0, WORDS, (STEPS, rows, length + 1)).astype(np.int32)
    return [(w[:, :-1], w[:, 1:]) for w in words]


def assert_close(found: Any, wanted: Any) -> None:
    """Leaf by leaf, against the largest value of the leaf or 1, whichever is more."""
    for f, w in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        w = np.asarray(w)
        np.testing.assert_allclose(f, w, rtol=0, atol=TOLERANCE * max(1.0, np.abs(w).max()))


def assert_trains(step: Step, state: Tree, data: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Three steps, with the state passed back by hand (the first in checked mode) and kept in a
    session, are JAX's."""
    jitted = jax.jit(step)
    lowered = jax.jit(step, donate_argnums=0).lower(state, *data[0])
    executable = axonc.compile(lowered)
    names = [host.name for host in executable.state_inputs]
    leaves = jax.tree.leaves(state)
    assert len(names) == len(leaves)
    session = executable.session(dict(zip(names, leaves, strict=True)))
    wanted, found = state, state
    for number, (x, y) in enumerate(data):
        wanted, wanted_loss = jitted(wanted, x, y)
        results = executable.run(*jax.tree.leaves(found), x, y, checked=number == 0)
        found, loss = jax.tree.unflatten(jax.tree.structure((wanted, wanted_loss)), results)
        (kept_loss,) = session.run(x, y)
        assert_close((found, loss, kept_loss), (wanted, wanted_loss, wanted_loss))
    kept = session.state()
    assert_close([kept[name] for name in names], wanted)
    moved = zip(jax.tree.leaves(wanted["params"]), jax.tree.leaves(state["params"]), strict=True)
    assert all(np.abs(new - old).max() > 10 * TOLERANCE for new, old in moved)


OPTIMIZERS = pytest.mark.parametrize("optimizer", [sgd, adamw])


@OPTIMIZERS
def test_an_mlp_with_dropout(optimizer: Optimizer) -> None:
    state = state_of(mlp_params(12, 32, 24, CLASSES), optimizer)
    assert_trains(step_of(mlp_loss, optimizer), state, batches(16, 12))


@OPTIMIZERS
def test_a_residual_net_with_batch_norm(optimizer: Optimizer) -> None:
    params = resnet_params()
    state = state_of(params, optimizer, resnet_stats(params))
    assert_trains(step_of(resnet_loss, optimizer), state, batches(4, 3, 16, 16))


@OPTIMIZERS
def test_a_transformer_with_tied_words(optimizer: Optimizer) -> None:
    state = state_of(transformer_params(), optimizer)
    assert_trains(step_of(transformer_loss, optimizer), state, sentences(2, 8))


@pytest.mark.slow
@OPTIMIZERS
def test_a_larger_mlp(optimizer: Optimizer) -> None:
    state = state_of(mlp_params(784, 256, 130, CLASSES), optimizer)
    assert_trains(step_of(mlp_loss, optimizer), state, batches(64, 784))


@pytest.mark.slow
@OPTIMIZERS
def test_a_larger_residual_net(optimizer: Optimizer) -> None:
    params = resnet_params(32)
    state = state_of(params, optimizer, resnet_stats(params))
    assert_trains(step_of(resnet_loss, optimizer), state, batches(8, 3, 32, 32))


@pytest.mark.slow
@OPTIMIZERS
def test_a_larger_transformer(optimizer: Optimizer) -> None:
    state = state_of(transformer_params(3, 128), optimizer)
    assert_trains(step_of(transformer_loss, optimizer), state, sentences(4, 33))


# ---- the scale of the loss


def test_a_step_whose_gradients_overflow_moves_nothing_and_halves_the_scale() -> None:
    params = mlp_params(12, 8, 8, CLASSES)
    state = state_of(params, adamw) | {"scale": np.float32(2**127)}
    x, y = batches(16, 12)[0]
    x = x * 10
    step = jax.jit(step_of(mlp_loss, adamw))
    wanted, _ = step(state, x, y)
    assert float(wanted["scale"]) == 2**126
    executable = axonc.compile(step.lower(state, x, y))
    found = executable.run(*jax.tree.leaves(state), x, y, checked=True)
    new, _ = jax.tree.unflatten(jax.tree.structure((wanted, 0)), found)
    assert float(new["scale"]) == 2**126
    for name in ("params", "memory"):
        jax.tree.map(np.testing.assert_array_equal, new[name], state[name])


def test_the_optimizer_in_a_branch_of_cond() -> None:
    """Steps of both kinds: the scale is too large for the first one."""

    def step(state: Tree, x: jax.Array, y: jax.Array) -> tuple[Tree, jax.Array]:
        def scaled(params: Tree) -> tuple[jax.Array, jax.Array]:
            value, _ = mlp_loss(params, {}, state["key"], x, y)
            return value * state["scale"], value

        (_, value), grads = jax.value_and_grad(scaled, has_aux=True)(state["params"])
        finite = jnp.isfinite(sum(jnp.abs(g).max() for g in jax.tree.leaves(grads)))

        def move() -> tuple[Tree, Tree]:
            freed = jax.tree.map(lambda g: g / state["scale"], grads)
            return sgd(freed, state["memory"], state["params"])

        params, memory = lax.cond(finite, move, lambda: (state["params"], state["memory"]))
        scale = jnp.where(finite, state["scale"], state["scale"] * 0.5**100)
        return state | {"params": params, "memory": memory, "scale": scale}, value

    state = state_of(mlp_params(12, 8, 8, CLASSES), sgd) | {"scale": np.float32(2**127)}
    del state["stats"]
    data = [(x * 10, y) for x, y in batches(16, 12)]
    jitted = jax.jit(step)
    executable = axonc.compile(jitted.lower(state, *data[0]))
    wanted, found = state, state
    for x, y in data:
        wanted, value = jitted(wanted, x, y)
        results = executable.run(*jax.tree.leaves(found), x, y)
        found, loss = jax.tree.unflatten(jax.tree.structure((wanted, value)), results)
        assert_close((found, loss), (wanted, value))
    assert float(wanted["scale"]) == 2**27


# ---- a part of the batch on every core


def on_two_cores(step: Step, state: Tree, x: np.ndarray, y: np.ndarray) -> axonc.Executable:
    specs = {"in_specs": (P(), P("d"), P("d")), "out_specs": (P(), P())}
    cut = jax.shard_map(step, mesh=MESH, check_vma=False, **specs)
    lowered = jax.jit(cut, donate_argnums=0).trace(state, x, y).lower(lowering_platforms=("cpu",))
    return axonc.compile(lowered)


def assert_trains_on_two_cores(
    loss: Loss, optimizer: Optimizer, state: Tree, data: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    """Against the same step under vmap, which names its axis as the mesh does."""
    step = step_of(loss, optimizer, over="d")
    executable = on_two_cores(step, state, *data[0])
    assert executable.compiled.cores == 2
    both = jax.jit(jax.vmap(step, in_axes=(None, 0, 0), out_axes=None, axis_name="d"))
    names = [host.name for host in executable.state_inputs]
    session = executable.session(dict(zip(names, jax.tree.leaves(state), strict=True)))
    wanted, found = state, state
    for number, (x, y) in enumerate(data):
        wanted, value = both(wanted, *(a.reshape(2, -1, *a.shape[1:]) for a in (x, y)))
        results = executable.run(*jax.tree.leaves(found), x, y, checked=number == 0)
        found, mean = jax.tree.unflatten(jax.tree.structure((wanted, value)), results)
        (kept,) = session.run(x, y)
        assert_close((found, mean, kept), (wanted, value, value))
    assert_close([session.state()[name] for name in names], wanted)


def apart(loss: Loss) -> Loss:
    """Every core drops others."""

    def with_own_key(
        params: Tree, stats: Tree, key: jax.Array, x: jax.Array, y: jax.Array
    ) -> tuple[jax.Array, Tree]:
        return loss(params, stats, jax.random.fold_in(key, lax.axis_index("d")), x, y)

    return with_own_key


@OPTIMIZERS
def test_an_mlp_on_two_cores(optimizer: Optimizer) -> None:
    state = state_of(mlp_params(12, 32, 24, CLASSES), optimizer)
    assert_trains_on_two_cores(apart(mlp_loss), optimizer, state, batches(16, 12))


def test_a_residual_net_on_two_cores() -> None:
    params = resnet_params()
    state = state_of(params, sgd, resnet_stats(params))
    assert_trains_on_two_cores(apart(resnet_loss), sgd, state, batches(4, 3, 16, 16))


def test_a_transformer_on_two_cores() -> None:
    state = state_of(transformer_params(), adamw)
    assert_trains_on_two_cores(apart(transformer_loss), adamw, state, sentences(4, 8))
