"""The event loop: five sequencers, the semaphores and the DMA engines in modelled time.

An instruction starts when its sequencer is free, its semaphores are reached, the results it reads
are visible, and the memory ports it shares are free (docs/design/0004-executor-and-time.md). The
order in which instructions start is a linear extension of happens-before, so running their effects
in that order gives the only result a race-free program has.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from axonc.backends.cost.ports import shared_ports
from axonc.backends.executor.steps.findings import FindingKind, Violation
from axonc.backends.executor.steps.prepared import Prepared, Preparer, regions_overlap
from axonc.backends.executor.steps.step_failure import StepFailure
from axonc.backends.executor.time.collectives import Arrival, CollectiveNetwork
from axonc.backends.executor.time.deadlock import describe_deadlock
from axonc.backends.executor.time.dma_engines import DmaEngines, Transfer
from axonc.backends.executor.time.engine_run import EngineRun
from axonc.backends.executor.time.timeline import (
    CollectiveRecord,
    EngineRecord,
    Stall,
    Timeline,
    TransferRecord,
)
from axonc.backends.isa.access_pattern import NO_REGISTER
from axonc.backends.isa.sequencer import Registers, semaphore_and_value
from axonc.backends.isa.spec import Action
from axonc.backends.targets.target import Engine, Target

SIGNAL, ASSIGN, ARRIVAL, DMA_FREE, ISSUE = range(5)
"""Kinds of events, in the order in which simultaneous ones happen."""

NEVER = -1.0

Waits = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Steps:
    """Every started instruction in order: what, when, and when its results were visible."""

    prepared: list[Prepared] = field(default_factory=list)
    start_ns: list[float] = field(default_factory=list)
    end_ns: list[float] = field(default_factory=list)
    stored: dict[int, int] = field(default_factory=dict)
    """By step, the value a register_store writes."""
    waits: dict[int, Waits] = field(default_factory=dict)
    """By step, what an instruction whose waits count from a register waited for."""

    def with_waits(self) -> list[Prepared]:
        """The steps, each with the values it waited for."""
        if not self.waits:
            return self.prepared
        found = list(self.prepared)
        for step, waits in self.waits.items():
            found[step] = replace(found[step], waits=waits)
        return found


Execute = Callable[[Prepared, Registers], None]
"""Runs the effect of an instruction when it starts (only when control depends on data)."""


class Simulation:
    """One run of the streams in modelled time. `run` raises StepFailure on a broken law."""

    def __init__(
        self,
        target: Target,
        streams: dict[Engine, list[Prepared]],
        dynamic: dict[Engine, list[bool]],
        preparer: Preparer,
        max_steps: int,
        execute: Execute | None = None,
        *,
        network: CollectiveNetwork | None = None,
        core: int = 0,
    ) -> None:
        self.target = target
        self.network = network
        self.core = core
        self.collectives: list[CollectiveRecord] = []
        self.preparer = preparer
        self.max_steps = max_steps
        self.execute = execute
        self.steps = Steps()
        self.transfers: list[Transfer] = []
        self.stalls: list[Stall] = []
        self.values = [0] * target.semaphores
        self.dma = DmaEngines(target.dma)
        self._heap: list[tuple[float, int, int, object]] = []
        self._sequence = 0
        self._waiting: dict[int, list[EngineRun]] = {}
        self._port_owner: list[EngineRun | None] = [None] * len(shared_ports(target.core_version))
        self._port_free_ns = [0.0] * len(self._port_owner)
        self._dma_event_ns = NEVER
        self.engines = [
            EngineRun(
                engine,
                stream,
                dynamic[engine],
                Registers(engine, target.registers),
                any(p.action is Action.LOAD_TABLE for p in stream),
            )
            for engine, stream in streams.items()
        ]

    # ---- the loop

    def run(self) -> Timeline:
        """All of it, for a core that runs alone (or stands for all)."""
        self.begin()
        self.advance()
        blocked = self.blocked_engines()
        if blocked:
            message = describe_deadlock(blocked, self.values)
            raise StepFailure(blocked[0].current, Violation(FindingKind.DEADLOCK, message))
        return self.timeline()

    def begin(self) -> None:
        """Plan the first instruction of every engine."""
        self._handlers = (
            self._on_signal,
            self._on_assign,
            self._on_arrival,
            self._on_dma_free,
            self._on_issue,
        )
        for run in self.engines:
            run.ready_ns = run.completed_ns = self.target.program_start_ns
            self._fetch(run)

    def advance(self, until: float = math.inf) -> None:
        """Handle the events up to time `until` (that one included), new ones too."""
        heap, handlers = self._heap, self._handlers
        while heap and heap[0][0] <= until:
            now, kind, _, subject = heapq.heappop(heap)
            handlers[kind](now, subject)  # type: ignore[arg-type]

    @property
    def next_ns(self) -> float:
        """Time of the next event; infinite if there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def blocked_engines(self) -> list[EngineRun]:
        """Engines that have not come to their end."""
        return [run for run in self.engines if run.current is not None]

    def _push(self, time: float, kind: int, subject: object) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (time, kind, self._sequence, subject))

    # ---- semaphores

    def _on_signal(self, now: float, subject: tuple[int, int]) -> None:
        semaphore, increment = subject
        self._set_semaphore(now, semaphore, self.values[semaphore] + increment)

    def _on_assign(self, now: float, subject: tuple[int, int]) -> None:
        self._set_semaphore(now, *subject)

    def _set_semaphore(self, now: float, semaphore: int, value: int) -> None:
        self.values[semaphore] = value
        waiting = self._waiting.pop(semaphore, None)
        if waiting is None:
            return
        for run in waiting:
            assert run.blocked is not None and run.current is not None
            if value < run.blocked[1]:
                self._waiting.setdefault(semaphore, []).append(run)
                continue
            # The wait of a semaphore_wait costs its own interval; an attached one the same time.
            is_wait = run.current.action is Action.WAIT
            delay = 0.0 if is_wait else self.target.engines[run.engine].dispatch_ns
            self._push(now + delay, ISSUE, run)

    # ---- fetching and issuing

    def _fetch(self, run: EngineRun) -> None:
        """Make instruction `run.index` the current one and plan its issue."""
        if run.index >= len(run.stream):
            run.current = None
            return
        prepared = run.stream[run.index]
        if run.dynamic[run.index]:
            prepared = self.preparer.resolve(prepared, run.registers.values)
        run.current = prepared
        time = run.ready_ns
        if run.engine is Engine.TENSOR:
            time = _array_ready(run, prepared)
        elif run.pending and prepared.reads:
            time = self._results_visible(run, prepared)
        if prepared.table_set and prepared.table_set != run.table and not run.has_explicit_tables:
            time = self._switch_table(run, prepared, time)
        self._push(time, ISSUE, run)

    def _results_visible(self, run: EngineRun, prepared: Prepared) -> float:
        """When the engine's own earlier results that `prepared` reads can be read."""
        time = ready = run.ready_ns
        run.pending = [entry for entry in run.pending if entry[0] > ready]
        for visible, written in run.pending:
            if visible > time and any(regions_overlap(written, r) for r in prepared.reads):
                time = visible
        if time > ready:
            time += self.target.engines[run.engine].dependent_ns
            self._stalled(run, "own result", ready, time)
        return time

    def _switch_table(self, run: EngineRun, prepared: Prepared, time: float) -> float:
        """The sequencer loads the table as soon as it is free, before it waits for semaphores."""
        run.table = prepared.table_set
        loaded = run.ready_ns + self.target.act_table_load_ns
        self._stalled(run, "activation table load", run.ready_ns, loaded)
        return max(time, loaded)

    def _stalled(self, run: EngineRun, reason: str, start: float, end: float) -> None:
        run.stall_ns[reason] = run.stall_ns.get(reason, 0.0) + end - start
        self.stalls.append(Stall(run.engine, run.index, reason, start, end))

    def _on_issue(self, now: float, run: EngineRun) -> None:
        prepared = run.current
        assert prepared is not None
        if run.blocked is not None:
            self._stalled(run, f"semaphore {run.blocked[0]}", run.blocked_ns, now)
            run.blocked = None
        for semaphore, value in self._waits(run, prepared):
            if self.values[semaphore] < value:
                run.blocked, run.blocked_ns = (semaphore, value), now
                self._waiting.setdefault(semaphore, []).append(run)
                return
        for port in prepared.ports:
            free = self._port_free_ns[port]
            if free > now and self._port_owner[port] is not run:
                self._stalled(run, "shared memory port", now, free)
                self._push(free, ISSUE, run)
                return
        self._start(now, run, prepared)

    @staticmethod
    def _waits(run: EngineRun, prepared: Prepared) -> Waits:
        """(semaphore, value) with the register that counts for this iteration added."""
        if prepared.wait_register == NO_REGISTER:
            return prepared.waits
        base = run.registers.values[prepared.wait_register]
        return tuple([(semaphore, base + value) for semaphore, value in prepared.waits])

    def _start(self, now: float, run: EngineRun, prepared: Prepared) -> None:
        steps = self.steps
        if prepared.wait_register != NO_REGISTER:
            steps.waits[len(steps.prepared)] = self._waits(run, prepared)
        if len(steps.prepared) >= self.max_steps:
            text = f"{self.max_steps} instructions were executed and the program goes on"
            raise StepFailure(prepared, Violation(FindingKind.STEP_LIMIT, text))
        steps.prepared.append(prepared)
        steps.start_ns.append(now)
        if self.execute is not None:
            self.execute(prepared, run.registers)
        run.count += 1
        run.index += 1
        start = _STARTS.get(prepared.action, Simulation._start_data)
        start(self, now, run, prepared)
        if prepared.ports:
            end = now + prepared.interval_ns
            for port in prepared.ports:
                self._port_owner[port], self._port_free_ns[port] = run, end
        self._fetch(run)

    # ---- what instructions do to their engine

    def _start_data(self, now: float, run: EngineRun, prepared: Prepared) -> None:
        """Most instructions: the engine is busy for the interval, results come a latency later."""
        end = now + prepared.interval_ns
        run.ready_ns = end
        run.busy_ns += prepared.interval_ns
        self._complete(run, prepared, end)

    def _complete(self, run: EngineRun, prepared: Prepared, end: float) -> None:
        """Results are visible in program order; then the signal is posted."""
        visible = max(end + prepared.latency_ns, run.completed_ns)
        run.completed_ns = visible
        self.steps.end_ns.append(visible)
        for region in prepared.writes:
            run.pending.append((visible, region))
        if prepared.signal is not None:
            self._push(visible, SIGNAL, prepared.signal)

    def _start_stationary(self, now: float, run: EngineRun, prepared: Prepared) -> None:
        """Loading goes on behind the matrix multiplication that still streams."""
        end = now + prepared.interval_ns
        run.busy_ns += max(0.0, end - max(now, run.array_ns))
        run.ready_ns, run.loader_ns = now, end
        self._complete(run, prepared, end)

    def _start_moving(self, now: float, run: EngineRun, prepared: Prepared) -> None:
        end = now + prepared.interval_ns
        run.busy_ns += prepared.interval_ns
        run.ready_ns, run.array_ns = now, end
        self._complete(run, prepared, end)

    def _start_transfer(self, now: float, run: EngineRun, prepared: Prepared) -> None:
        end = now + prepared.interval_ns
        run.ready_ns = end
        run.busy_ns += prepared.interval_ns
        self.steps.end_ns.append(end)
        cost = self.preparer.costs.cost(run.stream[prepared.index].instruction).transfer
        assert cost is not None
        queue = prepared.instruction.integer("queue")
        arrival = max(end, run.completed_ns) + self.target.dma.fixed_latency_ns
        step = len(self.steps.prepared) - 1
        self._push(arrival, ARRIVAL, Transfer(queue, cost, step, prepared.signal))

    def _start_branch(self, now: float, run: EngineRun, prepared: Prepared) -> None:
        if run.registers.is_taken(prepared.instruction):
            run.index = self._branch_target(run, prepared)
        self._start_data(now, run, prepared)

    def _branch_target(self, run: EngineRun, prepared: Prepared) -> int:
        target = prepared.instruction.integer("target")
        if target > len(run.stream):
            text = f"branch to instruction {target} of a stream of {len(run.stream)}"
            raise StepFailure(prepared, Violation(FindingKind.CONTROL_FLOW, text))
        return target

    def _start_halt(self, now: float, run: EngineRun, prepared: Prepared) -> None:
        run.index = len(run.stream)
        self._start_data(now, run, prepared)

    def _start_move(self, now: float, run: EngineRun, prepared: Prepared) -> None:
        run.registers.execute_move(prepared.instruction)
        self._start_data(now, run, prepared)

    def _start_alu(self, now: float, run: EngineRun, prepared: Prepared) -> None:
        run.registers.execute_alu(prepared.instruction)
        self._start_data(now, run, prepared)

    def _start_store(self, now: float, run: EngineRun, prepared: Prepared) -> None:
        stored = run.registers.stored(prepared.instruction)
        self.steps.stored[len(self.steps.prepared) - 1] = stored
        self._start_data(now, run, prepared)

    def _start_semaphore_set(self, now: float, run: EngineRun, prepared: Prepared) -> None:
        self._start_data(now, run, prepared)
        self._push(run.completed_ns, ASSIGN, semaphore_and_value(prepared.instruction))

    def _start_semaphore_add(self, now: float, run: EngineRun, prepared: Prepared) -> None:
        self._start_data(now, run, prepared)
        self._push(run.completed_ns, SIGNAL, semaphore_and_value(prepared.instruction))

    def _start_table_load(self, now: float, run: EngineRun, prepared: Prepared) -> None:
        run.table = prepared.instruction.text("table")
        self._start_data(now, run, prepared)

    # ---- collectives

    def _start_collective(self, now: float, run: EngineRun, prepared: Prepared) -> None:
        """The trigger occupies the sequencer; the network does the rest."""
        end = now + prepared.interval_ns
        run.ready_ns = end
        run.busy_ns += prepared.interval_ns
        self.steps.end_ns.append(end)
        if self.network is None:
            text = "a collective in a program of one core"
            raise StepFailure(prepared, Violation(FindingKind.RULE, text))
        arrival = max(end, run.completed_ns)

        def finish(end: float, record: CollectiveRecord) -> None:
            """The network has found that the collective is over at `end`."""
            self.collectives.append(record)
            if prepared.signal is not None:
                self._push(end + self.target.dma.completion_ns, SIGNAL, prepared.signal)

        self.network.arrive(Arrival(self.core, self.dma, prepared, arrival, finish))

    # ---- DMA

    def _on_arrival(self, now: float, transfer: Transfer) -> None:
        self.dma.arrive(transfer)
        self._serve(now)

    def _on_dma_free(self, now: float, _: object) -> None:
        self._dma_event_ns = NEVER
        self._serve(now)

    def _serve(self, now: float) -> None:
        for transfer in self.dma.start_ready(now):
            self.transfers.append(transfer)
            if transfer.signal is not None:
                posted = transfer.end_ns + self.target.dma.completion_ns
                self._push(posted, SIGNAL, transfer.signal)
        free = self.dma.next_free_ns()
        if free is not None and (self._dma_event_ns == NEVER or free < self._dma_event_ns):
            self._dma_event_ns = free
            self._push(free, DMA_FREE, None)

    # ---- the result

    def timeline(self) -> Timeline:
        ends = [run.completed_ns for run in self.engines] + [run.ready_ns for run in self.engines]
        completion = self.target.dma.completion_ns
        ends += [transfer.end_ns + completion for transfer in self.transfers]
        ends += [record.end_ns + completion for record in self.collectives]
        start = self.target.program_start_ns
        return Timeline(
            total_ns=max(ends, default=start) + self.target.program_end_ns,
            busy_ns={run.engine: run.busy_ns for run in self.engines},
            stall_ns={run.engine: dict(run.stall_ns) for run in self.engines},
            instruction_count={run.engine: run.count for run in self.engines},
            transfer_count=len(self.transfers),
            dma_busy_ns=sum(self.dma.busy_ns) / len(self.dma.busy_ns),
            dma_bytes=sum(transfer.cost.moved_bytes for transfer in self.transfers),
            hbm_bytes=sum(transfer.cost.hbm_bytes for transfer in self.transfers),
            hbm_read_bytes=sum(transfer.cost.hbm_read_bytes for transfer in self.transfers),
            engines=self._engine_records(),
            transfers=self._transfer_record(),
            stalls=tuple(self.stalls),
            collectives=tuple(self.collectives),
        )

    def _engine_records(self) -> dict[Engine, EngineRecord]:
        rows: dict[Engine, list[tuple[int, float, float]]] = {e.engine: [] for e in self.engines}
        steps = self.steps
        for prepared, start, end in zip(steps.prepared, steps.start_ns, steps.end_ns, strict=True):
            rows[prepared.engine].append((prepared.index, start, end))
        return {engine: _record(found) for engine, found in rows.items()}

    def _transfer_record(self) -> TransferRecord:
        triggers = [self.steps.prepared[transfer.step] for transfer in self.transfers]
        return TransferRecord(
            queue=np.array([transfer.queue for transfer in self.transfers], np.int64),
            engine=tuple(trigger.engine for trigger in triggers),
            index=np.array([trigger.index for trigger in triggers], np.int64),
            start_ns=np.array([transfer.start_ns for transfer in self.transfers]),
            end_ns=np.array([transfer.end_ns for transfer in self.transfers]),
            moved_bytes=np.array([t.cost.moved_bytes for t in self.transfers], np.int64),
        )


