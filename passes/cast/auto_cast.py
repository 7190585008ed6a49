"""Compute in a smaller float type where the user allows it; report every cast.

Why: the PE array multiplies bf16 four times as fast as f32, and smaller types halve every transfer.

Precondition: neuron operations, before fusion.
Postcondition: `mode=matmult`: the f32 operands of every dot are converted to `type`; results stay
f32. `mode=all`: every f32 value inside is of `type`; arguments and results of the program keep
theirs. In both, values that rounding would ruin stay f32 (kept_values.py). Sums, softmax and norms
compute in float32 inside whatever their type is, and dots accumulate in float32.

Before:
    %0 = "neuron.dot"(%x, %w) ({})
         {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]}
         : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
After (mode=matmult type=bf16):
    %b = "neuron.convert"(%w) : (tensor<8x8xf32>) -> tensor<8x8xbf16>
    %a = "neuron.convert"(%x) : (tensor<4x8xf32>) -> tensor<4x8xbf16>
    %0 = "neuron.dot"(%a, %b) ({})
         {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]}
         : (tensor<4x8xbf16>, tensor<8x8xbf16>) -> tensor<4x8xf32>

A tensor is converted once, however many dots read it, and before reshapes and transposes, so that
the conversion meets its producer. An operation with the attribute `cast.compute` (plan-casts) takes
that type in any mode; where it is an 8-bit float, `quantize` converts the operands. The report
lists every cast that was not planned.

Options: mode = none | matmult | all; type = bf16 | fp16 | tf32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
from torch_mlir import ir

from axonc.diagnostics import UsageError, nearest
from axonc.dialects.attributes import NUMPY_DTYPES, dense_to_numpy, numpy_to_dense
from axonc.dialects.locations import source_location
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.builder import create
from axonc.dialects.neuron.ops import (
    VIEWS,
    BitcastOp,
    ConstantOp,
    ConvolutionOp,
    DotOp,
    GatherRowsOp,
    ReduceWindowOp,
    RepeatOp,
    SortOp,
    isa,
    kind_of,
    short_name,
)
from axonc.passes.base import Pass, Reporting
from axonc.passes.cast.cast_choice import FLOATS, choice_of
from axonc.passes.cast.cast_report import CastRow
from axonc.passes.cast.integer_products import becomes_exact, is_integer_product
from axonc.passes.cast.kept_values import keeps_operands, kept_values
from axonc.passes.graph.uses import defining_op, erase_dead

TYPES = ("bf16", "fp16", "tf32")
"""Values of the option `type`."""

PRODUCTS = {
    DotOp: "operands of a matrix product",
    ConvolutionOp: "operands of a convolution",
}
"""Operations of the tensor engine, and the rule that casts their operands."""


@dataclass(frozen=True)
class AutoCastPass(Reporting, Pass, name="auto-cast", anchor="func.func"):
    """Compute in a smaller float type where the user allows it; report every cast."""

    mode: str = "none"
    type: str = "bf16"

    def __post_init__(self) -> None:
        _check("mode", self.mode, _MODES)
        _check("type", self.type, TYPES)

    def apply_and_report(self, op: ir.Operation) -> tuple[bool, list[CastRow]]:
        block = op.regions[0].blocks[0]
        caster = _Caster(ir.Type.parse(FLOATS[self.type]), kept=kept_values(block))
        changed = _MODES[self.mode](block, caster)
        return erase_dead(block) or changed, caster.report


def _check(option: str, value: str, known: object) -> None:
    names = list(known)  # type: ignore[call-overload]
    if value not in names:
        raise UsageError(
            f"auto-cast {option} '{value}' is none of {', '.join(names)}",
            hint=nearest(value, names),
        )


@dataclass
class _Caster:
    """Makes conversions, once per value and type."""

    element: ir.Type
    """Of operations without a planned one."""
    report: list[CastRow] = field(default_factory=list)
    made: dict[tuple[ir.Value, ir.Type], ir.Value] = field(default_factory=dict)
    changed: set[ir.Value] = field(default_factory=set)
    """Results that were f32 before."""
    kept: Mapping[ir.Value, str] = field(default_factory=dict)
    """Results that stay f32, and why."""

    def keeps(self, op: ir.Operation) -> bool:
        """Whether an operation computes in f32 for the sake of `kept`, not planned otherwise."""
        return choice_of(op) is None and keeps_operands(op, self.kept)

    def element_of(self, op: ir.Operation) -> ir.Type:
        """The type an operation computes in; where that has 8 bits, `element` until quantize."""
        choice = choice_of(op)
        if choice is None or choice.compute not in FLOATS:
            return self.element
        return ir.Type.parse(FLOATS[choice.compute])

    def concerns(self, value: ir.Value) -> bool:
        """Whether a value is, or was, f32."""
        return _is_f32(value) or value in self.changed

    def note(self, op: ir.Operation, why: str, target: str = "") -> None:
        if choice_of(op) is None:
            to = target or str(self.element)
            self.report.append(CastRow(op.name, source_location(op), "f32", to, why))

    def note_kept(self, op: ir.Operation) -> None:
        """Only what would have been cast is told."""
        why = self.kept.get(op.results[0]) if op.results else None
        if why is not None:
            self.note(op, why, "f32")

    def cast_operands(self, op: ir.Operation, positions: Iterable[int]) -> bool:
        """Operands that are or were f32 in the operation's type; whether any was not."""
        return self.operands_as(op, positions, self.element_of(op))

    def operands_as(self, op: ir.Operation, positions: Iterable[int], element: ir.Type) -> bool:
        """Operands that are or were f32 in a type; whether any was not."""
        found = False
        for position in positions:
            value = op.operands[position]
            if self.concerns(value) and value.type.element_type != element:
                op.operands[position] = self.cast(value, element)
                found = True
        if found:
            _update_runs(op)
        return found

    def cast(self, value: ir.Value, element: ir.Type) -> ir.Value:
        """`value` in another type. Reshapes and transposes are made anew behind the conversion, and
        so are maxima over windows: rounding leaves the largest the largest."""
        if value.type.element_type == element:
            return value
        if (value, element) not in self.made:
            self.made[value, element] = self._convert(value, element)
        return self.made[value, element]

    def _convert(self, value: ir.Value, element: ir.Type) -> ir.Value:
        op = defining_op(value)
        if op is None:
            block = value.owner
            with ir.InsertionPoint.at_block_begin(block), value.location:
                return build.convert(value, element)
        if kind_of(op) in VIEWS or _chooses(op):
            source = self.cast(op.operands[0], element)
            kind = build.tensor(build.shape_of(value), element)
            attributes = dict(op.attributes.items())
            with ir.InsertionPoint(op):
                return create(short_name(op), (source,), kind, attributes, op.location)
        if isa(op, ConstantOp):
            return _constant(op, element)
        with _after(op), op.location:
            return build.convert(value, element)


