"""Bits of numbers as numbers of other types: part of `legalize-to-neuron`.

Equally wide types are one operation. Where widths differ, the narrow side has one more dim, the
last: the parts of a wide number, lowest bits first.
"""

from __future__ import annotations

import functools

from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.passes.graph.fold_constants import fold


def bitcast_convert(op: ir.Operation) -> ir.Value:
    operand, kind = op.operands[0], op.results[0].type
    before, after = (width_of(v.type.element_type) for v in (operand, op.results[0]))
    if before == after:
        return same_width(operand, kind.element_type)
    if before < after:
        return _joined(operand, kind.element_type)
    return _split(operand, kind)


def width_of(element: ir.Type) -> int:
    """Bits of a number; booleans have one."""
    width: int = element.width
    return width


def _natural(width: int) -> ir.Type:
    """The unsigned type of that width; booleans stay what they are."""
    if width == 1:
        return ir.IntegerType.get_signless(1)
    return ir.IntegerType.get_unsigned(width)


def same_width(value: ir.Value, element: ir.Type) -> ir.Value:
    """The bits of `value` as numbers of `element`, which is as wide."""
    return fold(build.bitcast(value, element))


def _joined(parts: ir.Value, element: ir.Type) -> ir.Value:
    """[..., n] as [...]: every part in its place, the others 0 there. The sum of numbers without a
    common bit is their union."""
    width, count = width_of(parts.type.element_type), parts.type.shape[-1]
    words = fold(build.convert(same_width(parts, _natural(width)), _word()))
    placed = [_shifted("shift_left", _part(words, n), n * width) for n in range(count)]
    word = functools.reduce(lambda a, b: fold(build.create("or", (a, b), a.type)), placed)
    whole = build.convert(word, _natural(width_of(element)))
    return same_width(fold(whole), element)


def _part(words: ir.Value, number: int) -> ir.Value:
    shape = build.shape_of(words)
    start = [0] * (len(shape) - 1) + [number]
    limit = [*shape[:-1], number + 1]
    return fold(build.reshape(fold(build.slice_(words, start, limit)), shape[:-1]))


def _split(value: ir.Value, kind: ir.RankedTensorType) -> ir.Value:
    """[...] as [..., n]: shifted down, and what is above dropped."""
    width, count = width_of(kind.element_type), kind.shape[-1]
    natural = same_width(value, _natural(width_of(value.type.element_type)))
    words = fold(build.convert(natural, _word()))
    mask = build.splat_constant((1 << width) - 1, words.type)
    parts = []
    for number in range(count):
        moved = _shifted("shift_right_logical", words, number * width)
        low = fold(build.create("and", (moved, mask), words.type))
        narrow = fold(build.convert(low, _natural(width)))
        parts.append(fold(build.reshape(narrow, [*build.shape_of(value), 1])))
    whole = fold(build.concatenate(parts, len(build.shape_of(value))))
    return same_width(whole, kind.element_type)


def _word() -> ir.Type:
    return ir.IntegerType.get_unsigned(32)


def _shifted(name: str, words: ir.Value, distance: int) -> ir.Value:
    if not distance:
        return words
    return fold(build.create(name, (words, build.splat_constant(distance, words.type)), words.type))
