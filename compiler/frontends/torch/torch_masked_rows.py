"""Selections by a boolean mask, `x[mask]`: their size is known at run time only.

A program of fixed shapes cannot hold such a tensor, but it can hold its candidates: all rows there
are, and which of them are kept. What is done to each row by itself is done to all of them; a sum
or a maximum over the rows leaves out what is not kept; and `y[mask] = rows` under the same mask is
a choice between y and the candidates, row by row. So `x[mask] += 1` is exact. What needs the
selection itself (its size as a shape, its order, the selection as a result) is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import torch

from axonc.diagnostics import UnsupportedOpError
from axonc.frontends.torch.torch_refusals import unsupported

aten = torch.ops.aten

# JAX is not typed here (mypy follows no JAX imports), so the alias is one for readers.
Array: TypeAlias = jax.Array
Lowering = Callable[..., Any]


@dataclass(frozen=True)
class MaskedRows:
    """The tensor that keeps, of the candidates `rows` along `axis`, those where `kept` is true."""

    rows: Array
    axis: int
    mask: Array
    """The array the user selected with; selections by the same one have the same rows kept."""

    @property
    def kept(self) -> Array:
        """bool [candidates]."""
        return self.mask.reshape(-1)

    @property
    def ranks(self) -> Array:
        """int32 [candidates]: the number of each among those that are kept; what is there for the
        others is a place, too."""
        return jnp.maximum(jnp.cumsum(self.kept, dtype=jnp.int32) - 1, 0)

    @property
    def from_right(self) -> int:
        """How many axes are from `axis` to the end: what broadcasting aligns."""
        return self.rows.ndim - self.axis


def is_mask(index: Any) -> bool:
    """Whether an index is a run-time mask."""
    return isinstance(index, jax.Array) and index.dtype == jnp.bool_


def select(x: Array, indices: Sequence[Any]) -> MaskedRows:
    """x[..., mask]: one mask, any number of axes, `:` for others before it.

    Raises:
        UnsupportedOpError: a mask beside another index.
    """
    axis, mask = _only_mask(indices)
    return MaskedRows(_flat(x, axis, mask), axis, mask)


def masked_select(x: Array, mask: Array) -> MaskedRows:
    """torch.masked_select: both broadcast, the result is flat."""
    wide, broad = jnp.broadcast_arrays(x, mask)
    return MaskedRows(wide.reshape(-1), 0, mask if mask.shape == broad.shape else broad)


def masked_scatter(x: Array, mask: Array, source: Array) -> Array:
    """x with its masked elements replaced by those of `source`, one after the other. torch raises
    if `source` has too few, so what is taken then (its last one) is free."""
    wide, broad = jnp.broadcast_arrays(x, mask)
    ranks = jnp.cumsum(broad.reshape(-1), dtype=jnp.int32) - 1
    taken = jnp.take(source.reshape(-1), jnp.maximum(ranks, 0), mode="clip")
    return jnp.where(broad, taken.reshape(wide.shape).astype(x.dtype), wide)


def assign(x: Array, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Array:
    """x with x[..., mask] = values, or += values.

    `values` broadcast to the selection; with a row for each selected one, the i-th belongs to the
    i-th that is kept, whose number is the count of kept ones before it.
    """
    axis, mask = _only_mask(indices)
    flat = _flat(x, axis, mask)
    candidates = _candidates(values, MaskedRows(flat, axis, mask)).astype(x.dtype)
    new = flat + candidates if accumulate else candidates
    kept = mask.reshape(-1, *(1,) * (flat.ndim - axis - 1))
    return jnp.where(kept, new, flat).reshape(x.shape)


def _candidates(values: Any, to: MaskedRows) -> Array:
    """`values` with a row for each candidate of `to`, or broadcastable to them."""
    if isinstance(values, MaskedRows):
        if values.mask is not to.mask:
            raise unsupported(
                "the assigned rows were selected by another mask",
                hint="compute the mask once, and use that variable to read and to write",
            )
        return values.rows
    place = values.ndim - to.from_right
    if place < 0 or values.shape[place] == 1:
        return values
    return jnp.take(values, to.ranks, axis=place, mode="clip")


def _only_mask(indices: Sequence[Any]) -> tuple[int, Array]:
    given = [(i, index) for i, index in enumerate(indices) if index is not None]
    if len(given) != 1:
        raise unsupported(
            "a boolean mask beside another index",
            hint="index twice, x[mask] being one step: x[:, 2][mask], or use torch.where",
        )
    axis, mask = given[0]
    if not mask.ndim:
        raise unsupported("a mask without axes", hint="torch.where(mask, new, x) chooses the whole")
    return axis, mask


def _flat(x: Array, axis: int, mask: Array) -> Array:
    """x with the axes of the mask made one."""
    return x.reshape(*x.shape[:axis], mask.size, *x.shape[axis + mask.ndim :])


def has_masked_rows(args: Sequence[Any], kwargs: Mapping[str, Any]) -> MaskedRows | None:
    """The first selection among the arguments of an op."""
    leaves = jax.tree.leaves((list(args), dict(kwargs)))
    return next((leaf for leaf in leaves if isinstance(leaf, MaskedRows)), None)


def apply(target: Any, lowering: Lowering, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """An op with a selection among its arguments.

    Raises:
        UnsupportedOpError: it is not done row by row, or two selections are by different masks.
    """
    if target is aten.index_put.default:
        return lowering(*args, **kwargs)
    if torch.Tag.pointwise in target.tags:
        return _row_by_row(lowering, args, kwargs)
    handler = _HANDLERS.get(target)
    if handler is None:
        raise _needs_size(target)
    return handler(lowering, *args, **kwargs)


def _needs_size(target: Any) -> UnsupportedOpError:
    return unsupported(
        "works on a selection by a boolean mask, whose size is known at run time only",
        hint="elementwise operations, linear, norms of a row, sums, means and extremes over the "
        "rows and an assignment under the same mask work; else keep the size: "
        "torch.where(mask, x, 0), or topk for a fixed number of rows",
    )


def result_refusal() -> UnsupportedOpError:
    """The error for a program that returns a selection."""
    return unsupported(
        "the result is a selection by a boolean mask, whose size is known at run time only",
        hint="return torch.where(mask, x, 0), or x and the mask, and select on the host; topk "
        "gives a fixed number",
    )


def _row_by_row(lowering: Lowering, args: Sequence[Any], kwargs: Mapping[str, Any]) -> MaskedRows:
    """An elementwise op. Another operand is a selection by the same mask, is broadcast along the
    rows, or has a row for each selected one (torch.export has checked that)."""
    first = has_masked_rows(args, kwargs)
    assert first is not None

    def bare(value: Any) -> Any:
        if isinstance(value, MaskedRows):
            _check_same(first, value)
        return _candidates(value, first) if isinstance(value, MaskedRows | jax.Array) else value

    result = lowering(*map(bare, args), **{k: bare(v) for k, v in kwargs.items()})
    return MaskedRows(result, result.ndim - first.from_right, first.mask)


def _check_same(first: MaskedRows, other: MaskedRows) -> None:
    if other.mask is not first.mask or other.from_right != first.from_right:
        raise unsupported(
            "combines selections by different masks",
            hint="compute the mask once, and use that variable for both",
        )


def _size(_: Lowering, x: MaskedRows, dim: int) -> Any:
    axis = dim % x.rows.ndim
    return jnp.sum(x.kept, dtype=jnp.int64) if axis == x.axis else x.rows.shape[axis]


def _count(_: Lowering, x: MaskedRows) -> Any:
    return jnp.sum(x.kept, dtype=jnp.int64) * (x.rows.size // x.rows.shape[x.axis])


def _first_operand(lowering: Lowering, x: Any, *args: Any, **kwargs: Any) -> MaskedRows:
    """linear, and norms of the last axes: the rows are a batch."""
    if not isinstance(x, MaskedRows) or has_masked_rows(args, kwargs) is not None:
        raise unsupported("needs a selection by a boolean mask as its first operand alone")
    result = lowering(x.rows, *args, **kwargs)
    if x.axis == x.rows.ndim - 1 or result.shape[: x.axis + 1] != x.rows.shape[: x.axis + 1]:
        raise unsupported("works along the axis of a selection by a boolean mask")
    return MaskedRows(result, x.axis, x.mask)


def _along(lowering: Lowering, x: MaskedRows, dim: int, *args: Any) -> MaskedRows:
    """softmax: along another axis than that of the rows."""
    if dim % x.rows.ndim == x.axis:
        x = MaskedRows(_filled(x, -np.inf), x.axis, x.mask)
    return MaskedRows(lowering(x.rows, dim, *args), x.axis, x.mask)


def _filled(x: MaskedRows, value: float | bool) -> Array:
    """The candidates, with `value` in those that are not kept."""
    kept = x.kept.reshape(-1, *(1,) * (x.from_right - 1))
    return jnp.where(kept, x.rows, jnp.asarray(value, x.rows.dtype))


def _reduction(neutral: str) -> Lowering:
    """A reduction whose result does not change by elements of this value: over all axes, or over
    `dim`; one that leaves the rows there stays a selection."""

    def reduced(
        lowering: Lowering, x: MaskedRows, dim: Any = None, keepdim: bool = False, **kwargs: Any
    ) -> Any:
        axes = _axes(x, dim)
        if x.axis not in axes:
            return MaskedRows(*_reduced_rows(lowering, x, axes, keepdim), x.mask)
        rows = _filled(x, _neutral(neutral, x.rows.dtype))
        return lowering(rows, *(() if dim is None else (dim, keepdim)), **kwargs)

    return reduced


def _axes(x: MaskedRows, dim: Any) -> list[int]:
    dims = [dim] if isinstance(dim, int) else list(dim or range(x.rows.ndim))
    return [d % x.rows.ndim for d in dims]


def _neutral(which: str, dtype: Any) -> Any:
    if which in ("0", "1"):
        return int(which)
    if jnp.issubdtype(dtype, jnp.floating):
        return -np.inf if which == "lowest" else np.inf
    if dtype == jnp.bool_:
        return which != "lowest"
    return jnp.iinfo(dtype).min if which == "lowest" else jnp.iinfo(dtype).max


def _mean(
    lowering: Lowering, x: MaskedRows, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """The sum of what is kept by its number (0 / 0 is NaN, as in torch), in float32 or wider."""
    axes = _axes(x, dim)
    if x.axis not in axes:
        return MaskedRows(*_reduced_rows(lowering, x, axes, keepdim), x.mask)
    wide = jnp.promote_types(x.rows.dtype, jnp.float32)
    others = math.prod(x.rows.shape[a] for a in axes if a != x.axis)
    count = jnp.sum(x.kept, dtype=jnp.int32).astype(wide) * others
    total = jnp.sum(_filled(x, 0), axis=tuple(axes), keepdims=keepdim, dtype=wide)
    return (total / count).astype(x.rows.dtype)


def _reduced_rows(
    lowering: Lowering, x: MaskedRows, axes: list[int], keepdim: bool
) -> tuple[Array, int]:
    """(each row reduced by itself, the axis of the rows in that)."""
    gone = 0 if keepdim else sum(a < x.axis for a in axes)
    return lowering(x.rows, axes, keepdim), x.axis - gone


_SUM, _HIGHEST, _LOWEST = _reduction("0"), _reduction("lowest"), _reduction("highest")

_HANDLERS: Mapping[Any, Lowering] = {
    aten.sym_size.int: _size,
    aten.sym_numel.default: _count,
    aten.linear.default: _first_operand,
    aten.layer_norm.default: _first_operand,
    aten.rms_norm.default: _first_operand,
    aten.softmax.int: _along,
    aten._softmax.default: _along,
    aten._log_softmax.default: _along,
    aten.sum.default: _SUM,
    aten.sum.dim_IntList: _SUM,
    aten.any.default: _SUM,
    aten.any.dim: _SUM,
    aten.all.default: _reduction("1"),
    aten.all.dim: _reduction("1"),
    aten.prod.default: _reduction("1"),
    aten.amax.default: _HIGHEST,
    aten.amin.default: _LOWEST,
    aten.max.default: _HIGHEST,
    aten.min.default: _LOWEST,
    aten.mean.default: _mean,
    aten.mean.dim: _mean,
}

MASK_LOWERINGS: dict[Any, Callable[..., Any]] = {
    aten.masked_select.default: masked_select,
    aten.masked_scatter.default: masked_scatter,
}
