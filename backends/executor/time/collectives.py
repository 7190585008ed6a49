"""Collectives in modelled time: who has arrived, when a collective starts, when it is over.

A collective starts when every core of its group has triggered it, the collectives of its group
before it are over, and the DMA engines of its cores have finished the transfers they are at
(engines serve their queues in turn, a transfer at a time: machine.md#dma). It then keeps those
engines busy for the bytes it sends, and ends after its cost (backends/cost/collectives.py).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from axonc.backends.cost.collectives import CollectiveCost, collective_cost
from axonc.backends.executor.steps.findings import FindingKind, Violation
from axonc.backends.executor.steps.prepared import Prepared
from axonc.backends.executor.steps.step_failure import StepFailure
from axonc.backends.executor.time.dma_engines import DmaEngines
from axonc.backends.executor.time.timeline import CollectiveRecord
from axonc.backends.isa.collective_groups import (
    GroupKey,
    block_counts,
    group_number,
    members_of,
    signature,
)
from axonc.backends.isa.instruction import Instruction
from axonc.backends.program import CoreProgram, Groups
from axonc.backends.targets.target import Target
from axonc.diagnostics import VerifyError


@dataclass(slots=True)
class Arrival:
    """A core has triggered a collective at `time`; `finish(end, record)` tells it the end."""

    core: int
    dma: DmaEngines
    prepared: Prepared
    time: float
    finish: Callable[[float, CollectiveRecord], None]


Complete = Callable[[tuple[Arrival, ...], Groups], None]
"""Moves the data of a collective all of whose cores have arrived (their sources are ready)."""


@dataclass
class CollectiveNetwork:
    """The collective cores of all chips."""

    target: Target
    program: CoreProgram
    simulated: frozenset[int]
    """The cores that have an event loop of their own; the others do what these do at the same time
    (SPMD)."""
    on_complete: Complete | None = None
    pending: dict[GroupKey, dict[int, deque[Arrival]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(deque))
    )
    _free_ns: dict[GroupKey, float] = field(default_factory=dict)
    _costs: dict[tuple[object, ...], CollectiveCost] = field(default_factory=dict)

    def arrive(self, arrival: Arrival) -> None:
        """Raises: StepFailure when the cores of a group do not do the same."""
        prepared = arrival.prepared
        try:
            members = members_of(self.program.groups, prepared.instruction, arrival.core)
            key = (group_number(prepared.instruction), members)
            waiting = self.pending[key]
            waiting[arrival.core].append(arrival)
            needed = [core for core in members if core in self.simulated]
            if all(waiting[core] for core in needed):
                self._begin(key, tuple(waiting[core].popleft() for core in needed))
        except VerifyError as error:
            raise StepFailure(prepared, Violation(FindingKind.RULE, error.message)) from None
        except Violation as violation:
            raise StepFailure(prepared, violation) from None

    def _begin(self, key: GroupKey, arrivals: tuple[Arrival, ...]) -> None:
        _require_same(arrivals)
        _require_fit(arrivals[0], len(key[1]))
        now = max(arrival.time for arrival in arrivals)
        cost = self._cost(key, arrivals[0].prepared.instruction)
        busy = [a.dma.all_free_ns for a in arrivals]
        earliest = now + self.target.collectives.start_ns
        data = max(earliest, self._free_ns.get(key, 0.0), *busy)
        end = data + cost.duration_ns - self.target.collectives.start_ns
        self._free_ns[key] = end
        for arrival in arrivals:
            arrival.dma.occupy(data, cost.dma_ns)
            arrival.finish(end, _record(key, arrival, cost, now, end))
        if self.on_complete is not None:
            self.on_complete(arrivals, self.program.groups[key[0]])

    def _cost(self, key: GroupKey, instruction: Instruction) -> CollectiveCost:
        wanted = (key[0], *signature(instruction))
        if wanted not in self._costs:
            groups = self.program.groups[key[0]]
            self._costs[wanted] = collective_cost(
                self.target, instruction, groups, self.program.cores
            )
        return self._costs[wanted]

    def missing(self) -> list[tuple[GroupKey, list[Arrival], list[int]]]:
        """(group, first arrival of every core that waits, the cores that have not come)."""
        found = []
        for key, waiting in self.pending.items():
            here = [queue[0] for queue in waiting.values() if queue]
            if here:
                come = {arrival.core for arrival in here}
                away = [c for c in key[1] if c in self.simulated and c not in come]
                found.append((key, here, away))
        return found


def _record(
    key: GroupKey, arrival: Arrival, cost: CollectiveCost, now: float, end: float
) -> CollectiveRecord:
    prepared = arrival.prepared
    return CollectiveRecord(
        prepared.engine,
        prepared.index,
        key[0],
        key[1],
        cost.algorithm,
        arrival.time,
        now,
        end,
        cost.moved_bytes,
    )


def _require_same(arrivals: tuple[Arrival, ...]) -> None:
    first = arrivals[0]
    wanted = signature(first.prepared.instruction)
    for other in arrivals[1:]:
        found = signature(other.prepared.instruction)
        if found != wanted:
            raise Violation(
                FindingKind.COLLECTIVE_MISMATCH,
                f"core {first.core} does {_text(wanted)}, core {other.core} does {_text(found)}",
            )


def _require_fit(arrival: Arrival, cores: int) -> None:
    """Raises: Violation if the blocks of the operands do not fit the size of the group."""
    instruction = arrival.prepared.instruction
    if block_counts(instruction, cores) is None:
        raise Violation(FindingKind.RULE, f"{_text(signature(instruction))} on {cores} cores")


def _text(wanted: tuple[object, ...]) -> str:
    return " ".join(str(part) for part in wanted if part)
