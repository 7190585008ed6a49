"""Products of groups of rows with a matrix each, as mixtures of experts have them."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import torch

from axonc.frontends.torch.torch_refusals import unsupported
from axonc.frontends.torch.torchax_import import jax_dtype

# JAX is not typed here (mypy follows no JAX imports), so the alias is one for readers.
Array: TypeAlias = jax.Array


def grouped_mm(x: Array, weight: Array, offsets: Array) -> Array:
    """Rows offsets[e - 1] .. offsets[e] - 1 of x [rows, in] times weight[e] [in, out]; zeros below
    the last group. `offsets` [experts] ascend.

    How many rows a group has is known at run time only, so each expert is given all rows, those of
    others as zeros, and the products are summed: one product of x, repeated by the experts, with
    all weights. The zeros add nothing to a row while the weights are finite.
    """
    experts, rows = weight.shape[0], x.shape[0]
    place = jnp.arange(rows, dtype=offsets.dtype)
    begin = jnp.concatenate([jnp.zeros(1, offsets.dtype), offsets[:-1]])
    mine = (place >= begin[:, None]) & (place < offsets[:, None])
    spread = jnp.where(mine[:, :, None], x[None], jnp.zeros((), x.dtype))
    wide = jnp.swapaxes(spread, 0, 1).reshape(rows, experts * x.shape[1])
    return jnp.matmul(wide, weight.reshape(experts * weight.shape[1], weight.shape[2]))


def torch_grouped_mm(
    x: Array,
    weight: Array,
    offs: Array | None = None,
    bias: Array | None = None,
    out_dtype: Any = None,
) -> Array:
    """torch's own: rows in groups for three axes of weight. Without offsets it is a batch of
    products."""
    dtype = x.dtype if out_dtype is None else jax_dtype(out_dtype)
    if offs is None and x.ndim == weight.ndim == 3:
        product = jnp.matmul(x, weight)
    elif offs is not None and (x.ndim, weight.ndim) == (2, 3):
        product = grouped_mm(x, weight, offs)
    else:
        raise unsupported(
            f"groups of a {x.ndim}-dimensional by a {weight.ndim}-dimensional operand",
            hint="what works: rows [rows, in] by matrices [groups, in, out]",
        )
    return (product if bias is None else product + bias).astype(dtype)


def expert_lowering(target: Any) -> Any:
    """The lowering of an op that a package registers when it is imported, by its name; or None."""
    return {"transformers::grouped_mm_fallback": grouped_mm}.get(target.name())


EXPERT_LOWERINGS: dict[Any, Any] = {torch.ops.aten._grouped_mm.default: torch_grouped_mm}
