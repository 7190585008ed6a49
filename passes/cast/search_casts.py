"""The cheapest casts that keep the results: a search over steps ordered by time saved per loss.

A step takes one operation one level down: fp32 -> the compute type -> 8-bit weights. Each step's
loss is measured alone; then steps are taken together, best first, and the longest run that keeps
the budget is chosen. Losses of steps are taken to add up only for their order; every point of the
curve is evaluated as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch_mlir import ir

from axonc.backends.numerics.quantize import FORMATS
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine, Target
from axonc.dialects.neuron.builder import shape_of
from axonc.dialects.neuron.ops import PRODUCTS, DotOp, isa, kind_of
from axonc.dialects.neuron.window_rules import convolution_dims
from axonc.passes.cast.cast_choice import SAME, CastChoice
from axonc.passes.cast.cast_effects import CastEffects, Plan
from axonc.passes.cast.cast_report import CastSearch, CurvePoint
from axonc.passes.graph.dot_geometry import LHS, RHS, dot_geometry
from axonc.passes.graph.dot_time import matmul_ns

CURVE_POINTS = 10
"""Points evaluated besides those the search for the budget needs."""

LEAST_LOSS = 1e-12
"""Smaller losses are rounding of the cosine itself."""

_COMPUTE_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}

FLOAT32 = CastChoice("fp32")


@dataclass(frozen=True)
class _Step:
    """One operation to `choice`. loss: 1 - cosine it adds alone."""

    op: ir.Operation
    choice: CastChoice
    saved_bytes: int
    saved_ns: float
    rank: float
    """Saved ns per loss."""


def search_casts(
    effects: CastEffects,
    plan: Plan,
    is_fixed: Callable[[ir.Operation], bool],
    candidate: CastChoice,
    budget: float,
    target: str = "inf2",
) -> tuple[dict[ir.Operation, CastChoice], CastSearch]:
    """The plan with its free operations chosen, and the curve. is_fixed: an override decides."""
    fixed = {op: choice for op, choice in plan.items() if is_fixed(op)}
    free = [op for op in plan if op not in fixed]
    steps: list[_Step] = []
    for op in free:
        steps += _steps_of(op, effects, candidate, TARGETS[target])
    steps.sort(key=lambda step: -step.rank)  # stable: the program's order among equals
    return _Search(effects, fixed, free, steps, budget).run()


def _steps_of(
    op: ir.Operation, effects: CastEffects, candidate: CastChoice, target: Target
) -> list[_Step]:
    """At most two, the second after the first."""
    levels = [CastChoice(candidate.compute), candidate]
    if kind_of(op) not in PRODUCTS:
        levels = [CastChoice("fp32", candidate.weight)]
    steps: list[_Step] = []
    before, lost = FLOAT32, 0.0
    for level in levels:
        if not effects.has_effect(op, level) or (
            level.weight != SAME and not any(effects.weights_of(op))
        ):
            continue
        saved_bytes = _bytes_read(op, effects, before) - _bytes_read(op, effects, level)
        saved_ns = saved_bytes / target.dma.hbm_bytes_per_ns
        saved_ns += _product_ns(op, before, target) - _product_ns(op, level, target)
        loss = effects.effect(op, level)
        rank = saved_ns / max(loss - lost, LEAST_LOSS)
        rank = min(rank, steps[-1].rank) if steps else rank
        steps.append(_Step(op, level, saved_bytes, saved_ns, rank))
        before, lost = level, loss
    return steps


def _bytes_read(op: ir.Operation, effects: CastEffects, choice: CastChoice) -> int:
    """Of weights, from device memory, per run."""
    size = 1 if choice.weight in FORMATS else _COMPUTE_BYTES[choice.compute]
    if kind_of(op) not in PRODUCTS:
        return size * _count(op.results[0])
    pairs = zip(op.operands, effects.weights_of(op), strict=False)
    return sum(size * _count(value) for value, weight in pairs if weight is not None)


def _count(value: ir.Value) -> int:
    return math.prod(shape_of(value))


def _product_ns(op: ir.Operation, choice: CastChoice, target: Target) -> float:
    """TensorE time of a product."""
    if kind_of(op) not in PRODUCTS:
        return 0.0
    passes = target.fp32_matmul_passes if choice.compute == "fp32" else 1
    if isa(op, DotOp):
        geometry = dot_geometry(op)
        return passes * min(matmul_ns(geometry, side, target) for side in (LHS, RHS))
    # A column of results a cycle, times the kernel's elements over the array.
    dims, kernel = convolution_dims(op), op.operands[1]
    pixels = _count(op.results[0]) / shape_of(kernel)[dims.rhs[0]]
    cycles = pixels * _count(kernel) / (target.partitions * target.pe_columns)
    return passes * cycles / target.engines[Engine.TENSOR].clock_ghz


class _Search:
    """Over the number of steps taken."""

    def __init__(
        self,
        effects: CastEffects,
        fixed: dict[ir.Operation, CastChoice],
        free: list[ir.Operation],
        steps: list[_Step],
        budget: float,
    ) -> None:
        self.effects = effects
        self.fixed = fixed
        self.free = free
        self.steps = steps
        self.budget = budget
        self._cosines: dict[int, float] = {}

    def plan(self, count: int) -> dict[ir.Operation, CastChoice]:
        """With the first `count` steps taken."""
        chosen = dict.fromkeys(self.free, FLOAT32) | self.fixed
        for step in self.steps[:count]:
            chosen[step.op] = step.choice
        return chosen

    def cosine(self, count: int) -> float:
        if count not in self._cosines:
            self._cosines[count] = self.effects.cosine_of(self.plan(count))
        return self._cosines[count]

    def run(self) -> tuple[dict[ir.Operation, CastChoice], CastSearch]:
        total = len(self.steps)
        for i in range(CURVE_POINTS + 1):
            self.cosine(round(i * total / CURVE_POINTS))
        count = self._longest()
        points = tuple(self._point(n) for n in sorted(self._cosines))
        chosen = sorted(self._cosines).index(count)
        return self.plan(count), CastSearch(self.budget, points, chosen)

    def _longest(self) -> int:
        """The most steps that keep the budget: between two points of the curve by halving. Checked
        on the samples that were not kept, too; 0 steps keep it by definition."""
        good = max((n for n, c in self._cosines.items() if c >= self.budget), default=0)
        bad = min((n for n in self._cosines if n > good), default=good + 1)
        while bad - good > 1:
            middle = (good + bad) // 2
            if self.cosine(middle) >= self.budget:
                good = middle
            else:
                bad = middle
        for count in sorted((n for n in self._cosines if n <= good), reverse=True):
            if self._cosines[count] >= self.budget and self._keeps_on_all(count):
                return count
        return 0

    def _keeps_on_all(self, count: int) -> bool:
        rest = range(len(self.effects.runs), len(self.effects.data.samples))
        return self.effects.cosine_of(self.plan(count), rest) >= self.budget

    def _point(self, count: int) -> CurvePoint:
        taken = self.steps[:count]
        return CurvePoint(
            count,
            self._cosines[count],
            sum(step.saved_bytes for step in taken),
            sum(step.saved_ns for step in taken),
        )
