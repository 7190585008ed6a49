"""Decide what every operation computes in and how its weights are stored; write it on them.

Why: one place for the decision, whatever it comes from: the mode, the storage type of weights,
overrides by name or source line, or a search under an error budget. `auto-cast` and `quantize` do
what stands on the operations.

Precondition: neuron operations without `neuron.repeat`, before auto-cast.
Postcondition: where anything else than auto-cast's own rule is wanted, products and row gathers
have `cast.compute` and `cast.weight` (with mode=all, operations an override names have them too),
and products in an 8-bit float have `cast.scales`, one per operand, where samples gave ranges (0:
none did).

Before (mode=matmult type=bf16 weight-dtype=fp8_e4m3):
    func.func @main(%x: tensor<4x8xf32>, %w: tensor<8x8xf32> {neuron.weight}) -> tensor<4x8xf32> {
      %0 = "neuron.dot"(%x, %w) ({})
           {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]}
           : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
      return %0 : tensor<4x8xf32>
    }
After:
    func.func @main(%x: tensor<4x8xf32>, %w: tensor<8x8xf32> {neuron.weight}) -> tensor<4x8xf32> {
      %0 = "neuron.dot"(%x, %w) ({})
           {cast.compute = "bf16", cast.weight = "fp8_e4m3",
           lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]}
           : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
      return %0 : tensor<4x8xf32>
    }

`report` says for every planned operation what it was cast to, and at what error if `data` has
weights or samples. Options: mode, type as auto-cast's, type also fp8_e4m3 | fp8_e5m2 | fp8_e3m4;
weight-dtype = none | fp8_e4m3 | fp8_e5m2 | fp8_e3m4 | int8; weight-scale = auto | channel | tensor;
overrides = REGEX=TYPE;..., of which the last that matches counts; budget = the least cosine of the
results to those in float32, or 0 for no search; target = for the modelled time a search saves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch_mlir import ir

from axonc.backends.numerics.format_names import SCALE_OPTIONS
from axonc.backends.numerics.quantize import FORMATS
from axonc.diagnostics import CompileError, UsageError, nearest
from axonc.dialects.locations import source_location
from axonc.dialects.neuron.argument_names import BLOCK
from axonc.dialects.neuron.ops import kind_of
from axonc.dialects.neuron.repeat import REPEAT, repeats_in
from axonc.passes.base import Pass, Reporting
from axonc.passes.cast.cast_choice import COMPUTE, SAME, SCALES_ATTRIBUTE, CastChoice, Override
from axonc.passes.cast.cast_data import CastData
from axonc.passes.cast.cast_effects import CastEffects
from axonc.passes.cast.cast_report import CastReport
from axonc.passes.cast.integer_products import is_integer_product
from axonc.passes.cast.kept_values import keeps_operands, kept_values
from axonc.passes.cast.quantize import QUANTIZABLE
from axonc.passes.cast.search_casts import search_casts
from axonc.passes.cast.weight_operands import weight_behind, weight_names

WEIGHT_DTYPES = ("none", *FORMATS)
MODES = ("none", "matmult", "all")


@dataclass(frozen=True)
class PlanCastsPass(Reporting, Pass, name="plan-casts", anchor="func.func"):
    """Decide what every operation computes in and how its weights are stored."""

    mode: str = "none"
    type: str = "bf16"
    weight_dtype: str = "none"
    weight_scale: str = "auto"
    overrides: tuple[str, ...] = ()
    budget: float = 0.0
    target: str = "inf2"
    data: CastData = field(default_factory=CastData, compare=False, repr=False)

    def __post_init__(self) -> None:
        _check("mode", self.mode, MODES)
        _check("type", self.type, COMPUTE)
        _check("weight-dtype", self.weight_dtype, WEIGHT_DTYPES)
        _check("weight-scale", self.weight_scale, SCALE_OPTIONS)
        if not 0 <= self.budget <= 1:
            raise UsageError(f"auto-cast-budget is {self.budget}, a cosine is at most 1")
        if self.budget and not self.data.samples:
            raise UsageError("auto-cast-budget needs sample inputs", hint="--calibrate FILE.npz")
        if self.budget and self.mode == "all":
            raise UsageError(
                "auto-cast-budget chooses matrix products one by one, auto-cast all casts the rest",
                hint="use auto-cast none or matmult",
            )

    def apply_and_report(self, op: ir.Operation) -> tuple[bool, list[CastReport]]:
        if not self.is_needed:
            return False, []
        if self.data.samples and _is_of_a_block(op):
            raise UsageError(
                "sample inputs are evaluated for programs without loops and branches on data",
                hint="leave --calibrate out",
            )
        if repeats_in(op):
            raise CompileError(
                "casts are chosen layer by layer, and the layers are one block",
                op=REPEAT,
                hint="run 'inline-blocks' first",
            )
        plan = self._plan(op)
        effects = CastEffects(op, self.data, self.weight_scale)
        search = None
        if self.budget:
            is_fixed = self._is_fixed(op)
            candidate = self._candidate()
            plan, search = search_casts(
                effects, plan, is_fixed, candidate, self.budget, self.target
            )
        report = CastReport(tuple(effects.rows(plan)), search)
        scales = [effects.activation_scales(*item) for item in plan.items()]
        # Attributes last: the hash of an operation, which analyses look it up by, depends on them.
        for (one, choice), numbers in zip(plan.items(), scales, strict=True):
            choice.put(one)
            if any(numbers):
                f64 = ir.F64Type.get()
                attributes = [ir.FloatAttr.get(f64, x) for x in numbers]
                one.attributes[SCALES_ATTRIBUTE] = ir.ArrayAttr.get(attributes)
        return bool(plan), [report]

    @property
    def is_needed(self) -> bool:
        """Whether auto-cast's own rule is not all there is to do."""
        return bool(
            self.weight_dtype != "none"
            or self.overrides
            or self.budget
            or (self.mode != "none" and (self.type in FORMATS or self.data.samples))
        )

    def _default(self) -> CastChoice:
        """Of every dot."""
        compute = "fp32" if self.mode == "none" else self.type
        stored = self.weight_dtype
        if stored == "none":
            stored = compute if compute in FORMATS else SAME
        return CastChoice(compute, stored)

    def _is_fixed(self, function: ir.Operation) -> Callable[[ir.Operation], bool]:
        """Whether a search leaves an operation alone: overridden, or not to be rounded."""
        names = weight_names(function)
        kept = kept_values(function.regions[0].blocks[0])
        overrides = [Override(text) for text in self.overrides]
        return lambda op: (
            keeps_operands(op, kept) or any(o.matches(_names_of(op, names)) for o in overrides)
        )

    def _candidate(self) -> CastChoice:
        """The cheapest choice a search may take: 8-bit weights, computed in 16 bits."""
        compute = "bf16" if self.type in FORMATS else self.type
        stored = self.weight_dtype
        if stored == "none":
            stored = self.type if self.type in FORMATS else "fp8_e4m3"
        return CastChoice(compute, stored)

    def _plan(self, function: ir.Operation) -> dict[ir.Operation, CastChoice]:
        """The choice of every operation that has one.

        Raises:
            UsageError: an override matches no operation; of a program with control flow it may be
                meant for another block.
        """
        names = weight_names(function)
        overrides = [Override(text) for text in self.overrides]
        unused = dict.fromkeys(overrides)
        kept = kept_values(function.regions[0].blocks[0])
        plan: dict[ir.Operation, CastChoice] = {}
        known: list[str] = []
        for one in list(function.regions[0].blocks[0].operations):
            texts = _names_of(one, names)
            matching = [o for o in overrides if o.matches(texts)]
            if is_integer_product(one):
                continue
            if kind_of(one) in QUANTIZABLE:
                known += texts[:1]
                for override in matching:
                    unused.pop(override, None)
                is_kept = not matching and keeps_operands(one, kept)
                choice = CastChoice("fp32") if is_kept else self._choice(matching)
                plan[one] = _without_weight(choice, one, names)
            elif self.mode == "all" and matching and _computes_f32(one):
                for override in matching:
                    unused.pop(override, None)
                plan[one] = CastChoice(self._choice(matching).compute)
        for override in () if _is_of_a_block(function) else unused:
            hint = nearest(override.pattern, known) or f"names: {', '.join(sorted(set(known))[:5])}"
            raise UsageError(f"override '{override.text}' matches no operation", hint=hint)
        return plan

    def _choice(self, matching: list[Override]) -> CastChoice:
        default = self._default()
        return matching[-1].choice(default) if matching else default


def _is_of_a_block(function: ir.Operation) -> bool:
    """Whether the program is cut into blocks, and this is one of them."""
    return function.parent is not None and BLOCK in function.parent.operation.attributes


def _without_weight(choice: CastChoice, op: ir.Operation, names: dict[int, str]) -> CastChoice:
    """A storage type is for operations that have a weight."""
    weights = [weight_behind(value, names) for value in list(op.operands)[:2]]
    return choice if any(weights) else CastChoice(choice.compute)


def _computes_f32(op: ir.Operation) -> bool:
    return bool(op.results) and str(op.results[0].type.element_type) == "f32"


def _names_of(op: ir.Operation, names: dict[int, str]) -> tuple[str, ...]:
    """What an override may match: place in the model, source line, op, weights."""
    where = source_location(op)
    texts = [where.name, f"{where.file}:{where.line}", op.name]
    if kind_of(op) in QUANTIZABLE:
        weights = [weight_behind(value, names) for value in list(op.operands)[:2]]
        texts += [weight.name for weight in weights if weight is not None]
    return tuple(text for text in texts if text)


def _check(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        hint = nearest(value, known) or f"known: {', '.join(known)}"
        raise UsageError(f"plan-casts {option} '{value}' does not exist", hint=hint)
