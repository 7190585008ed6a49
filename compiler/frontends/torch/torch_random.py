"""Random numbers of torch as functions of a key.

A program that draws takes one more input, the key (`RANDOM_KEY`): the seed and the number of the
call, which the executable gives. Every draw of the graph folds its number into the key, so that no
two draw the same; within a loop, every iteration draws what the first one does. The distributions
are torch's, the numbers are not: torch's own generators differ between its devices, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import torch

from axonc.dialects.neuron.argument_names import RANDOM_KEY

aten = torch.ops.aten
Array: TypeAlias = jax.Array

KEY_TYPE = jax.ShapeDtypeStruct((2,), jnp.uint32)
"""Of the input that random programs take."""


@dataclass
class RandomKeys:
    """Keys of the draws of one program, in the order of its graph."""

    base: Array | None = None
    """Two ui32; None where the program was found not to draw."""
    given: int = 0
    """How many keys were taken so far."""

    def next(self) -> Array:
        """Another key each time."""
        if self.base is None:
            raise NotImplementedError("random numbers where none were expected")
        self.given += 1
        return jax.random.fold_in(jax.random.wrap_key_data(self.base), self.given)


@dataclass(frozen=True)
class Draw:
    """A key, and the shape and dtype of what is to be drawn with it."""

    key: Array
    shape: tuple[int, ...]
    dtype: Any

    def uniform(self, low: float | Array = 0.0, high: float | Array = 1.0) -> Array:
        """From `low` to below `high`."""
        unit = jax.random.uniform(self.key, self.shape, self._computed())
        return (low + (high - low) * unit).astype(self.dtype)

    def normal(self, mean: float | Array = 0.0, deviation: float | Array = 1.0) -> Array:
        drawn = jax.random.normal(self.key, self.shape, self._computed())
        return (mean + deviation * drawn).astype(self.dtype)

    def integers(self, low: int, high: int) -> Array:
        """From `low` to below `high`."""
        return jax.random.randint(self.key, self.shape, low, high, jnp.int32).astype(self.dtype)

    def below(self, probability: float | Array) -> Array:
        """Booleans that hold with a probability."""
        return jax.random.uniform(self.key, self.shape, jnp.float32) < probability

    def _computed(self) -> Any:
        is_float = jnp.issubdtype(self.dtype, jnp.floating)
        return self.dtype if is_float else jnp.float32


def _rand(draw: Draw, *_: Any, **__: Any) -> Array:
    return draw.uniform()


def _randn(draw: Draw, *_: Any, **__: Any) -> Array:
    return draw.normal()


def _from_zero(draw: Draw, high: int, *_: Any, **__: Any) -> Array:
    return draw.integers(0, high)


def _from_low(draw: Draw, low: int, high: int, *_: Any, **__: Any) -> Array:
    return draw.integers(low, high)


def _like_from_zero(draw: Draw, x: Array, high: int, **_: Any) -> Array:
    return draw.integers(0, high)


def _like_from_low(draw: Draw, x: Array, low: int, high: int, **_: Any) -> Array:
    return draw.integers(low, high)


def _permutation(draw: Draw, count: int, **_: Any) -> Array:
    return jax.random.permutation(draw.key, count).astype(draw.dtype)


def _bernoulli(draw: Draw, probability: Array, **_: Any) -> Array:
    return draw.below(probability).astype(draw.dtype)


def _bernoulli_like(draw: Draw, x: Array, probability: float | Array = 0.5, **_: Any) -> Array:
    return draw.below(probability).astype(draw.dtype)


def _uniform(draw: Draw, x: Array, low: float = 0.0, high: float = 1.0, **_: Any) -> Array:
    return draw.uniform(low, high)


def _normal_like(
    draw: Draw, x: Array, mean: float = 0.0, deviation: float = 1.0, **_: Any
) -> Array:
    return draw.normal(mean, deviation)


def _normal(
    draw: Draw, mean: float | Array, deviation: float | Array = 1.0, *_: Any, **__: Any
) -> Array:
    return draw.normal(mean, deviation)


def _exponential(draw: Draw, x: Array, rate: float = 1.0, **_: Any) -> Array:
    """-log(1 - u) / rate, and never 0, so that its logarithm is finite."""
    drawn = -jnp.log1p(-draw.uniform()) / rate
    return jnp.maximum(drawn, jnp.finfo(draw.dtype).tiny).astype(draw.dtype)


def _multinomial(
    draw: Draw, weights: Array, count: int, replacement: bool = False, **_: Any
) -> Array:
    """Gumbel's trick: the largest of log w + g is i with a probability of w[i] / sum(w); the
    `count` largest are draws without replacement."""
    logits = jnp.log(weights.astype(jnp.float32))
    if replacement:
        shape = (count, *weights.shape[:-1])
        found = jax.random.categorical(draw.key, logits, shape=shape)
        return jnp.moveaxis(found, 0, -1).astype(draw.dtype)
    noise = jax.random.gumbel(draw.key, weights.shape, jnp.float32)
    return jax.lax.top_k(logits + noise, count)[1].astype(draw.dtype)


def _native_dropout(
    draw: Draw, x: Array, probability: float, train: bool | None = True
) -> tuple[Array, Array]:
    """(x, where it was kept)."""
    if train is False:
        return x, jnp.ones(x.shape, bool)
    kept = draw.below(1.0 - probability)
    scale = 0.0 if probability >= 1.0 else 1.0 / (1.0 - probability)
    return jnp.where(kept, x * scale, 0).astype(x.dtype), kept


def _dropout(draw: Draw, x: Array, probability: float, train: bool) -> Array:
    return _native_dropout(draw, x, probability, train)[0]


def _leaky(
    draw: Draw, x: Array, noise: Array, low: float, high: float, training: bool = False, **_: Any
) -> tuple[Array, Array]:
    """rrelu: (x with a random slope below 0, the slopes)."""
    middle = jnp.full(x.shape, (low + high) / 2, x.dtype)
    drawn = draw.uniform(low, high).astype(x.dtype) if training else middle
    slope = jnp.where(x < 0, drawn, 1)
    return x * slope, slope


Drawing = Callable[..., Any]
RANDOM_LOWERINGS: dict[Any, Drawing] = {
    aten.rand.default: _rand,
    aten.rand_like.default: _rand,
    aten.randn.default: _randn,
    aten.randn_like.default: _randn,
    aten.randint.default: _from_zero,
    aten.randint.low: _from_low,
    aten.randint_like.default: _like_from_zero,
    aten.randint_like.low_dtype: _like_from_low,
    aten.randperm.default: _permutation,
    aten.bernoulli.default: _bernoulli,
    aten.bernoulli.p: _bernoulli_like,
    aten.bernoulli.Tensor: _bernoulli_like,
    aten.uniform.default: _uniform,
    aten.normal_functional.default: _normal_like,
    aten.normal.float_float: _normal,
    aten.normal.float_Tensor: _normal,
    aten.normal.Tensor_float: _normal,
    aten.normal.Tensor_Tensor: _normal,
    aten.exponential.default: _exponential,
    aten.multinomial.default: _multinomial,
    aten.native_dropout.default: _native_dropout,
    aten.dropout.default: _dropout,
    aten.rrelu_with_noise_functional.default: _leaky,
}


def draws(graph_module: torch.fx.GraphModule) -> bool:
    """Whether a graph, or one that its control flow calls, needs a key."""
    modules = [m for m in graph_module.modules() if isinstance(m, torch.fx.GraphModule)]
    return any(is_random(n) for module in modules for n in module.graph.nodes)


def is_random(node: torch.fx.Node) -> bool:
    """Whether it draws. Attention does with a dropout only."""
    if node.target is aten.scaled_dot_product_attention.default:
        return bool(_argument(node, 4, "dropout_p"))
    return node.target in RANDOM_LOWERINGS


def _argument(node: torch.fx.Node, position: int, name: str) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name)


def draw_for(node: torch.fx.Node, key: Array, jax_dtype: Callable[[Any], Any]) -> Draw:
    """The draw that gives the (first) result of a node."""
    value = node.meta["val"]
    first = value[0] if isinstance(value, Sequence) else value
    return Draw(key, tuple(first.shape), jax_dtype(first.dtype))


__all__ = ["KEY_TYPE", "RANDOM_KEY", "RANDOM_LOWERINGS", "RandomKeys", "draw_for", "draws"]
