"""torch ops on integers, in integers: torchax goes through float64, which the machine does not have
and which holds no more than 53 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import torch

from axonc.frontends.torch.torchax_import import torchax_table

aten = torch.ops.aten

# JAX is not typed here (mypy follows no JAX imports), so the alias is one for readers.
Array: TypeAlias = jax.Array


def _are_integers(*values: Any) -> bool:
    return all(jnp.issubdtype(jnp.result_type(v), jnp.integer) for v in values)


def _promoted(x: Any, y: Any) -> tuple[Array, Array]:
    """Both in the type torch computes in: a Python number takes that of the tensor."""
    dtype = jnp.result_type(x, y)
    first, second = jnp.broadcast_arrays(jnp.asarray(x, dtype), jnp.asarray(y, dtype))
    return first, second


def divide(x: Any, y: Any, *, rounding_mode: str | None = None) -> Array:
    """torch.div: the quotient of integers is float32, or rounded a whole number of their type."""
    if not _are_integers(x, y):
        return _torchax(aten.div)(x, y, rounding_mode or "")
    if rounding_mode is None:
        return jnp.divide(*(jnp.asarray(v).astype(jnp.float32) for v in (x, y)))
    if rounding_mode == "floor":
        return jnp.floor_divide(*_promoted(x, y))
    return jax.lax.div(*_promoted(x, y))


def _torchax(op: Any) -> Callable[..., Array]:
    found: Callable[..., Array] = torchax_table()[op].func
    return found


def fmod(x: Any, y: Any) -> Array:
    """The remainder with the sign of x."""
    if not _are_integers(x, y):
        return _torchax(aten.fmod)(x, y)
    return jax.lax.rem(*_promoted(x, y))


def power(x: Any, y: Any) -> Array:
    """x ** y; integers wrap."""
    if not _are_integers(x, y):
        return _torchax(aten.pow)(x, y)
    if isinstance(y, int) and y >= 0:
        return jax.lax.integer_pow(x, y)
    return jax.lax.pow(*_promoted(x, y))


INTEGER_LOWERINGS: dict[Any, Callable[..., Any]] = {
    aten.div.Tensor: divide,
    aten.div.Scalar: divide,
    aten.div.Tensor_mode: divide,
    aten.div.Scalar_mode: divide,
    aten.fmod.Scalar: fmod,
    aten.fmod.Tensor: fmod,
    aten.pow.Tensor_Scalar: power,
    aten.pow.Tensor_Tensor: power,
    aten.pow.Scalar: power,
}