def _record(rows: list[tuple[int, float, float]]) -> EngineRecord:
    return EngineRecord(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows]),
        np.array([row[2] for row in rows]),
    )


def _array_ready(run: EngineRun, prepared: Prepared) -> float:
    """When the tensor engine can take `prepared`: one stationary matrix is loaded ahead."""
    if prepared.action is Action.MULTIPLY:
        return max(run.ready_ns, run.array_ns, run.loader_ns)
    if prepared.action is Action.LOAD_STATIONARY:
        return max(run.ready_ns, run.loader_ns)
    return run.ready_ns


Start = Callable[[Simulation, float, EngineRun, Prepared], None]

_STARTS: dict[Action, Start] = {
    Action.LOAD_STATIONARY: Simulation._start_stationary,
    Action.MULTIPLY: Simulation._start_moving,
    Action.TRANSFER: Simulation._start_transfer,
    Action.COLLECTIVE: Simulation._start_collective,
    Action.BRANCH: Simulation._start_branch,
    Action.HALT: Simulation._start_halt,
    Action.MOVE_REGISTER: Simulation._start_move,
    Action.COMPUTE_REGISTER: Simulation._start_alu,
    Action.STORE_REGISTER: Simulation._start_store,
    Action.SET_SEMAPHORE: Simulation._start_semaphore_set,
    Action.ADD_SEMAPHORE: Simulation._start_semaphore_add,
    Action.LOAD_TABLE: Simulation._start_table_load,
}
"""What an instruction does when it starts, where that is more than `_start_data`."""
