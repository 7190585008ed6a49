"""How torch ops become JAX: what the model meant stays one named composite; the rest is torchax.

`LOWERINGS` goes before torchax's own table. A composite carries its decomposition, so a stage that
does not know the name can still expand it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import torch

from axonc.frontends.torch.outer_indexing import take_by_slices
from axonc.frontends.torch.torch_bags import BAG_LOWERINGS
from axonc.frontends.torch.torch_convolution import CONVOLUTION_LOWERINGS
from axonc.frontends.torch.torch_experts import EXPERT_LOWERINGS
from axonc.frontends.torch.torch_frames import FRAME_KEPT_WHOLE, FRAME_LOWERINGS
from axonc.frontends.torch.torch_image_ops import IMAGE_KEPT_WHOLE, IMAGE_LOWERINGS
from axonc.frontends.torch.torch_integer_ops import INTEGER_LOWERINGS
from axonc.frontends.torch.torch_losses import LOSS_KEPT_WHOLE, LOSS_LOWERINGS
from axonc.frontends.torch.torch_masked_rows import MASK_LOWERINGS, is_mask, select
from axonc.frontends.torch.torch_max_windows import MAX_WINDOW_LOWERINGS
from axonc.frontends.torch.torch_random import RANDOM_LOWERINGS, Draw
from axonc.frontends.torch.torch_resampling import RESAMPLING_LOWERINGS
from axonc.frontends.torch.torch_searching import SEARCHING_LOWERINGS
from axonc.frontends.torch.torch_updates import UPDATE_KEPT_WHOLE, UPDATE_LOWERINGS
from axonc.frontends.torch.torch_weights import weight_of_tensor
from axonc.frontends.torch.torchax_import import jax_dtype, torchax_table

aten = torch.ops.aten

# JAX is not typed here (mypy follows no JAX imports), so the alias is one for readers.
Array: TypeAlias = jax.Array
Lowering = Callable[..., Any]


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x [..., in] times weight [out, in] along `in`, plus bias [out]; no transpose is written."""
    product = _contract(x, weight, 1) if weight.ndim == 2 else jnp.matmul(x, weight)
    return product if bias is None else product + bias


def matmul(x: Array, y: Array) -> Array:
    """torch.matmul as one contraction where no batch axis is broadcast."""
    if x.ndim >= 2 and y.ndim == 2:
        return _contract(x, y, 0)
    if x.ndim != y.ndim or x.ndim < 3 or x.shape[:-2] != y.shape[:-2]:
        return jnp.matmul(x, y)
    batch = tuple(range(x.ndim - 2))
    dims = (((x.ndim - 1,), (y.ndim - 2,)), (batch, batch))
    dtype = jnp.promote_types(x.dtype, y.dtype)
    return jax.lax.dot_general(x.astype(dtype), y.astype(dtype), dims)


def _contract(x: Array, y: Array, y_axis: int) -> Array:
    """The last axis of x with one axis of the matrix y."""
    return jax.lax.dot_general(x, y, (((x.ndim - 1,), (y_axis,)), ((), ())))


def addmm(bias: Array, x: Array, y: Array, *, beta: float = 1, alpha: float = 1) -> Array:
    """beta * bias + alpha * x y, without the multiplications by one."""
    return _scaled(bias, beta) + _scaled(jnp.matmul(x, y), alpha)


def int_mm(x: Array, y: Array) -> Array:
    """The product of int8 matrices in int32."""
    return jax.lax.dot(x, y, preferred_element_type=jnp.int32)


def add(x: Array, y: Array, *, alpha: float = 1) -> Array:
    """x + alpha * y."""
    return jnp.add(x, _scaled(y, alpha))


def subtract(x: Array, y: Array, *, alpha: float = 1) -> Array:
    """x - alpha * y."""
    return jnp.subtract(x, _scaled(y, alpha))


def _scaled(x: Array, factor: float) -> Array:
    return x if factor == 1 else x * factor


def embedding(weight: Array, indices: Array | torch.Tensor, *_: Any) -> Array:
    """Rows of weight [n, features]: a slice for a known range, else one gather. torch raises for an
    index outside 0..n-1, so what the gather does there (it clamps) is free.
    """
    if isinstance(indices, torch.Tensor):
        return index(weight, [indices])
    return weight.at[indices].get(mode="promise_in_bounds", wrap_negative_indices=False)


def index(x: Array | torch.Tensor, indices: Sequence[Array | torch.Tensor | None]) -> Any:
    """x[indices]; slices when all indices are known now and are ranges, else torchax's gather; the
    candidates of a selection for a run-time mask."""
    x = to_jax(x)
    if any(map(is_mask, indices)):
        return select(x, [to_jax(value) for value in indices])
    indices = [part for value in indices for part in _places(value)]
    given = [i for i, value in enumerate(indices) if value is not None]
    known = [v for v in indices if isinstance(v, torch.Tensor)]
    adjacent = given == list(range(given[0], given[-1] + 1))
    if adjacent and len(known) == len(given):
        taken = take_by_slices(x, [k.numpy() for k in known], given[0])
        if taken is not None:
            return taken
    return torchax_table()[aten.index].func(x, [to_jax(value) for value in indices])


