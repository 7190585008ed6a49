"""Collectives in modelled time: who has arrived, when a collective starts, when it is over.

A collective starts when every core of its group has triggered it, the collectives of its group
before it are over, and the DMA engines of its cores have finished the transfers they are at
(engines serve their queues in turn, a transfer at a time: hardware.md 1.4). It then keeps those
engines busy for the bytes it sends, and ends after its cost (backends/cost/collectives.py).
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from axonc.backends.cost.collectives import CollectiveCost, collective_cost
from axonc.backends.executor.steps.findings import FindingKind, Violation
from axonc.backends.executor.steps.prepared import Prepared
from axonc.backends.executor.steps.step_failure import StepFailure
from axonc.backends.isa.instruction import Instruction
from axonc.backends.program import CoreProgram, Groups
from axonc.backends.targets.target import Engine, Target

if TYPE_CHECKING:
    from axonc.backends.executor.time.simulation import Simulation

Members = tuple[int, ...]
GroupKey = tuple[int, Members]
"""(index into the table of groups, the cores of one group)."""


@dataclass(frozen=True, slots=True)
class CollectiveRecord:
    """One collective as a core saw it. trigger_ns: this core's trigger. start_ns, end_ns: of the
    collective. engine, index: of the trigger."""

    engine: Engine
    index: int
    group: int
    cores: Members
    algorithm: str
    trigger_ns: float
    start_ns: float
    end_ns: float
    moved_bytes: float


@dataclass(slots=True)
class Arrival:
    """A core has triggered a collective at `time`."""

    core: int
    simulation: Simulation
    prepared: Prepared
    time: float


Complete = Callable[[tuple[Arrival, ...], Groups], None]
"""Moves the data of a collective all of whose cores have arrived (their sources are ready)."""


def group_number(prepared: Prepared) -> int:
    return int(prepared.instruction.field("group"))  # type: ignore[call-overload]


def members_of(table: tuple[Groups, ...], instruction: Instruction, core: int) -> Members:
    """The cores that take part in a collective that `core` triggers.

    Raises: Violation if there is no such table entry, or `core` is in none of its groups.
    """
    number = int(instruction.field("group"))  # type: ignore[call-overload]
    if number >= len(table):
        text = f"replica group entry {number} of a table of {len(table)}"
        raise Violation(FindingKind.RULE, text)
    groups = table[number]
    if instruction.spec.mnemonic == "collective_permute":
        found = tuple(sorted({member for pair in groups for member in pair}))
        return found if core in found else (core,)
    for group in groups:
        if core in group:
            return group
    raise Violation(FindingKind.RULE, f"core {core} is in no group of {list(map(list, groups))}")


def signature(instruction: Instruction) -> tuple[object, ...]:
    """What all cores of a group must agree on."""
    operands = [
        (spec.name, access.memory.value, access.dtype.name, access.shape)
        for spec, access in zip(instruction.spec.operands, instruction.operands, strict=True)
        if access is not None
    ]
    op = instruction.field("op") if "op" in instruction.spec.field_index else ""
    return (instruction.spec.mnemonic, op, *operands)


@dataclass
class CollectiveNetwork:
    """The collective cores of all chips. simulated: the cores that have an event loop of their own;
    the others do what these do at the same time (SPMD)."""

    target: Target
    program: CoreProgram
    simulated: frozenset[int]
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
            key = (group_number(prepared), members)
            waiting = self.pending[key]
            waiting[arrival.core].append(arrival)
            needed = [core for core in members if core in self.simulated]
            if all(waiting[core] for core in needed):
                self._begin(key, tuple(waiting[core].popleft() for core in needed))
        except Violation as violation:
            raise StepFailure(prepared, violation) from None

    def _begin(self, key: GroupKey, arrivals: tuple[Arrival, ...]) -> None:
        _require_same(arrivals)
        _require_fit(arrivals[0], len(key[1]))
        now = max(arrival.time for arrival in arrivals)
        cost = self._cost(key, arrivals[0].prepared.instruction)
        busy = [a.simulation.dma.all_free_ns for a in arrivals]
        earliest = now + self.target.collectives.start_ns
        data = max(earliest, self._free_ns.get(key, 0.0), *busy)
        end = data + cost.duration_ns - self.target.collectives.start_ns
        self._free_ns[key] = end
        for arrival in arrivals:
            arrival.simulation.dma.occupy(data, cost.dma_ns)
            arrival.simulation.finish_collective(
                arrival.prepared, end, _record(key, arrival, cost, now, end)
            )
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


def block_counts(instruction: Instruction, cores: int) -> int | None:
    """Elements of one block of a collective; None if the operands do not fit a group of `cores`."""
    dst, src = instruction.operand("dst"), instruction.operand("src")
    assert dst is not None and src is not None
    counts = [math.prod(access.shape) for access in (dst, src)]
    parts = [cores if is_cut else 1 for is_cut in BLOCKS[instruction.spec.mnemonic]]
    if counts[0] % parts[0] or counts[1] % parts[1] or counts[0] * parts[1] != counts[1] * parts[0]:
        return None
    return counts[0] // parts[0]


BLOCKS: dict[str, tuple[bool, bool]] = {
    "all_reduce": (False, False),
    "all_gather": (True, False),
    "reduce_scatter": (False, True),
    "all_to_all": (True, True),
    "collective_permute": (False, False),
}
"""Whether (dst, src) hold a block per core of the group."""


def _text(wanted: tuple[object, ...]) -> str:
    return " ".join(str(part) for part in wanted if part)
