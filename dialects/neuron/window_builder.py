"""Creates neuron operations with windows; see builder.py."""

from __future__ import annotations

from collections.abc import Sequence

from torch_mlir import ir

from axonc.dialects.attributes import integer, integer_array
from axonc.dialects.neuron.builder import (
    RegionBuilder,
    create,
    fill_region,
    operand_runs,
    shape_of,
    tensor,
)
from axonc.dialects.neuron.window import WindowDim
from axonc.dialects.neuron.window_rules import ConvolutionDims, convolution_shape


def convolution(
    lhs: ir.Value,
    rhs: ir.Value,
    dims: ConvolutionDims,
    element: ir.Type,
    loc: ir.Location | None = None,
) -> ir.Value:
    """A convolution without epilogue, `element` of the result."""
    kind = tensor(convolution_shape(shape_of(lhs), shape_of(rhs), dims), element)
    return convolution_with_epilogue(lhs, rhs, (), _attributes(dims), kind, None, loc)


def convolution_with_epilogue(
    lhs: ir.Value,
    rhs: ir.Value,
    extras: Sequence[ir.Value],
    attributes: dict[str, ir.Attribute],
    kind: ir.RankedTensorType,
    epilogue: RegionBuilder | None,
    loc: ir.Location | None = None,
) -> ir.Value:
    """A convolution; `epilogue` gets the f32 accumulator and the extras."""
    operands = [lhs, rhs, *extras]
    attributes = {**attributes, "operandSegmentSizes": operand_runs([v.type for v in operands])}
    op = ir.Operation.create("neuron.convolution", [kind], operands, attributes, regions=1, loc=loc)
    if epilogue:
        accumulator = tensor(kind.shape, ir.F32Type.get())
        fill_region(op, [accumulator, *(e.type for e in extras)], epilogue)
    return op.results[0]


def _attributes(dims: ConvolutionDims) -> dict[str, ir.Attribute]:
    windows = dims.windows
    lists = {
        "lhs_dims": dims.lhs,
        "rhs_dims": dims.rhs,
        "result_dims": dims.result,
        "strides": [w.stride for w in windows],
        "low": [w.low for w in windows],
        "high": [w.high for w in windows],
        "lhs_dilation": [w.base_dilation for w in windows],
        "rhs_dilation": [w.dilation for w in windows],
        "reversal": [int(w.is_reversed) for w in windows],
    }
    return {name: integer_array(v) for name, v in lists.items()} | {"groups": integer(dims.groups)}


def reduce_window(
    value: ir.Value, kind: str, windows: Sequence[WindowDim], loc: ir.Location | None = None
) -> ir.Value:
    """`kind` over windows that slide along every dim of `value`."""
    sizes = [w.output_length(n) for w, n in zip(windows, shape_of(value), strict=True)]
    attributes = {
        "kind": ir.StringAttr.get(kind),
        "window": integer_array(w.size for w in windows),
        "strides": integer_array(w.stride for w in windows),
        "low": integer_array(w.low for w in windows),
        "high": integer_array(w.high for w in windows),
        "dilation": integer_array(w.dilation for w in windows),
    }
    kind_of_result = tensor(sizes, value.type.element_type)
    return create("reduce_window", (value,), kind_of_result, attributes, loc)