def _places(value: Array | torch.Tensor | None) -> Sequence[Array | torch.Tensor | None]:
    """An index as integers: a mask known now selects places known now, along each of its axes."""
    if isinstance(value, torch.Tensor) and value.dtype == torch.bool:
        return value.nonzero(as_tuple=True)
    return (value,)


def to_jax(value: Any) -> Any:
    """A torch tensor (a value known at import time) as a JAX constant; anything else unchanged."""
    if not isinstance(value, torch.Tensor):
        return value
    return jnp.asarray(weight_of_tensor(value, "constant").load())


def gelu(x: Array, *, approximate: str = "none") -> Array:
    """`axonc.gelu(x)`, attribute `approximate`: "none" (erf) or "tanh"."""
    return jax.lax.composite(_gelu, "axonc.gelu")(x, approximate=approximate)


def _gelu(x: Array, *, approximate: str) -> Array:
    if approximate == "tanh":
        return jax.nn.gelu(x, approximate=True)
    half = jnp.asarray(0.5, x.dtype)
    return half * x * (1 + jax.lax.erf(x * jnp.asarray(math.sqrt(0.5), x.dtype)))


def softmax(x: Array, dim: int, dtype: Any = None) -> Array:
    """`axonc.softmax(x)`, attribute `axis` >= 0. `dtype`: convert before, as torch does."""
    x = x if dtype is None else x.astype(jax_dtype(dtype))
    axis = dim % x.ndim if x.ndim else 0
    return (
        jax.lax.composite(_softmax, "axonc.softmax")(x, axis=axis) if x.ndim else jnp.ones_like(x)
    )


def _softmax(x: Array, *, axis: int) -> Array:
    shifted = jnp.exp(x - jnp.max(x, axis=axis, keepdims=True))
    return shifted / jnp.sum(shifted, axis=axis, keepdims=True)


def safe_softmax(x: Array, dim: int, dtype: Any = None) -> Array:
    """Softmax that is 0, not NaN, along a line that is -inf throughout."""
    hidden = jnp.all(x == -jnp.inf, axis=dim, keepdims=True)
    result = softmax(x, dim, dtype)
    return jnp.where(hidden, jnp.zeros((), result.dtype), result)


def core_softmax(x: Array, dim: int, half_to_float: bool) -> Array:
    """aten._softmax: `half_to_float` computes and returns float32."""
    return softmax(x.astype(jnp.float32) if half_to_float else x, dim)


