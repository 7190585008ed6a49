"""Orders the operations of every engine: list scheduling on a model of the engines.

Why: in program order an engine would wait for each result; out of it, weights arrive before they
are needed, one head's softmax runs beside the next head's scores, and PSUM banks rotate.

Precondition: one form per operation, addresses. Postcondition: `Schedule.order[engine]` is a
permutation of the engine's operations that respects every dependence; transfers have queues.

How: an engine that is free takes, among the operations whose inputs are there, the earliest in
program order; if there is none, the one that is ready first. DMA transfers share one model of the
16 DMA engines, in which small transfers pass by the queue of prefetched weights. O(n log n).

Before:
    "ntile.dma_copy"(%x, %a) {engine = "sync"}
    "ntile.activation"(%y, %x) {engine = "scalar"}
After:
    "ntile.dma_copy"(%x, %a) {engine = "sync", issue = 0, queue = 8}
    "ntile.activation"(%y, %x) {engine = "scalar", issue = 0}
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, replace

from axonc.backends.isa.collective import is_collective
from axonc.backends.isa.dma import is_transfer
from axonc.backends.targets.target import Engine
from axonc.diagnostics import CompileError
from axonc.dialects.ntile.program import Form, Pool, Step, TileOp, TileProgram
from axonc.passes.base import Pass, State
from axonc.passes.tile_level.dependencies import dependence_graph
from axonc.passes.tile_level.operation_time import OperationTimer
from axonc.passes.tile_level.schedule_plan import Schedule
from axonc.passes.tile_level.tile_state import (
    TileLevel,
    TileState,
    require_addresses,
    require_engines,
)

STREAM_QUEUES = 1
"""Queues of weight transfers; the others serve everything else. One keeps all DMA engines busy, and
as these serve queues in turn, a small transfer waits for one prefetch, not for one of every
queue."""


class _ReadyQueue:
    """Operations of one engine whose predecessors are issued: those that can start by now, by
    program order; the others, by when they can."""

    def __init__(self) -> None:
        self.now: list[int] = []
        self.later: list[tuple[float, int]] = []

    def add(self, ready: float, op: int) -> None:
        heapq.heappush(self.later, (ready, op))

    def next_start(self, free: float) -> float | None:
        """When this engine could start something, given that it is free from `free` on."""
        if self.now:
            return free
        return max(free, self.later[0][0]) if self.later else None

    def pop(self, time: float) -> int:
        while self.later and self.later[0][0] <= time:
            heapq.heappush(self.now, heapq.heappop(self.later)[1])
        return heapq.heappop(self.now)


@dataclass
class _DmaEngines:
    """When the DMA engines are done with the transfers so far. They serve queues in turn: streamed
    weights wait for each other and for everything else; what is not streamed waits for its like and
    for the one streamed transfer that is under way."""

    stream_free: float = 0.0
    others_free: float = 0.0
    stream_duration: float = 0.0

    def transfer(self, earliest: float, duration: float, streamed: bool) -> float:
        """The end of a transfer that could begin at `earliest`."""
        if streamed:
            self.stream_free = max(earliest, self.stream_free) + duration
            self.stream_duration = duration
            return self.stream_free
        begin = max(earliest, self.others_free)
        if self.stream_free > begin:
            begin = min(self.stream_free, begin + self.stream_duration)
        self.delay_stream(begin, duration)
        self.others_free = begin + duration
        return self.others_free

    def delay_stream(self, begin: float, duration: float) -> None:
        """Something else has the engines from `begin` on."""
        if self.stream_free > begin:
            self.stream_free += duration


class Scheduler:
    """One run of list scheduling over a program."""

    def __init__(self, program: TileProgram) -> None:
        self.program = program
        self.timer = OperationTimer(program.target)
        self.graph = dependence_graph(program)
        self.successors = self.graph.successors()
        self.waiting = [len(before) for before in self.graph.predecessors]
        self.ready = [0.0] * len(self.waiting)
        self.queues = {engine: _ReadyQueue() for engine in Engine}
        self.free = dict.fromkeys(Engine, 0.0)
        self.dma = _DmaEngines()
        self.collective_free: dict[int, float] = {}
        self.collectives = deque(i for i, op in enumerate(program.ops) if _is_collective(op))
        self.held: set[int] = set()
        self.order: dict[Engine, list[int]] = {engine: [] for engine in Engine}
        self.issued: list[int] = []
        self.finish = 0.0

    def run(self) -> Schedule:
        for node, count in enumerate(self.waiting):
            if not count:
                self._make_ready(node)
        while True:
            starts = [
                (start, number, engine)
                for number, engine in enumerate(Engine)
                if (start := self.queues[engine].next_start(self.free[engine])) is not None
            ]
            if not starts:
                break
            start, _, engine = min(starts)
            self._issue(engine, self.queues[engine].pop(start), start)
        return Schedule(self.order, [self.graph], self.finish)

    def _make_ready(self, node: int) -> None:
        """Collectives are issued in program order, which is that of all cores, also of those that
        run another program."""
        is_op = node < self.graph.op_count
        if is_op and _is_collective(self.program.ops[node]) and node != self.collectives[0]:
            self.held.add(node)
            return
        if node < self.graph.op_count:
            engine = self.program.ops[node].form.engine
            self.queues[engine].add(self.ready[node], node)
        else:
            self._complete(node, self.ready[node], self.ready[node])

    def _complete(self, node: int, issued: float, time: float) -> None:
        """`node` is done at `time`. Matmuls that add to its PSUM bytes need not wait so long: the
        tensor engine accumulates in a stream, one initiation interval after the other."""
        stack = [(node, time)]
        while stack:
            done, at = stack.pop()
            for successor in self.successors[done]:
                ready = issued if self._accumulates(node, successor) else at
                self.ready[successor] = max(self.ready[successor], ready)
                self.waiting[successor] -= 1
                if self.waiting[successor]:
                    continue
                if successor < self.graph.op_count:
                    self._make_ready(successor)
                else:
                    stack.append((successor, self.ready[successor]))

    def _accumulates(self, node: int, successor: int) -> bool:
        """Whether both are operations of the tensor engine, which never reads what it writes."""
        if max(node, successor) >= self.graph.op_count:
            return False
        ops = self.program.ops
        return all(ops[i].form.engine is Engine.TENSOR for i in (node, successor))

    def _issue(self, engine: Engine, number: int, start: float) -> None:
        op = self.program.ops[number]
        self.order[engine].append(number)
        if is_transfer(op.form.steps[0]):
            finish = self._transfer(op, start)
            self.free[engine] = start + self.program.target.dma.trigger_ns
        elif _is_collective(op):
            finish = self._collective(op, start)
            self.free[engine] = start + self.timer.interval_ns(op.form)
            self._release_next_collective(start)
        else:
            self.free[engine] = start + self.timer.interval_ns(op.form)
            finish = start + self.timer.latency_ns(op.form)
        self.finish = max(self.finish, finish)
        self._complete(number, self.free[engine], finish)

    def _transfer(self, op: TileOp, start: float) -> float:
        """Completion of a transfer triggered at `start`."""
        dma = self.program.target.dma
        earliest = start + dma.fixed_latency_ns
        duration = self.timer.transfer_ns(op.form.steps[0])
        return self.dma.transfer(earliest, duration, is_streamed(op)) + dma.completion_ns

    def _release_next_collective(self, now: float) -> None:
        self.collectives.popleft()
        if self.collectives and self.collectives[0] in self.held:
            number = self.collectives[0]
            self.held.discard(number)
            self.ready[number] = max(self.ready[number], now)
            self._make_ready(number)

    def _collective(self, op: TileOp, start: float) -> float:
        """Completion of a collective triggered at `start`, after those of its group and the
        transfers that are under way; later transfers wait for the bytes it sends."""
        step = op.form.steps[0]
        number = step.integer("group")
        groups = self.program.groups[number]
        cost = self.timer.collective_cost(step, groups, self.program.cores)
        begin = max(start, self.collective_free.get(number, 0.0))
        self.dma.delay_stream(begin, cost.dma_ns)
        self.collective_free[number] = begin + cost.duration_ns
        return self.collective_free[number] + self.program.target.dma.completion_ns


def _is_collective(op: TileOp) -> bool:
    return is_collective(op.form.steps[0])


def is_streamed(op: TileOp) -> bool:
    """Whether a transfer is of streamed weights."""
    return any(view.buffer.pool is Pool.STREAM for _, view in op.accesses())


def assign_queues(program: TileProgram, order: list[int]) -> None:
    """Gives every transfer of one engine a queue, in turn: streamed weights theirs, everything else
    the others."""
    total = program.target.dma.queues
    counts = {True: 0, False: 0}
    for number in order:
        op = program.ops[number]
        if not is_transfer(op.form.steps[0]):
            continue
        streamed = is_streamed(op)
        base, width = (0, STREAM_QUEUES) if streamed else (STREAM_QUEUES, total - STREAM_QUEUES)
        queue = base + counts[streamed] % width
        counts[streamed] += 1
        op.forms = (Form(op.form.engine, (with_field(op.form.steps[0], "queue", queue),)),)


def _require_one_trigger(program: TileProgram) -> None:
    """A queue counts its transfers in the order of one engine's triggers.

    Raises: CompileError if two engines trigger streamed weights, or other transfers.
    """
    triggers: dict[bool, Engine] = {}
    for op in program.ops:
        if not is_transfer(op.form.steps[0]):
            continue
        streamed = is_streamed(op)
        first = triggers.setdefault(streamed, op.form.engine)
        if first is not op.form.engine:
            kind = "streamed weights" if streamed else "transfers other than weights"
            raise CompileError(
                f"{kind} are triggered by {first.value} and by {op.form.engine.value}",
                location=program.locations[op.location],
                hint="let one engine trigger them all",
            )


def with_field(step: Step, name: str, value: object) -> Step:
    """The step with one immediate field changed."""
    return replace(step, fields=step.fields_with(name, value))


def schedule(program: TileProgram) -> Schedule:
    """The per-engine orders of `program`; see the module docstring. Every segment is scheduled by
    itself, a repeat as one iteration."""
    _require_one_trigger(program)
    whole = Schedule({engine: [] for engine in Engine}, [], 0.0)
    for piece in program.segments():
        part = Scheduler(program.part(piece)).run()
        for engine in Engine:
            whole.order[engine] += [piece.first + number for number in part.order[engine]]
        whole.graphs += part.graphs
        whole.finish_ns += piece.count * part.finish_ns
    for engine in Engine:
        assign_queues(program, whole.order[engine])
    return whole


@dataclass(frozen=True)
class SchedulePass(TileLevel, Pass, name="schedule"):
    """Order the operations of every engine and give transfers their queues."""

    def advance(self, state: TileState) -> tuple[State, bool]:
        require_engines(state)
        require_addresses(state)
        state.schedule = schedule(state.program)
        return state, True
