"""Convolutions of torch, all forms: any rank, strides, padding, dilation, groups, transposed; and
their gradients.

torchax gives wrong numbers for transposed convolutions with groups, and takes the padding of
`padding="valid"` (one number for all axes) for no padding list at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import torch

aten = torch.ops.aten

# JAX is not typed here (mypy follows no JAX imports), so the alias is one for readers.
Array: TypeAlias = jax.Array


def convolution(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Array:
    """x [N, C, ...] or [C, ...] with weight [out, C / groups, ...]; transposed: [C, out / groups,
    ...], the convolution that an `stride`d one is the transpose of. bias [out]."""
    rank = weight.ndim - 2
    steps, pads, spread = (each_axis(v, rank) for v in (stride, padding, dilation))
    batch = x if x.ndim == rank + 2 else x[None]
    if transposed:
        extra = each_axis(output_padding, rank)
        result = _transposed(batch, weight, steps, pads, spread, extra, groups)
    else:
        result = jax.lax.conv_general_dilated(
            batch, weight, steps, [(p, p) for p in pads], (1,) * rank, spread,
            feature_group_count=groups,
        )  # fmt: skip
    if bias is not None:
        result = result + bias.reshape(-1, *(1,) * rank)
    return result if x.ndim == rank + 2 else result[0]


def _transposed(
    x: Array,
    weight: Array,
    steps: Sequence[int],
    pads: Sequence[int],
    spread: Sequence[int],
    extra: Sequence[int],
    groups: int,
) -> Array:
    """x spread by the stride, with the mirrored kernel of each group: below an axis there are
    dilation * (window - 1) - padding zeros, above it `extra` more."""
    rank = weight.ndim - 2
    edges = [d * (k - 1) - p for d, k, p in zip(spread, weight.shape[2:], pads, strict=True)]
    return jax.lax.conv_general_dilated(
        x,
        jnp.flip(_by_output(weight, groups), range(2, weight.ndim)),
        (1,) * rank,
        [(edge, edge + more) for edge, more in zip(edges, extra, strict=True)],
        lhs_dilation=steps,
        rhs_dilation=spread,
        feature_group_count=groups,
    )


def _by_output(weight: Array, groups: int) -> Array:
    """[C, out / groups, ...] of a transposed convolution as [out, C / groups, ...]."""
    inner, outer, *window = weight.shape
    grouped = weight.reshape(groups, inner // groups, outer, *window)
    return jnp.swapaxes(grouped, 1, 2).reshape(groups * outer, inner // groups, *window)


def each_axis(values: Sequence[int] | int, rank: int) -> tuple[int, ...]:
    """One value for each axis; torch allows one for all."""
    given = tuple(values) if isinstance(values, Sequence) else (values,)
    return given * rank if len(given) == 1 else given


def convolution_backward(
    gradient: Array,
    x: Array,
    weight: Array,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[Array | None, Array | None, Array | None]:
    """(of x, of weight, of the bias) from the gradient of the result; None where output_mask says
    that nobody wants it. A convolution is linear in x and in weight, so JAX transposes it."""
    options = (stride, padding, dilation, transposed, output_padding, groups)
    for_x, for_weight, for_bias = output_mask
    of_x = of_weight = of_bias = None
    if for_x:
        (of_x,) = jax.vjp(lambda v: convolution(v, weight, None, *options), x)[1](gradient)
    if for_weight:
        (of_weight,) = jax.vjp(lambda v: convolution(x, v, None, *options), weight)[1](gradient)
    if for_bias:
        channels = gradient.ndim - weight.ndim + 1
        of_bias = jnp.sum(gradient, [axis for axis in range(gradient.ndim) if axis != channels])
    return of_x, of_weight, of_bias


CONVOLUTION_LOWERINGS: dict[Any, Callable[..., Any]] = {
    aten.convolution.default: convolution,
    aten.convolution_backward.default: convolution_backward,
}