def layer_norm(
    x: Array,
    normalized_shape: Sequence[int],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Array:
    """`axonc.layer_norm(x, gamma, beta)` over the last axis, attribute `epsilon`.

    Several normalised axes are flattened into one. Statistics are float32, as in torch on CPU.
    """
    flat, size = _merge_axes(x, normalized_shape)
    gamma = jnp.ones(size, x.dtype) if weight is None else weight.reshape(size)
    beta = jnp.zeros(size, x.dtype) if bias is None else bias.reshape(size)
    normal = jax.lax.composite(_layer_norm, "axonc.layer_norm")(flat, gamma, beta, epsilon=eps)
    return normal.reshape(x.shape)


def _layer_norm(x: Array, gamma: Array, beta: Array, *, epsilon: float) -> Array:
    wide = _widened(x)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    normal = centred * jax.lax.rsqrt(variance + jnp.asarray(epsilon, wide.dtype))
    return (normal * gamma.astype(wide.dtype) + beta.astype(wide.dtype)).astype(x.dtype)


def _widened(x: Array) -> Array:
    """x in the type torch keeps statistics in: float32, or float64 for float64."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def rms_norm(
    x: Array,
    normalized_shape: Sequence[int],
    weight: Array | None = None,
    eps: float | None = None,
) -> Array:
    """`axonc.rms_norm(x, gamma)` over the last axis, attribute `epsilon`; torch's default for it is
    the machine epsilon of the type of the statistics (float32 for bf16).
    """
    flat, size = _merge_axes(x, normalized_shape)
    gamma = jnp.ones(size, x.dtype) if weight is None else weight.reshape(size)
    epsilon = float(jnp.finfo(_widened(x).dtype).eps) if eps is None else eps
    normal = jax.lax.composite(_rms_norm, "axonc.rms_norm")(flat, gamma, epsilon=epsilon)
    return normal.reshape(x.shape)


def _rms_norm(x: Array, gamma: Array, *, epsilon: float) -> Array:
    wide = _widened(x)
    square = jnp.mean(wide * wide, axis=-1, keepdims=True)
    normal = wide * jax.lax.rsqrt(square + jnp.asarray(epsilon, wide.dtype))
    return (normal * gamma.astype(wide.dtype)).astype(x.dtype)


def _merge_axes(x: Array, normalized_shape: Sequence[int]) -> tuple[Array, int]:
    size = math.prod(normalized_shape)
    return x.reshape(*x.shape[: x.ndim - len(normalized_shape)], size), size


def attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Array:
    """softmax(scale query key' + mask) value over [..., tokens, features]: plain ops, one softmax.

    A boolean mask keeps where it is true; `is_causal` keeps the lower triangle. A row whose mask
    keeps nothing gives 0, as in torch. With a dropout it is `attention_with_dropout`.
    """
    return _attention(
        lambda weights: weights, query, key, value, attn_mask, is_causal, scale, enable_gqa
    )


def attention_with_dropout(
    draw: Draw,
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Array:
    """As `attention`; each probability is 0 with a probability of `dropout_p`, the others grow."""

    def dropped(weights: Array) -> Array:
        shaped = replace(draw, shape=weights.shape)
        return RANDOM_LOWERINGS[aten.dropout.default](shaped, weights, dropout_p, True)

    return _attention(dropped, query, key, value, attn_mask, is_causal, scale, enable_gqa)


def _attention(
    dropped: Callable[[Array], Array],
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> Array:
    """dropped: what becomes of the probabilities."""
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (jnp.repeat(t, groups, axis=-3) for t in (key, value))
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = jnp.einsum("...td,...sd->...ts", query, key) * jnp.asarray(factor, query.dtype)
    scores = _masked(scores, attn_mask, is_causal)
    mixed = jnp.einsum("...ts,...sd->...td", dropped(softmax(scores, -1)), value)
    return mixed if attn_mask is None else _without_empty_rows(mixed, attn_mask)


def _masked(scores: Array, mask: Array | None, is_causal: bool) -> Array:
    if is_causal:
        mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    if mask is None:
        return scores
    if mask.dtype != jnp.bool_:
        return scores + mask
    return jnp.where(mask, scores, jnp.asarray(-jnp.inf, scores.dtype))


def _without_empty_rows(mixed: Array, mask: Array) -> Array:
    """The softmax of nothing is NaN. The mask is smaller than the scores of all heads."""
    kept = mask if mask.dtype == jnp.bool_ else mask > -jnp.inf
    return jnp.where(jnp.any(kept, axis=-1, keepdims=True), mixed, jnp.zeros((), mixed.dtype))


def size_of(x: Array, dim: int) -> int:
    """A size, which is known for all but selections by a mask."""
    size: int = x.shape[dim]
    return size


def item(x: Array) -> Array:
    """The only element of x: a number of the run, as an array without axes."""
    return x.reshape(())


def no_check(*_: Any, **__: Any) -> None:
    """Run-time assertions of torch.export: a compiled program has no way to raise, so these go."""


LOWERINGS: dict[Any, Lowering] = {
    aten.linear.default: linear,
    aten.matmul.default: matmul,
    aten.addmm.default: addmm,
    aten._int_mm.default: int_mm,
    aten.add.Tensor: add,
    aten.sub.Tensor: subtract,
    aten.embedding.default: embedding,
    aten.index.Tensor: index,
    **UPDATE_LOWERINGS,
    aten.gelu.default: gelu,
    aten.softmax.int: softmax,
    aten._softmax.default: core_softmax,
    aten._safe_softmax.default: safe_softmax,
    aten.layer_norm.default: layer_norm,
    aten.rms_norm.default: rms_norm,
    aten.scaled_dot_product_attention.default: attention,
    aten._assert_async.default: no_check,
    aten._assert_async.msg: no_check,
    aten._assert_scalar.default: no_check,
    aten._assert_tensor_metadata.default: no_check,
    aten.sym_size.int: size_of,
    aten.sym_numel.default: lambda x: x.size,
    aten._local_scalar_dense.default: item,
    **BAG_LOWERINGS,
    **CONVOLUTION_LOWERINGS,
    **EXPERT_LOWERINGS,
    **INTEGER_LOWERINGS,
    **IMAGE_LOWERINGS,
    **LOSS_LOWERINGS,
    **MASK_LOWERINGS,
    **MAX_WINDOW_LOWERINGS,
    **RESAMPLING_LOWERINGS,
    **SEARCHING_LOWERINGS,
    **FRAME_LOWERINGS,
}

# These want to see which of their tensors are known at import time.
SEES_KNOWN_VALUES = (aten.embedding.default, aten.index.Tensor)

# torch decomposes these unless told not to.
KEPT_WHOLE = (
    aten.linear.default,
    aten.matmul.default,
    aten.gelu.default,
    aten.softmax.int,
    aten.layer_norm.default,
    aten.rms_norm.default,
    aten.scaled_dot_product_attention.default,
    *IMAGE_KEPT_WHOLE,
    *LOSS_KEPT_WHOLE,
    *FRAME_KEPT_WHOLE,
    *UPDATE_KEPT_WHOLE,
)