def _constant(op: ir.Operation, element: ir.Type) -> ir.Value:
    """The constant rounded; finite numbers beyond the type's range become its largest, for a mask
    of -3e38 must stay a number."""
    array = dense_to_numpy(op.value)
    limit = _largest(NUMPY_DTYPES[str(element)])
    bounded = np.where(np.isfinite(array), np.clip(array, -limit, limit), array)
    with ir.InsertionPoint(op):
        return build.constant(_dense(bounded, element), op.location)


def _largest(dtype: np.dtype) -> float:
    return float(ml_dtypes.finfo(dtype).max)


def _dense(array: np.ndarray, element: ir.Type) -> ir.Attribute:
    flat = array.reshape(-1)
    if flat.size and (flat == flat[0]).all():
        single = numpy_to_dense(flat[:1], element).get_splat_value()
        kind = build.tensor(array.shape, element)
        return ir.DenseElementsAttr.get_splat(kind, single)
    return numpy_to_dense(array, element)


def _chooses(op: ir.Operation) -> bool:
    """Whether the result holds some of the operand's elements, the same ones when these are rounded
    first, and only products read it."""
    if not isa(op, ReduceWindowOp):
        return False
    is_extreme = op.kind in ("max", "min")
    return is_extreme and all(kind_of(use.owner) in PRODUCTS for use in op.results[0].uses)


def _after(op: ir.Operation) -> ir.InsertionPoint:
    return ir.InsertionPoint.after(op)


def _is_f32(value: ir.Value) -> bool:
    return isinstance(value.type.element_type, ir.F32Type)


