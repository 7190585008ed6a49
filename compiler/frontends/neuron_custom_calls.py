"""Element-wise custom calls that programs traced for neuronx-cc contain -> StableHLO (and chlo).

The names are those neuronx-cc lists (machine.md#operators-of-hlo); the functions are what the names
say, in the operand's type. Calls that are not here keep their name and are refused by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import chlo
from jaxlib.mlir.dialects import stablehlo as hlo

from axonc.imported.stablehlo_module import walk


def _splat(value: float, like: ir.Value) -> ir.Value:
    kind = ir.RankedTensorType(like.type)
    element = ir.FloatAttr.get(kind.element_type, value)
    return hlo.constant(ir.DenseElementsAttr.get_splat(kind, element))


def _erf(x: ir.Value) -> ir.Value:
    return chlo.erf(x)


def _gelu(x: ir.Value) -> ir.Value:
    """x / 2 * (1 + erf(x / sqrt 2))."""
    inner = chlo.erf(hlo.multiply(x, _splat(math.sqrt(0.5), x)))
    return _half_times(x, inner)


def _gelu_tanh(x: ir.Value) -> ir.Value:
    """x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))."""
    cube = hlo.multiply(hlo.multiply(x, x), x)
    bent = hlo.add(x, hlo.multiply(_splat(0.044715, x), cube))
    inner = hlo.tanh(hlo.multiply(_splat(math.sqrt(2 / math.pi), x), bent))
    return _half_times(x, inner)


def _half_times(x: ir.Value, inner: ir.Value) -> ir.Value:
    half = hlo.multiply(x, _splat(0.5, x))
    return hlo.multiply(half, hlo.add(inner, _splat(1.0, x)))


def _silu(x: ir.Value) -> ir.Value:
    return hlo.multiply(x, hlo.logistic(x))


ELEMENTWISE: dict[str, Callable[[ir.Value], ir.Value]] = {
    "AwsNeuronErf": _erf,
    "AwsNeuronGelu": _gelu,
    "AwsNeuronGeluApprxTanh": _gelu_tanh,
    "AwsNeuronSilu": _silu,
}


def expand_neuron_calls(module: ir.Module) -> None:
    """Replace the calls of `ELEMENTWISE` that take one float tensor and give one of its type."""
    for operation in list(walk(module)):
        expand = ELEMENTWISE.get(_target(operation))
        if expand is None or not _is_elementwise(operation):
            continue
        with operation.location, ir.InsertionPoint(operation):
            made = expand(operation.operands[0])
        operation.results[0].replace_all_uses_with(made)
        operation.erase()


def _target(operation: ir.Operation) -> str:
    if operation.name != "stablehlo.custom_call":
        return ""
    return str(ir.StringAttr(operation.attributes["call_target_name"]).value)


def _is_elementwise(operation: ir.Operation) -> bool:
    operands, results = operation.operands, operation.results
    if len(operands) != 1 or len(results) != 1 or operands[0].type != results[0].type:
        return False
    element = ir.RankedTensorType(operands[0].type).element_type
    return isinstance(element, ir.F32Type | ir.BF16Type | ir.F16Type)
