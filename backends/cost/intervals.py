"""How long an instruction keeps its engine busy, and when its results are visible.

Intervals come from the entry's `cost`; everything else is in the target. Instructions that differ
only in addresses have equal costs, so costs are cached by shape.
"""

from __future__ import annotations

from dataclasses import dataclass

from axonc.backends.cost.dma import TransferCost, transfer_cost
from axonc.backends.isa.access_pattern import Access, HbmAccess, Memory, TileAccess
from axonc.backends.isa.collective import is_collective
from axonc.backends.isa.dma import is_transfer
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import Action
from axonc.backends.targets.target import Target


@dataclass(frozen=True, slots=True)
class InstructionCost:
    """The times of one instruction."""

    interval_ns: float
    """The engine is busy."""
    latency_ns: float
    """From then on, until the results are visible."""
    memories: frozenset[Memory]
    """The on-chip memories an engine (not a transfer) touches."""
    transfer: TransferCost | None = None
    """The cost of the transfer that a DMA trigger starts."""
    is_trigger: bool = False
    """Whether a transfer or a collective does the work, elsewhere."""


class CostModel:
    """Costs of the instructions of one target."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._cache: dict[tuple[object, ...], InstructionCost] = {}

    def cost(self, instruction: Instruction) -> InstructionCost:
        key = _shape_key(instruction)
        found = self._cache.get(key)
        if found is None:
            found = self._cache[key] = self._compute(instruction)
        return found

    def _compute(self, instruction: Instruction) -> InstructionCost:
        interval = instruction.spec.cost.nanoseconds(instruction, self.target)
        transfer = self._transfer(instruction)
        if transfer is not None:
            return InstructionCost(interval, 0.0, frozenset(), transfer, is_trigger=True)
        if is_collective(instruction):
            return InstructionCost(interval, 0.0, frozenset(), is_trigger=True)
        memories = {a.memory for a in instruction.operands if isinstance(a, TileAccess)}
        latency = self._latency_ns(instruction, interval, bool(memories))
        return InstructionCost(interval, latency, frozenset(memories))

    def _latency_ns(self, instruction: Instruction, interval: float, has_data: bool) -> float:
        """Sequencer instructions have no pipeline behind them; a load fills a shorter one."""
        if not has_data:
            return 0.0
        if instruction.spec.action is Action.LOAD_STATIONARY:
            return max(0.0, self.target.load_stationary_latency_ns - interval)
        return self.target.engines[instruction.engine].latency_ns

    def _transfer(self, instruction: Instruction) -> TransferCost | None:
        if not is_transfer(instruction):
            return None
        source, destination = instruction.operand("src"), instruction.operand("dst")
        assert source is not None and destination is not None
        indirect = instruction.text("indirect")
        return transfer_cost(self.target.dma, source, destination, indirect)


def _operand_key(access: Access | None) -> object:
    if access is None:
        return None
    if isinstance(access, HbmAccess):
        return (access.dtype.code, access.dims)
    is_static = access.register < 0
    return (access.memory, access.dtype.code, access.num_partitions, access.dims, is_static)


def _shape_key(instruction: Instruction) -> tuple[object, ...]:
    """What the cost depends on: everything but addresses and synchronisation."""
    operands = tuple(_operand_key(access) for access in instruction.operands)
    return (instruction.spec.opcode, instruction.engine, operands, instruction.fields)
