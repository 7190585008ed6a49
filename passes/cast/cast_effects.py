"""What casts cost: local errors and effects on the results, from weights and samples. An analysis.

Evaluated are the reference evaluators in float32, with the operands of the cast operations rounded
(`rounding`): the error of the casts alone, without the machine's other roundings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np
from torch_mlir import ir

from axonc.backends.numerics.quantize import FORMATS, dequantize, quantize
from axonc.dialects.locations import source_location
from axonc.dialects.neuron.builder import shape_of
from axonc.dialects.neuron.ops import PRODUCTS, ConstantOp, GatherRowsOp, isa, kind_of
from axonc.passes.cast.cast_choice import SAME, CastChoice
from axonc.passes.cast.cast_data import CastData
from axonc.passes.cast.cast_report import CastRow
from axonc.passes.cast.product_sides import product_sides
from axonc.passes.cast.quantize import BOUNDED, QUANTIZABLE, constant_scale, producer
from axonc.passes.cast.rounding import cast_gather, cast_product
from axonc.passes.cast.sample_run import Change, SampleRun, cosine, relative_error
from axonc.passes.cast.weight_operands import WeightOperand, weight_behind, weight_names
from axonc.passes.graph.uses import defining_op
from axonc.weights.derived import weight_scales
from axonc.weights.references import Absent

KEPT_SAMPLES = 4
"""Samples whose values are all kept, for effects and searches; ranges are taken from every one."""

EFFECT_SAMPLES = 1
"""Samples the effect of each operation alone is measured on."""

MEASURED_ELEMENTS = 1 << 20
"""The error of storing a larger weight is measured on evenly spaced rows only."""

Plan = Mapping[ir.Operation, CastChoice]


class CastEffects:
    """What casts do to the results of one function. Samples are run when first needed, once."""

    def __init__(self, function: ir.Operation, data: CastData, scale: str) -> None:
        self.function = function
        self.data = data
        self.scale = scale
        self._names = weight_names(function)

    # ---- samples ----------------------------------------------------------------------------

    @cached_property
    def runs(self) -> list[SampleRun]:
        """The runs of the kept samples."""
        kept = self.data.samples[:KEPT_SAMPLES]
        return [SampleRun(self.function, self.data, sample) for sample in kept]

    @cached_property
    def _largest(self) -> dict[ir.Operation, list[float]]:
        """Largest magnitude of the two factors of every product, over all samples."""
        found: dict[ir.Operation, list[float]] = {}
        for number in range(len(self.data.samples)):
            run = self._run(number)
            for value in run.values:
                op = defining_op(value)
                if op is None or kind_of(op) not in PRODUCTS:
                    continue
                ranges = [float(np.abs(a).max(initial=0)) for a in run.operands(op)]
                found[op] = list(map(max, found.get(op, ranges), ranges))
        return found

    def _run(self, number: int) -> SampleRun:
        if number < KEPT_SAMPLES:
            return self.runs[number]
        return SampleRun(self.function, self.data, self.data.samples[number])

    def activation_scales(self, op: ir.Operation, choice: CastChoice) -> list[float]:
        """One per factor of a product in an 8-bit type: the largest value seen becomes the format's
        largest; 0 where there is no range."""
        if kind_of(op) not in PRODUCTS or choice.compute not in FORMATS or not self.data.samples:
            return [0.0, 0.0]
        limit = FORMATS[choice.compute].limit
        return [x / limit if np.isfinite(x) else 0.0 for x in self._largest[op]]

    def _scale(self, op: ir.Operation, number: int, choice: CastChoice) -> float:
        """The scale `quantize` gives an activation."""
        kind = FORMATS[choice.compute]
        base = producer(op.operands[number])
        if base is not None and isa(base, ConstantOp):
            return constant_scale(base, kind)
        if base is not None and kind_of(base) in BOUNDED:
            return BOUNDED[kind_of(base)] / kind.limit
        return self.activation_scales(op, choice)[number] or 1.0

    # ---- casts ------------------------------------------------------------------------------

    def weights_of(self, op: ir.Operation) -> list[WeightOperand | None]:
        """The weight behind each operand; a gather has one table."""
        count = 2 if kind_of(op) in PRODUCTS else 1
        return [weight_behind(value, self._names) for value in list(op.operands)[:count]]

    def has_effect(self, op: ir.Operation, choice: CastChoice) -> bool:
        """Whether a choice changes what an operation computes from float32."""
        if choice.weight in FORMATS and any(self.weights_of(op)):
            return True
        return choice.compute != "fp32" and kind_of(op) in PRODUCTS

    def change(self, op: ir.Operation, choice: CastChoice) -> Change:
        """What a cast operation does to its operands."""
        if kind_of(op) not in PRODUCTS:
            return lambda operands: cast_gather(op, operands, choice, self.scale)
        left, right = (weight is not None for weight in self.weights_of(op))
        scales = (1.0, 1.0)
        if choice.compute in FORMATS:
            scales = (self._scale(op, 0, choice), self._scale(op, 1, choice))
        return lambda operands: cast_product(
            op, operands, choice, (left, right), scales, self.scale
        )

    def cosine_of(self, plan: Plan, samples: range | None = None) -> float:
        """The cosine of the results to those of float32, the worst over the samples (default: the
        kept)."""
        changes = {op: self.change(op, c) for op, c in plan.items() if self.has_effect(op, c)}
        numbers = samples if samples is not None else range(len(self.runs))
        found = []
        for number in numbers:
            run = self._run(number)
            found.append(cosine(run.results_with(changes), run.results))
        return min(found, default=1.0)

    def effect(self, op: ir.Operation, choice: CastChoice) -> float:
        """1 - cosine when this operation alone is cast."""
        count = min(EFFECT_SAMPLES, len(self.runs))
        return 1.0 - self.cosine_of({op: choice}, range(count))

    # ---- the report -------------------------------------------------------------------------

    def rows(self, plan: Plan) -> Iterator[CastRow]:
        """A row per operation that something is done to."""
        for op, choice in plan.items():
            if kind_of(op) in QUANTIZABLE:
                if self.has_effect(op, choice):
                    yield self._row(op, choice)
            elif choice.compute != "fp32":
                why = "an override"
                yield CastRow(op.name, source_location(op), "f32", choice.compute, why)

    def _row(self, op: ir.Operation, choice: CastChoice) -> CastRow:
        weight = next((w for w in self.weights_of(op) if w is not None), None)
        target, why = str(choice), "operands of a matrix product"
        if isa(op, GatherRowsOp):
            target, why = choice.weight, "a table"
        elif choice.weight != SAME and weight is None:
            target = choice.compute
        scale, error = self._weight_facts(op, weight, choice)
        if choice.compute in FORMATS and kind_of(op) in PRODUCTS:
            scale = ", ".join(filter(None, (scale, self._activation_facts(op, choice))))
        effect = None
        if self.data.samples:
            run = self.runs[0]
            result = self.change(op, choice)(run.operands(op))
            error = relative_error(result, run.values[op.results[0]])
            effect = self.effect(op, choice)
        return CastRow(op.name, source_location(op), "f32", target, why, scale, error, effect)

    def _activation_facts(self, op: ir.Operation, choice: CastChoice) -> str:
        """Scales of the factors that are no weights, and where these saturate."""
        limit = FORMATS[choice.compute].limit
        texts = []
        for number, weight in enumerate(self.weights_of(op)):
            if weight is None or choice.weight not in FORMATS:
                scale = self._scale(op, number, choice)
                texts.append(f"operand {number} {scale:.3g}: saturates at {scale * limit:.4g}")
        return ", ".join(texts)

    def _weight_facts(
        self, op: ir.Operation, weight: WeightOperand | None, choice: CastChoice
    ) -> tuple[str, float | None]:
        """The scales of a weight as text, and the relative error of storing it."""
        if weight is None or choice.weight not in FORMATS or weight.name not in self.data.weights:
            return "", None
        reference = self.data.weights[weight.name]
        if isinstance(reference.storage, Absent):
            return "", None
        array, kind = reference.load(), FORMATS[choice.weight]
        kept = self._kept(op, weight) if kind.has_channel_scales(self.scale) else ()
        scales = weight_scales(array, kept, kind, weight.name)
        some = slice(None, None, max(1, array.size // MEASURED_ELEMENTS))
        part = scales[some] if len(scales) > 1 else scales
        error = relative_error(
            dequantize(quantize(array[some], part, kind), part, kind), array[some]
        )
        if scales.size == 1:
            return f"{scales.item():.3g}", error
        return f"{scales.min():.3g} to {scales.max():.3g} ({scales.size} channels)", error

    def _kept(self, op: ir.Operation, weight: WeightOperand) -> tuple[int, ...]:
        """Axes of a weight that have a scale per index."""
        dims = frozenset({0})
        if kind_of(op) in PRODUCTS:
            number = self.weights_of(op).index(weight)
            shape, side = shape_of(op.operands[number]), product_sides(op)[number]
            dims = frozenset(d for d in side.kept if shape[d] > 1)
        through = weight.kept_by_argument(dims)
        return () if through is None else tuple(sorted(through[0]))
