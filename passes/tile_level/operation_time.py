"""Modelled time of a tile operation, before it has addresses: an analysis for assign and schedule.

The same cost formulas as the executor's (backends/isa, backends/cost); what depends on neighbours
(port conflicts, table loads, stalls on the previous result) is left to the executor.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from axonc.backends.cost.collectives import CollectiveCost, collective_cost
from axonc.backends.cost.dma import transfer_cost
from axonc.backends.isa.spec import Action
from axonc.backends.program import Groups
from axonc.backends.targets.target import Engine, Target
from axonc.dialects.ntile.program import Form, Step


@dataclass
class OperationTimer:
    """interval_ns: how long the engine is busy. latency_ns: from start to visible results."""

    target: Target
    _cache: dict[tuple[object, ...], float] = field(default_factory=dict)

    def interval_ns(self, form: Form) -> float:
        return sum(self._step_ns(form.engine, step) for step in form.steps)

    def latency_ns(self, form: Form) -> float:
        return self.interval_ns(form) + self.target.engines[form.engine].latency_ns

    def _step_ns(self, engine: Engine, step: Step) -> float:
        if step.spec.action is Action.LOAD_STATIONARY:
            return 0.0  # in the shadow of the previous MultiplyMoving (machine.md#tensor-engine)
        shapes = tuple(
            None if v is None else (v.memory, v.dtype.code, v.num_partitions, v.dims)
            for v in step.operands
        )
        key = (step.spec.opcode, engine, shapes, step.fields)
        if key not in self._cache:
            instruction = step.instruction(engine, 0)
            self._cache[key] = step.spec.cost.nanoseconds(instruction, self.target)
        return self._cache[key]

    def collective_cost(self, step: Step, groups: Groups, cores: int) -> CollectiveCost:
        """Time of a collective among `groups` of a program for `cores` cores."""
        instruction = step.instruction(Engine.GPSIMD, 0)
        return collective_cost(self.target, instruction, groups, cores)

    def transfer_ns(self, step: Step) -> float:
        """Time the DMA engines are busy with a transfer, all of them sharing it."""
        instruction = step.instruction(Engine.SYNC, 0)
        dst, src = instruction.operand("dst"), instruction.operand("src")
        assert dst is not None and src is not None
        indirect = instruction.text("indirect")
        dma = self.target.dma
        return transfer_cost(dma, src, dst, indirect).busiest_engine_ns(dma)