def _products(block: ir.Block) -> list[ir.Operation]:
    return [o for o in block.operations if kind_of(o) in PRODUCTS]


def _cast_planned(block: ir.Block, caster: _Caster) -> bool:
    """Operands of products that have a planned type."""
    planned = [op for op in _products(block) if (c := choice_of(op)) and c.compute in FLOATS]
    return any([caster.cast_operands(op, (0, 1)) for op in planned])


def _cast_dots(block: ir.Block, caster: _Caster) -> bool:
    """Operands of dots and convolutions; those whose type has 8 bits stay f32 for quantize."""
    changed = False
    for op in _products(block):
        choice = choice_of(op)
        is_float = (choice is None or choice.compute in FLOATS) and not is_integer_product(op)
        if caster.keeps(op):
            caster.note_kept(op)
        elif is_float and caster.cast_operands(op, (0, 1)):
            caster.note(op, PRODUCTS[kind_of(op)])
            changed = True
    return changed


def _update_runs(op: ir.Operation) -> None:
    if "operandSegmentSizes" in op.attributes:
        kinds = [v.type for v in op.operands]
        op.attributes["operandSegmentSizes"] = build.operand_runs(kinds)


_KEEP_TABLE = frozenset({GatherRowsOp})
"""Operations that read an argument in its own type and convert what they took from it: rows of a
large table, not the table."""


def _cast_all(block: ir.Block, caster: _Caster) -> bool:
    """Every f32 value between the arguments and the results."""
    changed = False
    for op in list(block.operations):
        if op.name == "func.return":
            changed |= _restore_results(op)
        elif isa(op, RepeatOp, BitcastOp, SortOp):
            changed |= _restore_operands(op, caster)
        elif not isa(op, ConstantOp) and any(map(_is_f32, (*op.operands, *op.results))):
            changed |= _cast_op(op, caster)
    return changed


def _cast_op(op: ir.Operation, caster: _Caster) -> bool:
    """Operands and result of one operation in the smaller type."""
    if is_integer_product(op) or becomes_exact(op):
        return False
    if _reads_argument(op):
        return False  # cast where the result is read
    every = range(len(op.operands))
    if caster.keeps(op):
        caster.note_kept(op)
        return caster.operands_as(op, every, ir.F32Type.get())
    caster.cast_operands(op, every)
    element = caster.element_of(op)
    if op.results and op.results[0] in caster.kept and choice_of(op) is None:
        caster.note(op, PRODUCTS[kind_of(op)])
        return True
    if op.results and _is_f32(op.results[0]) and not isinstance(element, ir.F32Type):
        op.results[0].set_type(build.tensor(build.shape_of(op.results[0]), element))
        caster.changed.add(op.results[0])
    caster.note(op, "all computation")
    return True


def _reads_argument(op: ir.Operation) -> bool:
    """A view or row gather of an argument (or of such a view) keeps the argument's type."""
    if kind_of(op) not in VIEWS | _KEEP_TABLE or not _is_f32(op.results[0]):
        return False
    source = defining_op(op.operands[0])
    return source is None or (_is_f32(op.operands[0]) and _reads_argument(source))


def _restore_results(op: ir.Operation) -> bool:
    """Results of the program in the types its signature says."""
    function = op.parent.operation
    kinds = ir.FunctionType(ir.TypeAttr(function.attributes["function_type"]).value).results
    changed = False
    for position, (value, kind) in enumerate(zip(list(op.operands), kinds, strict=True)):
        if value.type != kind:
            with ir.InsertionPoint(op), value.location:
                op.operands[position] = build.convert(value, kind.element_type)
            changed = True
    return changed


def _restore_operands(op: ir.Operation, caster: _Caster) -> bool:
    """What a function or a comparator is called with, in the types its signature says; bits, in
    their type."""
    positions = [n for n, value in enumerate(op.operands) if value in caster.changed]
    for position in positions:
        value = op.operands[position]
        with ir.InsertionPoint(op), value.location:
            op.operands[position] = build.convert(value, ir.F32Type.get())
    return bool(positions)


_MODES: dict[str, Callable[[ir.Block, _Caster], bool]] = {
    "none": _cast_planned,
    "matmult": _cast_dots,
    "all": _cast_all,
}
