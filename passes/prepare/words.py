"""StableHLO operations on words of 32 bits, at the insertion point, from plain Python values.

A number stands for a tensor of it in the shape and type of the other operand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import element_name, numpy_to_dense, splat, splat_number

Operand: TypeAlias = "ir.Value | int | float"


def u32() -> ir.Type:
    return ir.IntegerType.get_unsigned(32)


def i32() -> ir.Type:
    return ir.IntegerType.get_signless(32)


def f32() -> ir.Type:
    return ir.F32Type.get()


def create(
    name: str,
    operands: Sequence[ir.Value],
    kind: ir.Type,
    attributes: Mapping[str, ir.Attribute] | None = None,
) -> ir.Value:
    """The result of a new `stablehlo.<name>` without region."""
    op = ir.Operation.create(f"stablehlo.{name}", [kind], list(operands), dict(attributes or {}))
    return op.results[0]


def constant(array: np.ndarray, element: ir.Type) -> ir.Value:
    value = numpy_to_dense(array, element)
    return create("constant", (), value.type, {"value": value})


def filled(number: int | float, kind: ir.RankedTensorType) -> ir.Value:
    """A constant whose elements are all `number`."""
    return create("constant", (), kind, {"value": splat(number, kind)})


def number_of(value: ir.Value) -> float | int | None:
    """The number that all elements of a constant are, also of a repeated one; None for others."""
    while not isinstance(value.owner, ir.Block):
        op = value.owner.operation
        if op.name == "stablehlo.constant" and isinstance(
            op.attributes["value"], ir.DenseElementsAttr
        ):
            return splat_number(op.attributes["value"])
        if op.name != "stablehlo.broadcast_in_dim":
            return None
        value = op.operands[0]
    return None


def of_shape(like: ir.Value, element: ir.Type) -> ir.RankedTensorType:
    return ir.RankedTensorType.get(like.type.shape, element)


def _operands(*given: Operand) -> list[ir.Value]:
    kind = next(v.type for v in given if isinstance(v, ir.Value))
    return [v if isinstance(v, ir.Value) else filled(v, kind) for v in given]


def _binary(name: str, a: Operand, b: Operand) -> ir.Value:
    operands = _operands(a, b)
    return create(name, operands, operands[0].type)


def add(a: Operand, b: Operand) -> ir.Value:
    return _binary("add", a, b)


def subtract(a: Operand, b: Operand) -> ir.Value:
    return _binary("subtract", a, b)


def multiply(a: Operand, b: Operand) -> ir.Value:
    return _binary("multiply", a, b)


def divide(a: Operand, b: Operand) -> ir.Value:
    return _binary("divide", a, b)


def maximum(a: Operand, b: Operand) -> ir.Value:
    return _binary("maximum", a, b)


def minimum(a: Operand, b: Operand) -> ir.Value:
    return _binary("minimum", a, b)


def both(a: Operand, b: Operand) -> ir.Value:
    """Bitwise, or of booleans."""
    return _binary("and", a, b)


def either(a: Operand, b: Operand) -> ir.Value:
    """Bitwise, or of booleans."""
    return _binary("or", a, b)


def differing(a: Operand, b: Operand) -> ir.Value:
    """Bitwise exclusive or."""
    return _binary("xor", a, b)


def inverted(a: ir.Value) -> ir.Value:
    """Bitwise, or of a boolean."""
    return create("not", (a,), a.type)


def shift_left(a: Operand, distance: Operand) -> ir.Value:
    """0 from a distance of 32 on, which is unsigned."""
    return _binary("shift_left", a, distance)


def shift_right(a: Operand, distance: Operand) -> ir.Value:
    """Filling zeros; 0 from a distance of 32 on, which is unsigned."""
    return _binary("shift_right_logical", a, distance)


def compare(a: Operand, direction: str, b: Operand) -> ir.Value:
    """a `direction` b, as i1."""
    operands = _operands(a, b)
    how = ir.Attribute.parse(f"#stablehlo<comparison_direction {direction}>")
    kind = of_shape(operands[0], ir.IntegerType.get_signless(1))
    return create("compare", operands, kind, {"comparison_direction": how})


def select(predicate: ir.Value, on_true: Operand, on_false: Operand) -> ir.Value:
    operands = _operands(on_true, on_false)
    return create("select", (predicate, *operands), operands[0].type)


def convert(value: ir.Value, element: ir.Type) -> ir.Value:
    """`value` in another element type; itself when it has that."""
    if value.type.element_type == element:
        return value
    return create("convert", (value,), of_shape(value, element))


def bitcast(value: ir.Value, kind: ir.RankedTensorType) -> ir.Value:
    """The bits of `value` as numbers of another width: the last dim of the side with the narrower
    numbers holds the parts, lowest first. Reshaped to `kind` where it has other dims of parts."""
    if value.type == kind:
        return value
    before, after = value.type.element_type.width, kind.element_type.width
    if before == after:
        return create("bitcast_convert", (value,), kind)
    parts = (before // after,) if before > after else ()
    shape = [*value.type.shape, *parts] if parts else list(value.type.shape)[:-1]
    split = create("bitcast_convert", (value,), ir.RankedTensorType.get(shape, kind.element_type))
    return reshape(split, kind.shape)


def is_signed(value: ir.Value) -> bool:
    """Whether the integers are signed."""
    return not element_name(value.type).startswith("u")


def reshape(value: ir.Value, shape: Sequence[int]) -> ir.Value:
    if list(value.type.shape) == list(shape):
        return value
    kind = ir.RankedTensorType.get(list(shape), value.type.element_type)
    return create("reshape", (value,), kind)


def broadcast(value: ir.Value, shape: Sequence[int], dims: Sequence[int]) -> ir.Value:
    """Operand dim i becomes result dim dims[i]."""
    kind = ir.RankedTensorType.get(list(shape), value.type.element_type)
    attributes = {"broadcast_dimensions": ir.DenseI64ArrayAttr.get(list(dims))}
    return create("broadcast_in_dim", (value,), kind, attributes)


def slice_along(value: ir.Value, dim: int, start: int, limit: int, stride: int = 1) -> ir.Value:
    """Elements start, start + stride ... before limit along `dim`, all along the others; itself
    when these are all."""
    shape = list(value.type.shape)
    if (start, stride) == (0, 1) and limit == shape[dim]:
        return value
    first = [start if d == dim else 0 for d in range(len(shape))]
    last = [limit if d == dim else n for d, n in enumerate(shape)]
    steps = [stride if d == dim else 1 for d in range(len(shape))]
    attributes = {
        "start_indices": ir.DenseI64ArrayAttr.get(first),
        "limit_indices": ir.DenseI64ArrayAttr.get(last),
        "strides": ir.DenseI64ArrayAttr.get(steps),
    }
    sizes = [-(-(b - a) // s) for a, b, s in zip(first, last, steps, strict=True)]
    kind = ir.RankedTensorType.get(sizes, value.type.element_type)
    return create("slice", (value,), kind, attributes)


def padded(
    value: ir.Value,
    filling: ir.Value,
    low: Sequence[int],
    high: Sequence[int],
    interior: Sequence[int],
) -> ir.Value:
    """With the scalar `filling` around it and between its elements; itself when there is none.
    Negative edges cut elements off."""
    if not any((*low, *high, *interior)):
        return value
    sizes = [
        n + max(n - 1, 0) * between + a + b
        for n, a, b, between in zip(value.type.shape, low, high, interior, strict=True)
    ]
    names = ("edge_padding_low", "edge_padding_high", "interior_padding")
    attributes = {
        name: ir.DenseI64ArrayAttr.get(list(numbers))
        for name, numbers in zip(names, (low, high, interior), strict=True)
    }
    kind = ir.RankedTensorType.get(sizes, value.type.element_type)
    return create("pad", (value, filling), kind, attributes)


def concatenate(values: Sequence[ir.Value], dim: int) -> ir.Value:
    shape = list(values[0].type.shape)
    shape[dim] = sum(v.type.shape[dim] for v in values)
    kind = ir.RankedTensorType.get(shape, values[0].type.element_type)
    number = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), dim)
    return create("concatenate", values, kind, {"dimension": number})


def transpose(value: ir.Value, order: Sequence[int]) -> ir.Value:
    """Result dim i is dim order[i]."""
    if list(order) == list(range(len(order))):
        return value
    shape = [value.type.shape[d] for d in order]
    kind = ir.RankedTensorType.get(shape, value.type.element_type)
    attributes = {"permutation": ir.DenseI64ArrayAttr.get(list(order))}
    return create("transpose", (value,), kind, attributes)


def reverse(value: ir.Value, dim: int) -> ir.Value:
    attributes = {"dimensions": ir.DenseI64ArrayAttr.get([dim])}
    return create("reverse", (value,), value.type, attributes)
