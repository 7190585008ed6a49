"""VectorE and GpSimdE: operators between tiles, scalars and immediates.

tensor_tensor, tensor_scalar and scalar_tensor_tensor compute in float32. Two exceptions read and
write storage ("raw"): bit operators, and GpSimdE when every tile is i32 or u32, which is exact
modulo 2^32 (machine.md#arithmetic).
"""

from __future__ import annotations

import numpy as np

from axonc.backends.executor.semantics.alu import (
    BIT_FUNCTIONS,
    FLOAT_FUNCTIONS,
    INTEGER_EXACT,
    INTEGER_FUNCTIONS,
    UNARY,
    as_unsigned,
    integer_immediate,
    is_bitvec,
)
from axonc.backends.executor.semantics.registry import (
    Context,
    Fields,
    Inputs,
    OperandMode,
    Outputs,
    semantics,
)
from axonc.backends.numerics.dtypes import I32, U32, DType
from axonc.backends.targets.target import Engine

_FLOAT32 = np.dtype(np.float32)
_WORD_CODES = frozenset((I32.code, U32.code))


def all_words(context: Context) -> bool:
    """Whether GpSimdE runs the instruction and all its tiles hold 32-bit integers."""
    if context.engine is not Engine.GPSIMD:
        return False
    return all(dtype.code in _WORD_CODES for dtype in context.dtypes.values())


