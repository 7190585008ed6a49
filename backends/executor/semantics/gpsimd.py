"""GpSimdE: affine patterns, gathers and reductions across partitions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from axonc.backends.executor.semantics.alu import (
    REDUCTIONS,
    as_unsigned,
    is_bitvec,
)
from axonc.backends.executor.semantics.elementwise import all_words
from axonc.backends.executor.semantics.registry import (
    Context,
    Fields,
    Inputs,
    OperandMode,
    Outputs,
    semantics,
)
from axonc.backends.executor.semantics.vector import flat, raw_if_same_dtype
from axonc.backends.isa.gpsimd import PARTITIONS_PER_CORE
from axonc.backends.numerics.cast import from_float32
from axonc.backends.numerics.dtypes import DType
from axonc.diagnostics import ExecutionError


def affine_pattern(fields: Fields, shape: tuple[int, ...]) -> np.ndarray:
    """offset + p * channel_multiplier + sum of index * step per free dim, wrapping int32."""
    factors = (fields["channel_multiplier"], *(fields[f"step{i}"] for i in range(len(shape) - 1)))
    total = np.full((1,) * len(shape), fields["offset"], np.int64)
    for axis, (size, factor) in enumerate(zip(shape, factors, strict=True)):
        along = [1] * len(shape)
        along[axis] = size
        total = total + (np.arange(size, dtype=np.int64) * factor).reshape(along)
    return total.astype(np.int32)


@semantics("iota", operands="raw")
def iota(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """dst = the affine pattern, cast from int32 (to 32-bit integers: the bits)."""
    return {
        "dst": _from_int32(affine_pattern(fields, context.shapes["dst"]), context.dtypes["dst"])
    }


def _from_int32(values: np.ndarray, dtype: DType) -> np.ndarray:
    if not dtype.is_float and dtype.size_bytes == 4:
        return values.view(dtype.numpy)
    return from_float32(values.astype(np.float32), dtype)


@semantics("affine_select", operands=raw_if_same_dtype)
def affine_select(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """dst = src where the affine pattern compares true with 0, else imm (a float32)."""
    shape = context.shapes["dst"]
    pattern = affine_pattern(fields, shape)
    chosen = _COMPARISONS[fields["compare"]](pattern, 0)
    source = inputs["src"].reshape(shape)
    other = np.full((1,) * len(shape), fields["imm"], np.float32)
    if raw_if_same_dtype(fields, context) == "raw":
        other = from_float32(other, context.dtypes["dst"])
    return {"dst": np.where(chosen, source, other)}


_COMPARISONS: dict[str, Callable[..., np.ndarray]] = {
    "is_equal": np.equal,
    "not_equal": np.not_equal,
    "is_ge": np.greater_equal,
    "is_gt": np.greater,
    "is_le": np.less_equal,
    "is_lt": np.less,
}


@semantics("local_gather", operands="raw")
def local_gather(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """dst[p, j * e + k] = src[p, i_j + k]; i_j = indices[j % 16, j // 16] of 16 partitions."""
    source, indices = flat(inputs["src"]), flat(inputs["indices"])
    run = int(fields["elements_per_index"])
    groups = indices.reshape(-1, PARTITIONS_PER_CORE, indices.shape[1])
    starts = groups.transpose(0, 2, 1).reshape(groups.shape[0], -1, 1).astype(np.intp)
    columns = (starts + np.arange(run)).reshape(groups.shape[0], -1)
    _check_indices(columns, source.shape[1])
    per_partition_columns = np.repeat(columns, PARTITIONS_PER_CORE, axis=0)
    return {"dst": np.take_along_axis(source, per_partition_columns, axis=1)}


def _check_indices(columns: np.ndarray, limit: int) -> None:
    highest = int(columns.max(initial=0))
    if highest >= limit:
        raise ExecutionError(
            f"local_gather reads element {highest} of a tile with {limit} elements per partition",
            hint="an index out of range is undefined on the hardware",
        )


def _partition_reduce_mode(fields: Fields, context: Context) -> OperandMode:
    op = fields["op"]
    exact = op in ("add", "max") and all_words(context)
    return "raw" if exact or (op != "average" and is_bitvec(op)) else "float32"


@semantics("partition_reduce", operands=_partition_reduce_mode)
def partition_reduce(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """dst[0, f] = op over the partitions of src[:, f]; average: the sum over their number."""
    source, op = inputs["src"], fields["op"]
    dst = context.dtypes["dst"]
    if op == "average":
        return {"dst": source.sum(axis=0, keepdims=True) / np.float32(source.shape[0])}
    if is_bitvec(op):
        bits = REDUCTIONS[op].reduce(as_unsigned(source), axis=0, keepdims=True)
        return {"dst": bits.astype(f"u{dst.size_bytes}", copy=False).view(dst.numpy)}
    if source.dtype == np.float32:
        return {"dst": REDUCTIONS[op].reduce(source, axis=0, keepdims=True)}
    exact = REDUCTIONS[op].reduce(source.astype(np.int64), axis=0, keepdims=True)
    return {"dst": exact.astype(dst.numpy)}
