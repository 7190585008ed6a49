"""Each lowered node has the shape and the type that torch gave it when the program was exported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import torch

from axonc.frontends.torch.torch_masked_rows import MaskedRows
from axonc.frontends.torch.torch_refusals import unsupported
from axonc.frontends.torch.torchax_import import jax_dtype


def conformed(value: Any, meta: Any) -> Any:
    """`value`, one or several results of a node, in the type of torch's `meta`; lowerings through
    NumPy's rules of promotion may compute in a wider one.

    Raises:
        UnsupportedOpError: the shapes differ, so the lowering is not this op.
    """
    if isinstance(meta, (list, tuple)) and isinstance(value, (list, tuple)):
        parts = [conformed(v, m) for v, m in zip(value, meta, strict=False)]
        return [*parts, *value[len(parts) :]]
    if isinstance(value, MaskedRows) and isinstance(meta, torch.Tensor):
        return replace(value, rows=value.rows.astype(jax_dtype(meta.dtype)))
    if not isinstance(value, jax.Array) or not isinstance(meta, torch.Tensor):
        return value
    if all(isinstance(size, int) for size in meta.shape) and value.shape != tuple(meta.shape):
        raise unsupported(
            f"lowered to the shape {list(value.shape)}, where PyTorch has {list(meta.shape)}",
            hint="write it with other operations",
        )
    dtype = jax_dtype(meta.dtype)
    return value if value.dtype == dtype else value.astype(dtype)
