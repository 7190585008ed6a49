"""Keep factors of products, and tables, in 8 bits; put the scales behind the product.

Why: a weight of 8 bits takes half the device memory and DMA traffic of bf16, and the weight stream
is what bounds a small batch. The tensor engine multiplies 8-bit floats directly
(machine.md#tensor-engine).

Precondition: `plan-casts` has put `cast.*` attributes on operations; before fusion, so that scales
join epilogues.
Postcondition: no `cast.*` attribute is left. Where `cast.weight` names a format, the weight behind
the operand is a new argument in that format with its scales as another (`derived` says how to make
both from the original); its product is multiplied by the scales. Where `cast.compute` is an 8-bit
float, the other operands are divided by their scale, limited to the format's range and converted,
so that nothing becomes infinite.

Before (cast.compute = "bf16", cast.weight = "fp8_e4m3"):
    %0 = "neuron.dot"(%x, %w) ({}) {...} : (tensor<4x8xbf16>, tensor<8x8xf32>) -> tensor<4x8xf32>
After:
    %0 = "neuron.dot"(%x, %w8) ({}) {...}
         : (tensor<4x8xbf16>, tensor<8x8xf8E4M3>) -> tensor<4x8xf32>
    %1 = "neuron.broadcast"(%scales) {dims = [1]} : (tensor<8xf32>) -> tensor<4x8xf32>
    %2 = "neuron.multiply"(%0, %1)

int8, and any format under tf32, has no path through the tensor engine: the operand is converted,
which the weight stream does by a casting DMA (machine.md#dma). Scales of activations are those of
`cast.scales`; of a constant, its own; of softmax and the like, their known range; else 1.
Convolutions are products too, their kernels weights. A weight whose views mix channels with what is
summed over gets one scale. Leaves alone: products with an epilogue.
Options: scale = channel (one per output channel, per row of a table) | tensor | auto (channel where
the format's range is small: int8, fp8_e3m4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch_mlir import ir

from axonc.backends.numerics.format_names import SCALE_OPTIONS
from axonc.backends.numerics.quantize import (
    FORMATS,
    QuantizedFormat,
    quantize,
    scales_of,
)
from axonc.diagnostics import InternalError, UsageError, nearest
from axonc.dialects.attributes import dense_to_numpy, numpy_to_dense
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.builder import create, shape_of
from axonc.dialects.neuron.ops import (
    PRODUCTS,
    VIEWS,
    ConstantOp,
    ConvertOp,
    CosineOp,
    ErfOp,
    GatherRowsOp,
    LogisticOp,
    MaskedSoftmaxOp,
    OpClass,
    SineOp,
    SoftmaxOp,
    TanhOp,
    isa,
    kind_of,
    short_name,
)
from axonc.passes.base import Pass, Reporting
from axonc.passes.cast.cast_choice import (
    COMPUTE_ATTRIBUTE,
    SCALES_ATTRIBUTE,
    WEIGHT_ATTRIBUTE,
    CastChoice,
    choice_of,
)
from axonc.passes.cast.derived_arguments import DerivedArguments
from axonc.passes.cast.product_sides import product_like, product_sides
from axonc.passes.cast.weight_operands import (
    Dims,
    WeightOperand,
    seen_through,
    weight_behind,
    weight_names,
)
from axonc.passes.graph.rewrite import in_place_of, redirect
from axonc.passes.graph.uses import defining_op, erase_dead
from axonc.weights.derived import Derivation

BOUNDED = {
    SoftmaxOp: 1.0,
    MaskedSoftmaxOp: 1.0,
    LogisticOp: 1.0,
    TanhOp: 1.0,
    ErfOp: 1.0,
    SineOp: 1.0,
    CosineOp: 1.0,
}
"""Largest magnitude of results whatever the operands: they need no samples and no limiting."""


@dataclass(frozen=True)
class QuantizePass(Reporting, Pass, name="quantize", anchor="func.func"):
    """Keep factors of products, and tables, in 8 bits; put the scales behind the product."""

    scale: str = "auto"

    def __post_init__(self) -> None:
        if self.scale not in SCALE_OPTIONS:
            hint = nearest(self.scale, SCALE_OPTIONS)
            raise UsageError(
                f"scale '{self.scale}' is none of {', '.join(SCALE_OPTIONS)}", hint=hint
            )

    def apply_and_report(self, op: ir.Operation) -> tuple[bool, list[Derivation]]:
        block = op.regions[0].blocks[0]
        planned = [o for o in block.operations if choice_of(o)]
        quantizer = _Quantizer(DerivedArguments(op), weight_names(op), self.scale)
        for one in planned:
            choice = choice_of(one)
            assert choice is not None
            rule = _RULES.get(kind_of(one))
            if rule is not None:
                with in_place_of(one):
                    rule(quantizer, one, choice)
        for one in list(block.operations):
            for name in (COMPUTE_ATTRIBUTE, WEIGHT_ATTRIBUTE, SCALES_ATTRIBUTE):
                if name in one.attributes:
                    del one.attributes[name]
        rules = quantizer.arguments.finish()
        return erase_dead(block) or bool(planned), list(rules)


@dataclass(frozen=True)
class _Operand:
    """What a product reads instead."""

    value: ir.Value
    factor: float = 1.0
    scale: ir.Value | None = None
    """A tensor in the operand's place, with size 1 along dims it does not depend on; None: only
    `factor`."""


@dataclass
class _Quantizer:
    """Rewrites operations one by one."""

    arguments: DerivedArguments
    names: dict[int, str]
    scale: str
    made: dict[tuple[ir.Value, str, float], ir.Value] = field(default_factory=dict)
    """8-bit activations, by value, format and scale."""

    # ---- products ---------------------------------------------------------------------------

    def product(self, op: ir.Operation, choice: CastChoice) -> None:
        if op.regions[0].blocks:
            return
        if choice.weight in FORMATS and not any(weight_behind(v, self.names) for v in op.operands):
            raise InternalError(f"no weight to store as {choice.weight}", op=op.name)
        sides = [self._operand(op, number, choice) for number in (0, 1)]
        if all(side.value == op.operands[n] for n, side in enumerate(sides)):
            return
        result = product_like(op, sides[0].value, sides[1].value)
        for side, shape in zip(sides, product_sides(op), strict=True):
            if side.scale is not None:
                scale = _spread(side.scale, shape.places, result)
                result = create("multiply", (result, scale), result.type)
        result = _times(result, sides[0].factor * sides[1].factor)
        result = build.convert(result, op.results[0].type.element_type)
        redirect(op.results, [result])

    def _operand(self, op: ir.Operation, number: int, choice: CastChoice) -> _Operand:
        value = op.operands[number]
        weight = weight_behind(value, self.names)
        if weight is not None and choice.weight in FORMATS:
            kept = frozenset(product_sides(op)[number].kept)
            return self._stored(weight, kept, FORMATS[choice.weight], choice)
        if choice.compute in FORMATS:
            return self._activation(value, FORMATS[choice.compute], _given_scale(op, number))
        return _Operand(value)

    def _stored(
        self, weight: WeightOperand, kept: Dims, kind: QuantizedFormat, choice: CastChoice
    ) -> _Operand:
        """A weight in `kind`, converted where the tensor engine cannot take it so."""
        numbers, scale = self._numbers_and_scale(weight, kept, kind)
        if not kind.is_float or choice.compute == "tf32":
            numbers = build.convert(numbers, ir.Type.parse(choice.element))
        return _Operand(numbers, 1.0, scale)

    def _numbers_and_scale(
        self, weight: WeightOperand, kept: Dims, kind: QuantizedFormat
    ) -> tuple[ir.Value, ir.Value]:
        """Both in the place of the operand behind which the weight is."""
        end = weight.chain[-1].results[0] if weight.chain else weight.argument
        wide = frozenset(d for d in kept if shape_of(end)[d] > 1)
        has_channels = kind.has_channel_scales(self.scale)
        through = weight.kept_by_argument(wide) if has_channels else None
        if through is None:  # one scale for the tensor
            through = [frozenset()] * (len(weight.chain) + 1)
        axes = tuple(sorted(through[0]))
        numbers = self.arguments.get(weight, "numbers", kind, axes)
        for view in weight.chain:
            numbers = _again(view, numbers)
        scale = self.arguments.get(weight, "scales", kind, axes)
        return numbers, seen_through(weight, scale, through)

    # ---- activations ------------------------------------------------------------------------

    def _activation(self, value: ir.Value, kind: QuantizedFormat, given: float | None) -> _Operand:
        base = producer(value)
        if base is not None and isa(base, ConstantOp):
            scale = constant_scale(base, kind)
        elif base is not None and kind_of(base) in BOUNDED:
            scale = BOUNDED[kind_of(base)] / kind.limit
        else:
            scale = given or 1.0
        return _Operand(self._narrowed(value, kind, scale), scale)

    def _narrowed(self, value: ir.Value, kind: QuantizedFormat, scale: float) -> ir.Value:
        key = (value, kind.name, scale)
        if key not in self.made:
            self.made[key] = self._narrow(value, kind, scale)
        return self.made[key]

    def _narrow(self, value: ir.Value, kind: QuantizedFormat, scale: float) -> ir.Value:
        """Before views, so that it joins the operation that makes the value."""
        op = defining_op(value)
        if op is not None and kind_of(op) in VIEWS:
            source = self._narrowed(op.operands[0], kind, scale)
            with in_place_of(op):
                return _again(op, source)
        if op is not None and isa(op, ConstantOp):
            array = quantize(dense_to_numpy(op.value), np.float32(scale), kind)
            with ir.InsertionPoint(op):
                return build.constant(numpy_to_dense(array, ir.Type.parse(kind.mlir)), op.location)
        place = (
            ir.InsertionPoint.at_block_begin(value.owner)
            if op is None
            else ir.InsertionPoint.after(op)
        )
        with place, value.location if op is None else op.location:
            number = _times(build.convert(value, ir.F32Type.get()), 1.0 / scale)
            if op is None or kind_of(op) not in BOUNDED:
                number = _limited(number, kind.limit)
            return build.convert(number, ir.Type.parse(kind.mlir))

    # ---- tables -----------------------------------------------------------------------------

    def gather_rows(self, op: ir.Operation, choice: CastChoice) -> None:
        """Rows are scaled after they are gathered: by the scale of each row."""
        table, indices = op.operands
        weight = weight_behind(table, self.names)
        if weight is None or choice.weight not in FORMATS:
            return
        kind = FORMATS[choice.weight]
        numbers, scale = self._numbers_and_scale(weight, frozenset({0}), kind)
        rows = build.convert(build.gather_rows(numbers, indices), ir.F32Type.get())
        rank = len(shape_of(indices))
        if shape_of(scale)[0] > 1:
            scale = build.gather_rows(scale, indices)
            places = {d: d for d in range(rank)}
        else:
            places = {}
        result = create("multiply", (rows, _spread(scale, places, rows)), rows.type)
        result = build.convert(result, op.results[0].type.element_type)
        redirect(op.results, [result])


_RULES: dict[OpClass, Callable[[_Quantizer, ir.Operation, CastChoice], None]] = {
    **dict.fromkeys(PRODUCTS, _Quantizer.product),
    GatherRowsOp: _Quantizer.gather_rows,
}

QUANTIZABLE = frozenset(_RULES)
"""Operations that can have a weight in 8 bits."""


def _given_scale(op: ir.Operation, number: int) -> float | None:
    """The scale that samples gave an operand; 0 stands for none."""
    if SCALES_ATTRIBUTE not in op.attributes:
        return None
    return ir.FloatAttr(ir.ArrayAttr(op.attributes[SCALES_ATTRIBUTE])[number]).value


def producer(value: ir.Value) -> ir.Operation | None:
    """The operation that makes a value, views left aside; None for an argument."""
    op = defining_op(value)
    while op is not None and kind_of(op) in VIEWS:
        op = defining_op(op.operands[0])
    return op


def constant_scale(op: ir.Operation, kind: QuantizedFormat) -> float:
    """The scale of a constant: its largest element becomes the format's largest number."""
    array = dense_to_numpy(op.value)
    try:
        return float(scales_of(array, (), kind).reshape(-1)[0])
    except UsageError:
        return 1.0  # infinities saturate


def _again(view: ir.Operation, source: ir.Value) -> ir.Value:
    """The view of another value; a conversion is left out."""
    if isa(view, ConvertOp):
        return source
    kind = build.tensor(shape_of(view.results[0]), source.type.element_type)
    return create(short_name(view), (source,), kind, dict(view.attributes.items()))


def _times(value: ir.Value, factor: float) -> ir.Value:
    if factor == 1.0:
        return value
    return create("multiply", (value, build.splat_constant(factor, value.type)), value.type)


def _limited(value: ir.Value, limit: float) -> ir.Value:
    low, high = (build.splat_constant(x, value.type) for x in (-limit, limit))
    return create("minimum", (create("maximum", (value, low), value.type), high), value.type)


def _spread(scale: ir.Value, places: dict[int, int], result: ir.Value) -> ir.Value:
    """The scale in the shape of a result; places: dim of the result for each dim of the scale."""
    shape = shape_of(scale)
    dims = [d for d, size in enumerate(shape) if size > 1 and d in places]
    if not dims:
        return build.broadcast(build.reshape(scale, [1]), shape_of(result), [0])
    flat = build.reshape(scale, [shape[d] for d in dims])
    return build.broadcast(flat, shape_of(result), [places[d] for d in dims])
