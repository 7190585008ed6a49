"""Store integers of 2 and 4 bits, and 8-bit floats that the machine lacks, in bytes.

Why: they are types of storage, quantised weights mostly, which are converted before anything is
computed; the machine has bytes.

Precondition: StableHLO without calls but by `neuron.repeat`.
Postcondition: none of these types. Integers are i8 or ui8 of the same value; floats are ui8 of the
same bits. Arguments and results of `@main` carry `neuron.host_dtype`.

Before:
    %0 = stablehlo.add %x, %y : tensor<4xi4>
After:
    %0 = stablehlo.add %x, %y : tensor<4xi8>
    %1 = stablehlo.shift_left %0, %four : tensor<4xi8>
    %2 = stablehlo.shift_right_arithmetic %1, %four : tensor<4xi8>

Results of integer operations are cut to their bits, which is what wrapping means: the low bits of
sums and products do not depend on the others. Floats are computed in float32 and rounded. A matrix
product of floats takes its operands as bf16, which holds all of them.

Refuses: conversions to f8E8M0FNU, floats in regions (UnsupportedOpError).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from torch_mlir import ir

from axonc.diagnostics import Finding, unsupported_error
from axonc.dialects.attributes import (
    SUBBYTE_BITS,
    dense_to_numpy,
    element_name,
    numpy_to_dense,
    subbyte_to_numpy,
)
from axonc.dialects.locations import source_location
from axonc.dialects.neuron.argument_names import HOST_DTYPE
from axonc.passes.base import Pass
from axonc.passes.graph.module import main_function
from axonc.passes.graph.rewrite import body_of, in_place_of, redirect
from axonc.passes.prepare import words
from axonc.passes.prepare.expand import float8
from axonc.passes.prepare.inline_blocks import InlineBlocksPass
from axonc.passes.unsupported import Unsupported

FLOATS = frozenset({*float8.FORMATS, "f8E8M0FNU"})
SMALL = FLOATS | set(SUBBYTE_BITS)
BYTE = 8
_HINT = "convert to a type of a byte or more first"


@dataclass(frozen=True)
class ExpandSmallTypesPass(Pass, name="expand-small-types"):
    """Store integers of 2 and 4 bits, and 8-bit floats that the machine lacks, in bytes."""

    def apply(self, op: ir.Operation) -> bool:
        main = main_function(op)
        if not _concerned(op) and not any(map(is_small, body_of(main).arguments)):
            return False
        InlineBlocksPass().apply(op)
        main = main_function(op)
        _note_host_dtypes(main)
        concerned = _concerned(op)
        kinds = {v: element_name(v.type) for each in concerned for v in _small(each)}
        kinds |= {a: element_name(a.type) for a in body_of(main).arguments if is_small(a)}
        _retype_arguments(main)
        findings = [f for each in concerned if (f := _expanded(each, kinds))]
        if findings:
            raise unsupported_error(findings)
        _retype_function(main)
        return True


def is_small(value: ir.Value) -> bool:
    return isinstance(value.type, ir.RankedTensorType) and element_name(value.type) in SMALL


def _arguments(op: ir.Operation) -> list[ir.Value]:
    return [a for region in op.regions for block in region.blocks for a in block.arguments]


def _small(op: ir.Operation) -> list[ir.Value]:
    return [v for v in (*op.operands, *op.results, *_arguments(op)) if is_small(v)]


def _concerned(root: ir.Operation) -> list[ir.Operation]:
    """Operations that read or make small numbers, in order; those of regions after what they are
    in."""
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.name.startswith("stablehlo.") and _small(op):
            found.append(op)
        return ir.WalkResult.ADVANCE

    root.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found


def carrier(name: str) -> ir.Type:
    """What holds a number of this type."""
    if name in FLOATS or name.startswith("u"):
        return ir.IntegerType.get_unsigned(BYTE)
    return ir.IntegerType.get_signless(BYTE)


def _carried(kind: ir.Type) -> ir.Type:
    if not isinstance(kind, ir.RankedTensorType) or element_name(kind) not in SMALL:
        return kind
    return ir.RankedTensorType.get(kind.shape, carrier(element_name(kind)))


# ---- one operation -------------------------------------------------------------------------


def _expanded(op: ir.Operation, kinds: dict[ir.Value, str]) -> Finding | None:
    """Give an operation its form on bytes, or say why that is not possible. kinds: the small type
    of every value that had one."""
    name = op.name.removeprefix("stablehlo.")
    is_float = any(kinds.get(v) in FLOATS for v in (*op.operands, *op.results, *_arguments(op)))
    try:
        with in_place_of(op):
            if name in _RULES:
                found = _RULES[name](op, kinds)
                redirect([op.results[0]], [found])
                if op.results[0] in kinds:
                    kinds[found] = kinds[op.results[0]]
                op.erase()
            elif name in _MOVING or not is_float:
                _retype(op, kinds, cuts=name not in _MOVING)
            else:
                _through_float32(op, kinds)
    except Unsupported as problem:
        return Finding(op.name, problem.reason, source_location(op), problem.hint)
    return None


def _retype(op: ir.Operation, kinds: dict[ir.Value, str], *, cuts: bool) -> None:
    """The operation on bytes; its results are cut to their bits."""
    if op.name in _NATURAL:
        for number, value in enumerate(op.operands):
            if value in kinds and not kinds[value].startswith("u"):
                op.operands[number] = _as_signed(_natural(value, kinds[value]))
    if op.name == "stablehlo.shift_right_arithmetic" and kinds[op.operands[0]].startswith("u"):
        op.operands[0] = _with_top_bit_above(op.operands[0], kinds[op.operands[0]])
    for value in (*op.results, *_arguments(op)):
        value.set_type(_carried(value.type))
    if not cuts or op.parent.operation.name != "func.func":
        return
    with ir.InsertionPoint.after(op), op.location:
        for value in op.results:
            if value in kinds:
                uses = [(use.owner, use.operand_number) for use in value.uses]
                made = _less_above(op, value, kinds[value])
                kinds[made] = kinds[value]
                for owner, number in uses:
                    owner.operands[number] = made


def _less_above(op: ir.Operation, value: ir.Value, name: str) -> ir.Value:
    """Cut; of leading zeros those that the byte has above the number."""
    if op.name == "stablehlo.count_leading_zeros":
        return words.subtract(value, BYTE - SUBBYTE_BITS[name])
    return _cut(value, name)


def _cut(value: ir.Value, name: str) -> ir.Value:
    """The low bits of a byte, with their sign."""
    above = BYTE - SUBBYTE_BITS[name]
    high = words.shift_left(value, above)
    if name.startswith("u"):
        return words.shift_right(high, above)
    distance = words.filled(above, high.type)
    return words.create("shift_right_arithmetic", (high, distance), high.type)


def _with_top_bit_above(value: ir.Value, name: str) -> ir.Value:
    """The highest bit of an unsigned number repeated above it, as a shift that keeps it wants."""
    above = words.filled(BYTE - SUBBYTE_BITS[name], value.type)
    high = words.shift_left(value, above)
    return words.create("shift_right_arithmetic", (high, above), high.type)


def _natural(value: ir.Value, name: str) -> ir.Value:
    """The bits of a small integer as a ui8."""
    unsigned = ir.RankedTensorType.get(value.type.shape, ir.IntegerType.get_unsigned(BYTE))
    return words.both(words.bitcast(value, unsigned), (1 << SUBBYTE_BITS[name]) - 1)


def _as_signed(value: ir.Value) -> ir.Value:
    signed = ir.RankedTensorType.get(value.type.shape, ir.IntegerType.get_signless(BYTE))
    return words.bitcast(value, signed)


def _through_float32(op: ir.Operation, kinds: dict[ir.Value, str]) -> None:
    """Decoded, computed, rounded."""
    if op.regions or len(op.results) != 1:
        raise Unsupported("8-bit floats in a region", _HINT)
    is_product = op.name in ("stablehlo.dot_general", "stablehlo.dot", "stablehlo.convolution")
    operands = [_decoded(v, kinds) for v in op.operands]
    if is_product:
        operands = [words.convert(v, ir.BF16Type.get()) for v in operands]
    result = op.results[0]
    is_small_result = result in kinds
    kind = words.of_shape(result, words.f32()) if is_small_result else result.type
    made = ir.Operation.create(op.name, [kind], operands, dict(op.attributes.items())).results[0]
    found = _encoded(made, kinds[result]) if is_small_result else made
    if is_small_result:
        kinds[found] = kinds[result]
    redirect([result], [found])
    op.erase()


def _decoded(value: ir.Value, kinds: dict[ir.Value, str]) -> ir.Value:
    return float8.decoded(value, kinds[value]) if kinds.get(value) in FLOATS else value


def _encoded(value: ir.Value, name: str) -> ir.Value:
    if name not in float8.FORMATS:
        raise Unsupported(f"a conversion to {name}", "pass it as an argument")
    return float8.encoded(words.convert(value, words.f32()), name)


# ---- rules ---------------------------------------------------------------------------------

Kinds: TypeAlias = "dict[ir.Value, str]"


def _constant(op: ir.Operation, kinds: Kinds) -> ir.Value:
    attribute, name = op.attributes["value"], kinds[op.results[0]]
    if name in FLOATS:
        array = np.ascontiguousarray(dense_to_numpy(attribute)).view(np.uint8)
    else:
        array = subbyte_to_numpy(attribute)
    shape = tuple(op.results[0].type.shape)
    value = numpy_to_dense(array.reshape(shape), carrier(name))
    return words.create("constant", (), value.type, {"value": value})


def _convert(op: ir.Operation, kinds: Kinds) -> ir.Value:
    value, result = op.operands[0], op.results[0]
    before, after = kinds.get(value, ""), kinds.get(result, "")
    if before in FLOATS:
        value = float8.decoded(value, before)
    if after in FLOATS:
        return _encoded(value, after)
    if not after:
        return words.convert(value, result.type.element_type)
    if element_name(value.type)[0] not in "ui":
        value = _limited(value, after)
    element = carrier(after)
    return _cut(words.convert(value, element), after)


def _limited(value: ir.Value, name: str) -> ir.Value:
    """A float within the range of a small integer: what is beyond becomes the nearest limit."""
    bits = SUBBYTE_BITS[name]
    low, high = (0, 2**bits - 1) if name[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return words.maximum(words.minimum(value, float(high)), float(low))


def _bitcast(op: ir.Operation, kinds: Kinds) -> ir.Value:
    """By way of bytes that hold the bits: those of several small numbers, the first one lowest."""
    value, result = op.operands[0], op.results[0]
    before, after = kinds.get(value, ""), kinds.get(result, "")
    kind = _carried(result.type)
    packed = value if before in FLOATS or not before else _packed(value, before, after)
    if after in SUBBYTE_BITS:
        if before in SUBBYTE_BITS and SUBBYTE_BITS[before] == SUBBYTE_BITS[after]:
            return _cut(words.bitcast(packed, kind), after)
        return _unpacked(packed, kind, after)
    return words.bitcast(packed, kind)


def _packed(value: ir.Value, name: str, after: str) -> ir.Value:
    """[..., n] small numbers as [..., n bits / 8] bytes; itself for a type as wide."""
    bits, natural = SUBBYTE_BITS[name], _natural(value, name)
    if after in SUBBYTE_BITS and SUBBYTE_BITS[after] == bits:
        return natural
    if after in SUBBYTE_BITS:
        raise Unsupported("a bitcast between integers of 2 and 4 bits", _HINT)
    shape, count = list(natural.type.shape), BYTE // bits
    last = len(shape)
    parts = words.reshape(natural, [*shape[:-1], shape[-1] // count, count])
    total = None
    for number in range(count):
        part = words.slice_along(parts, last, number, number + 1)
        moved = words.shift_left(part, number * bits)
        total = moved if total is None else words.either(total, moved)
    assert total is not None
    size = shape[-1] // count
    return words.reshape(total, shape[:-1] if size == 1 else [*shape[:-1], size])


def _unpacked(value: ir.Value, kind: ir.RankedTensorType, name: str) -> ir.Value:
    """Bytes, or wider numbers, as small numbers in a last dim."""
    bits, wide = SUBBYTE_BITS[name], value.type.element_type.width // BYTE
    unsigned = ir.IntegerType.get_unsigned(BYTE)
    shape = [*value.type.shape, *([wide] if wide > 1 else [])]
    pieces = words.bitcast(value, ir.RankedTensorType.get(shape, unsigned))
    columns = [
        words.reshape(words.shift_right(pieces, n * bits), [*shape, 1]) for n in range(BYTE // bits)
    ]
    whole = words.reshape(words.concatenate(columns, len(shape)), kind.shape)
    return _cut(words.bitcast(whole, kind), name)


_RULES: dict[str, Callable[[ir.Operation, Kinds], ir.Value]] = {
    "bitcast_convert": _bitcast,
    "constant": _constant,
    "convert": _convert,
}

_MOVING = frozenset(
    "all_gather all_to_all and broadcast broadcast_in_dim case collective_permute compare "
    "concatenate copy custom_call dynamic_slice dynamic_update_slice gather if maximum minimum "
    "optimization_barrier or pad reshape return reverse select slice sort transpose while "
    "xor".split()
) - {"compare", "maximum", "minimum", "sort"}
"""Operations whose results are bits that were there."""

_NATURAL = frozenset(
    ("stablehlo.popcnt", "stablehlo.shift_right_logical", "stablehlo.count_leading_zeros")
)
"""Operations that see the bits above those of a negative number."""


# ---- the edges of @main --------------------------------------------------------------------


def _note_host_dtypes(main: ir.Operation) -> None:
    block = body_of(main)
    sides = {"arg_attrs": block.arguments, "res_attrs": list(block.operations)[-1].operands}
    for which, values in sides.items():
        present = main.attributes[which] if which in main.attributes else [()] * len(values)
        dictionaries = [{a.name: a.attr for a in d} for d in present]
        for attributes, value in zip(dictionaries, values, strict=True):
            if is_small(value):
                attributes[HOST_DTYPE] = ir.StringAttr.get(element_name(value.type))
        if any(dictionaries):
            array = [ir.DictAttr.get(d) for d in dictionaries]
            main.attributes[which] = ir.ArrayAttr.get(array)


def _retype_arguments(main: ir.Operation) -> None:
    for argument in body_of(main).arguments:
        argument.set_type(_carried(argument.type))


def _retype_function(main: ir.Operation) -> None:
    block = body_of(main)
    results = [v.type for v in list(block.operations)[-1].operands]
    kind = ir.FunctionType.get([a.type for a in block.arguments], results)
    main.attributes["function_type"] = ir.TypeAttr.get(kind)
