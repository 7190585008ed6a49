"""torch ops on integers, in integers: torchax goes through float64, which the machine does not have
and which holds no more than 53 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import torch

from axonc.frontends.torch.torchax_import import jax_dtype, torchax_table

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
    return _power_of_integers(*_promoted(x, y))


_EXPONENT_BITS = 6
"""2 ** 64 is beyond every integer type. A larger exponent counts by its lowest bits, which is right
for bases of -1, 0 and 1; of other bases the result has overflowed."""


def _power_of_integers(x: Array, y: Array) -> Array:
    """x ** y by squaring, a step for each bit of the exponent; below zero it is the whole part of
    1 / x ** -y, so 0 unless x is 1 or -1."""
    one, square = jnp.ones((), x.dtype), x
    result = jnp.where((x == 0) & (y != 0), jnp.zeros((), x.dtype), one)
    for bit in range(_EXPONENT_BITS):
        result = jnp.where((y >> bit) & 1 != 0, result * square, result)
        square = square * square
    return jnp.where((y < 0) & (x != 1) & (x != -1), jnp.zeros((), x.dtype), result)


def topk(
    x: Array, k: int, dim: int | None = None, largest: bool = True, sorted: bool = True
) -> tuple[Array, Array]:
    """(the k largest or smallest, their places in int64). The smallest integers are the largest of
    the bitwise complements, which no integer lacks; the negation of the least one is itself."""
    is_flipped = not largest and _are_integers(x)
    find = _torchax(aten.topk)
    values, places = find(~x if is_flipped else x, k, dim, largest or is_flipped, sorted)
    return ~values if is_flipped else values, places.astype(jnp.int64)


def running(op: Any) -> Callable[..., Array]:
    """cumsum or cumprod: integers and booleans run in int64, as torch's do."""

    def run(x: Array, dim: int, *, dtype: Any = None) -> Array:
        if dtype is not None:
            x = x.astype(jax_dtype(dtype))
        elif not jnp.issubdtype(x.dtype, jnp.inexact):
            x = x.astype(jnp.int64)
        return _torchax(op)(x, dim)

    return run


def sign(x: Array) -> Array:
    """-1, 0 or 1; a boolean is its own sign."""
    return x if x.dtype == jnp.bool_ else _torchax(aten.sign)(x)


def with_float_numbers(target: Any, args: Sequence[Any]) -> list[Any]:
    """Arguments of an elementwise op: integers beside a Python float are float32, as in torch; JAX
    would take float64."""
    arrays = [a for a in args if isinstance(a, jax.Array)]
    has_number = any(isinstance(a, float) for a in args)
    are_exact = all(not jnp.issubdtype(a.dtype, jnp.inexact) for a in arrays)
    if not (has_number and arrays and are_exact and torch.Tag.pointwise in target.tags):
        return list(args)
    is_choice = target.overloadpacket is aten.where
    return [a if i == 0 and is_choice else _as_float32(a) for i, a in enumerate(args)]


def _as_float32(value: Any) -> Any:
    return value.astype(jnp.float32) if isinstance(value, jax.Array) else value


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
    aten.topk.default: topk,
    aten.cumsum.default: running(aten.cumsum),
    aten.cumprod.default: running(aten.cumprod),
    aten.sign.default: sign,
}
