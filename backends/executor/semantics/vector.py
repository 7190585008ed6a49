"""VectorE: copies, reductions, scans, statistics, moves between partitions, random bits."""

from __future__ import annotations

import numpy as np

from axonc.backends.executor.semantics.alu import (
    FLOAT_FUNCTIONS,
    as_unsigned,
    is_bitvec,
    reduce_last_axis,
)
from axonc.backends.executor.semantics.elementwise import per_partition, shaped_like
from axonc.backends.executor.semantics.registry import (
    Context,
    Fields,
    Inputs,
    OperandMode,
    Outputs,
    semantics,
)
from axonc.backends.isa.vector import KEEP_PARTITION, MASK_FIELDS


def raw_if_same_dtype(fields: Fields, context: Context) -> OperandMode:
    """Equal types keep every bit, others go through float32 (machine.md#arithmetic)."""
    return "raw" if context.dtypes["dst"] is context.dtypes["src"] else "float32"


def flat(array: np.ndarray) -> np.ndarray:
    """[P, *free] as [P, N]."""
    return array if array.ndim == 2 else array.reshape(array.shape[0], -1)


@semantics("tensor_copy", operands=raw_if_same_dtype)
def tensor_copy(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """dst = src."""
    return {"dst": inputs["src"]}


@semantics("tensor_copy_predicated", operands="raw")
def tensor_copy_predicated(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """dst = src where the predicate is not zero (zero, if reversed); else dst keeps its value."""
    old = inputs["dst"]
    chosen = shaped_like(inputs["predicate"], old) != 0
    if fields["reverse_predicate"]:
        chosen = ~chosen
    return {"dst": np.where(chosen, shaped_like(inputs["src"], old), old)}


@semantics("select_reduce", operands="float32")
def select_reduce(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """dst = on_true where the predicate is not zero, else on_false or imm_false."""
    on_true = inputs["on_true"]
    scalar = inputs.get("on_false")
    on_false = np.float32(fields["imm_false"]) if scalar is None else per_partition(scalar, on_true)
    return {"dst": np.where(shaped_like(inputs["predicate"], on_true) != 0, on_true, on_false)}


@semantics("memset", operands="raw")
def memset(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """Every element of dst has the bits `value_bits`."""
    dtype = context.dtypes["dst"]
    value = np.array([fields["value_bits"]], dtype=f"u{dtype.size_bytes}").view(dtype.numpy)
    return {"dst": np.full(context.shapes["dst"], value[0], dtype.numpy)}


@semantics("reciprocal", operands="float32")
def reciprocal(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """dst = 1 / src, correctly rounded (the docs say accurate: assumed)."""
    return {"dst": FLOAT_FUNCTIONS["reciprocal"](inputs["src"], inputs["src"])}


def _reduce_mode(fields: Fields, context: Context) -> OperandMode:
    return "raw" if is_bitvec(fields["op"]) else "float32"


@semantics("tensor_reduce", operands=_reduce_mode)
def tensor_reduce(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """dst[p, kept] = op over the last num_axes dims of src, times -1 with `negate`."""
    source = inputs["src"]
    op = fields["op"]
    kept = source.shape[: source.ndim - fields["num_axes"]]
    rows = source.reshape(*kept, -1)
    if is_bitvec(op):
        dst = context.dtypes["dst"]
        reduced = reduce_last_axis(op, as_unsigned(rows)).astype(f"u{dst.size_bytes}", copy=False)
        return {"dst": reduced.view(dst.numpy)}
    result = reduce_last_axis(op, rows).astype(np.float32, copy=False)
    return {"dst": -result if fields["negate"] else result}


@semantics("tensor_tensor_scan", operands="float32")
def tensor_tensor_scan(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """r[i] = (src0[i] op0 r[i-1]) op1 src1[i], r[-1] = initial; dst = r."""
    first, second = flat(inputs["src0"]), flat(inputs["src1"])
    op0, op1 = FLOAT_FUNCTIONS[fields["op0"]], FLOAT_FUNCTIONS[fields["op1"]]
    result = np.empty(first.shape, np.float32)
    state = np.full(first.shape[0], fields["imm_initial"], np.float32)
    if "initial" in inputs:
        state = inputs["initial"].reshape(-1)
    for i in range(first.shape[1]):
        state = op1(op0(first[:, i], state), second[:, i])
        result[:, i] = state
    return {"dst": result}


@semantics("bn_stats", operands="float32")
def bn_stats(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """(count, mean, variance * count) of the even elements, then of the odd ones; [P, 6]."""
    source = flat(inputs["src"])
    result = np.zeros((source.shape[0], 6), np.float32)
    for first in (0, 1):
        part = source[:, first::2]
        count = part.shape[1]
        if count:
            mean = part.mean(axis=1, dtype=np.float32)
            deviation = part - mean[:, None]
            result[:, 3 * first] = count
            result[:, 3 * first + 1] = mean
            result[:, 3 * first + 2] = np.square(deviation, out=deviation).sum(axis=1)
    return {"dst": result}


@semantics("bn_aggr", operands="float32")
def bn_aggr(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """(mean, variance) of the union of (count, mean, variance * count) populations; [P, 2]."""
    triples = flat(inputs["src"])
    counts, means, squares = triples[:, 0::3], triples[:, 1::3], triples[:, 2::3]
    total = counts.sum(axis=1, keepdims=True)
    mean = (counts * means).sum(axis=1, keepdims=True) / total
    between = counts * np.square(means - mean)
    variance = (squares + between).sum(axis=1, keepdims=True) / total
    return {"dst": np.concatenate((mean, variance), axis=1)}


@semantics("vector_transpose", operands="raw")
def vector_transpose(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """src.T up to [32, 32]; larger tiles keep their shape, each 32 x 32 block is transposed."""
    source = flat(inputs["src"])
    rows, columns = source.shape
    quadrant = context.target.partition_quadrant
    if rows <= quadrant and columns <= quadrant:
        return {"dst": np.ascontiguousarray(source.T)}
    blocks = source.reshape(rows // quadrant, quadrant, columns // quadrant, quadrant)
    return {"dst": blocks.transpose(0, 3, 2, 1).reshape(rows, columns)}


@semantics("stream_shuffle", operands="raw")
def stream_shuffle(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """dst[32 q + i] = src[32 q + mask[i]] from each tile's start; mask 255 keeps dst."""
    source, result = flat(inputs["src"]), flat(inputs["dst"]).copy()
    words = np.array([fields[name] for name in MASK_FIELDS], dtype="<u4")
    mask = words.view(np.uint8).astype(np.intp)
    for start in range(0, result.shape[0], context.target.partition_quadrant):
        active = mask[: result.shape[0] - start]
        moved = np.flatnonzero(active != KEEP_PARTITION)
        result[start + moved] = source[start + active[moved]]
    return {"dst": result}


@semantics("rng", operands="raw")
def rng(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """32 random bits per element, of which dst keeps the low ones."""
    dtype = context.dtypes["dst"]
    bits = context.state.generator.integers(0, 1 << 32, size=context.shapes["dst"], dtype=np.uint32)
    return {"dst": bits.astype(f"u{dtype.size_bytes}").view(dtype.numpy)}


@semantics("set_rng_seed", operands="raw")
def set_rng_seed(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """Restart the generator from the 32 bits of src[0, 0]; writes nothing."""
    seed = int(inputs["src"].reshape(-1)[:1].view(np.uint32)[0])
    context.state.generator = np.random.default_rng(seed)
    return {}