def per_partition(scalar: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A [P, 1] operand in a shape that broadcasts over the free dims of `like`."""
    return scalar if like.ndim == 2 else scalar.reshape((-1,) + (1,) * (like.ndim - 1))


def shaped_like(array: np.ndarray, like: np.ndarray) -> np.ndarray:
    """`array` with the free dims of `like` (the counts per partition are equal)."""
    return array if array.shape == like.shape else array.reshape(like.shape)


def _tensor_tensor_mode(fields: Fields, context: Context) -> OperandMode:
    op = fields["op"]
    exact = op in INTEGER_EXACT and all_words(context)
    return "raw" if exact or is_bitvec(op) else "float32"


@semantics("tensor_tensor", operands=_tensor_tensor_mode)
def tensor_tensor(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """dst = src0 op src1."""
    first = inputs["src0"]
    second = shaped_like(inputs["src1"], first)
    op = fields["op"]
    if first.dtype == _FLOAT32:
        return {"dst": FLOAT_FUNCTIONS[op](first, second)}
    return {"dst": _storage_operation(op, first, second, context.dtypes["dst"])}


def _storage_operation(op: str, first: np.ndarray, second: np.ndarray, dst: DType) -> np.ndarray:
    """Bit or exact integer operation on storage arrays; the result wraps to the width of `dst`."""
    if is_bitvec(op):
        unsigned = np.dtype(f"u{dst.size_bytes}")
        a, b = (as_unsigned(x).astype(unsigned, copy=False) for x in (first, second))
        return BIT_FUNCTIONS[op](a, b).view(dst.numpy)
    result = INTEGER_FUNCTIONS[op](first.astype(np.int64), second.astype(np.int64))
    return result.astype(dst.numpy)


_STEPS = (("op0", "scalar0", "imm0", "reverse0"), ("op1", "scalar1", "imm1", "reverse1"))


def _tensor_scalar_mode(fields: Fields, context: Context) -> OperandMode:
    ops = (fields["op0"], fields["op1"])
    if is_bitvec(ops[0]) or is_bitvec(ops[1]):
        return "raw"
    exact = INTEGER_EXACT.issuperset(ops) and all_words(context) and _whole(fields, context)
    return "raw" if exact else "float32"


def _whole(fields: Fields, context: Context) -> bool:
    """Whether the immediates that are used are whole numbers."""
    return all(
        scalar in context.dtypes or float(fields[imm]).is_integer() for _, scalar, imm, _ in _STEPS
    )


@semantics("tensor_scalar", operands=_tensor_scalar_mode)
def tensor_scalar(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """dst = (src op0 s0) op1 s1; a reversed operator takes its scalar first."""
    source = inputs["src"]
    if source.dtype != _FLOAT32:
        return {"dst": _storage_scalar(inputs, fields, context.dtypes["dst"])}
    result = source
    for op_name, scalar_name, imm_name, reverse_name in _STEPS:
        op = fields[op_name]
        if op == "bypass":
            continue
        operand = _scalar_operand(inputs, fields, scalar_name, imm_name, source)
        scratch = None if result is source else result
        result = _float_step(op, result, operand, fields[reverse_name], scratch)
    return {"dst": result}


def _scalar_operand(
    inputs: Inputs, fields: Fields, scalar_name: str, imm_name: str, like: np.ndarray
) -> np.ndarray | np.float32:
    """The [P, 1] tile if it is present, else the immediate."""
    scalar = inputs.get(scalar_name)
    return np.float32(fields[imm_name]) if scalar is None else per_partition(scalar, like)


def _float_step(
    op: str,
    value: np.ndarray,
    operand: np.ndarray | np.float32,
    reverse: bool,
    scratch: np.ndarray | None,
) -> np.ndarray:
    """value op operand, or operand op value; `scratch` may take the result."""
    function = FLOAT_FUNCTIONS[op]
    first, second = (operand, value) if reverse and op not in UNARY else (value, operand)
    if scratch is not None and isinstance(function, np.ufunc):
        return function(first, second, out=scratch)
    return function(first, second)  # type: ignore[arg-type]


def _storage_scalar(inputs: Inputs, fields: Fields, dst: DType) -> np.ndarray:
    """tensor_scalar for bit operators and exact integers, on storage arrays.

    The intermediate result has the width of `dst` for bit operators and is a 64-bit integer for
    others, so that only the last result wraps.
    """
    source = inputs["src"]
    bits = is_bitvec(fields["op0"]) or is_bitvec(fields["op1"])
    kind = np.dtype(f"u{dst.size_bytes}") if bits else np.dtype(np.int64)
    functions = BIT_FUNCTIONS if bits else INTEGER_FUNCTIONS
    value = _widened(source, kind)
    for op_name, scalar_name, imm_name, reverse_name in _STEPS:
        op = fields[op_name]
        if op == "bypass":
            continue
        scalar = inputs.get(scalar_name)
        if scalar is not None:
            operand = _widened(per_partition(scalar, source), kind)
        else:
            operand = _integer_constant(integer_immediate(fields[imm_name], op), kind)
        swap = fields[reverse_name] and op not in UNARY
        first, second = (operand, value) if swap else (value, operand)
        value = functions[op](first, second).astype(kind, copy=False)
    return value.astype(dst.numpy, copy=False)


def _integer_constant(value: int, kind: np.dtype) -> np.ndarray:
    """`value` modulo the width of `kind`."""
    width = kind.itemsize * 8
    return np.array([value % (1 << width)], dtype=f"u{kind.itemsize}").view(kind)


def _widened(array: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Storage as `kind`: an unsigned type takes the bits, int64 the value."""
    source = as_unsigned(array) if kind.kind == "u" else array
    return source.astype(kind, copy=False)


@semantics("scalar_tensor_tensor", operands="float32")
def scalar_tensor_tensor(inputs: Inputs, fields: Fields, context: Context) -> Outputs:
    """dst = (src0 op0 s) op1 src1; reversed: s op0 src0, src1 op1 (...)."""
    first = inputs["src0"]
    second = shaped_like(inputs["src1"], first)
    operand = _scalar_operand(inputs, fields, "scalar", "imm", first)
    result = _float_step(fields["op0"], first, operand, fields["reverse0"], None)
    scratch = None if result is first else result
    return {"dst": _float_step(fields["op1"], result, second, fields["reverse1"], scratch)}
