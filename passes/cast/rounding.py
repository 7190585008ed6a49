"""What a cast does to numbers, in numpy: a value rounded as the machine would, as float32 again.

The reference evaluators run on these to tell what a cast costs in accuracy."""

from __future__ import annotations

import numpy as np
from torch_mlir import ir

from axonc.backends.numerics.cast import from_float32, to_float32
from axonc.backends.numerics.dtypes import BF16, F16, F32, TF32, DType
from axonc.backends.numerics.quantize import (
    FORMATS,
    QuantizedFormat,
    dequantize,
    quantize,
    scales_of,
)
from axonc.dialects.neuron.evaluate import evaluate_op
from axonc.passes.cast.cast_choice import CastChoice
from axonc.passes.cast.product_sides import product_sides

_DTYPES: dict[str, DType] = {"fp32": F32, "bf16": BF16, "fp16": F16, "tf32": TF32}


def rounded(array: np.ndarray, compute: str) -> np.ndarray:
    """`array` in a type without scale."""
    wide = np.ascontiguousarray(array, np.float32)
    return to_float32(from_float32(wide, _DTYPES[compute]), _DTYPES[compute])


def stored(
    array: np.ndarray, kept: tuple[int, ...], kind: QuantizedFormat, option: str
) -> np.ndarray:
    """A weight in 8 bits; kept: dims with a scale of their own, if there are any by `option`."""
    scales = scales_of(array, kept if kind.has_channel_scales(option) else (), kind)
    return dequantize(quantize(array, scales, kind), scales, kind)


def limited(array: np.ndarray, scale: float, kind: QuantizedFormat) -> np.ndarray:
    """An activation in 8 bits."""
    number = np.float32(scale)
    return dequantize(quantize(array, number, kind), number, kind)


def cast_product(
    op: ir.Operation,
    operands: list[np.ndarray],
    choice: CastChoice,
    weights: tuple[bool, bool],
    scales: tuple[float, float],
    option: str,
) -> np.ndarray:
    """The result of a dot or convolution if its operands are cast. weights: which operands are
    weights; scales: of those that are not, in an 8-bit type."""
    made = []
    for array, side, is_weight, scale in zip(
        operands, product_sides(op), weights, scales, strict=True
    ):
        if is_weight and choice.weight in FORMATS:
            made.append(stored(array, side.kept, FORMATS[choice.weight], option))
        elif choice.compute in FORMATS:
            made.append(limited(array, scale, FORMATS[choice.compute]))
        else:
            made.append(rounded(array, choice.compute))
    return evaluate_op(op, made)


def cast_gather(
    op: ir.Operation, operands: list[np.ndarray], choice: CastChoice, option: str
) -> np.ndarray:
    """The rows gathered from a table in 8 bits."""
    rows = evaluate_op(op, operands)
    if choice.weight not in FORMATS:
        return rows
    kind = FORMATS[choice.weight]
    if kind.has_channel_scales(option):
        index_dims = tuple(range(operands[1].ndim))
        return stored(rows, index_dims, kind, option)
    return limited(rows, float(scales_of(operands[0], (), kind).max()), kind)
