"""From scheduled tile operations to instruction streams: addresses, semaphores, bytes.

Precondition: addresses and a `Schedule`. Postcondition: one list of `Instruction`s per engine in
which every dependence between engines, or with a transfer, is enforced by a semaphore.

Semaphores (docs/design/0001): each engine counts the operations it has completed, each DMA queue
its transfers, each list of replica groups its collectives. An operation that depends on the n-th
operation of another engine waits for that count to reach n. Waits that an earlier one on the same
engine implies, directly or through what the producer itself had waited for, are left out (vector
clocks). One wait rides on the instruction, others go before it as `semaphore_wait`.

Before:
    scalar: activation(%y, %x)       // operation 7 of scalar
    tensor: nc_matmul(%p, %y, %w)    // needs it
After:
    scalar: activation ... signal(S[2] += 1)
    tensor: load_stationary ... wait(S[2] >= 7)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from axonc.backends.encoding import encode_stream
from axonc.backends.isa import INSTRUCTIONS
from axonc.backends.isa.instruction import Instruction
from axonc.backends.program import Program
from axonc.backends.targets.target import Engine, Target
from axonc.passes.schedule import Schedule
from axonc.passes.tile_program import TileOp, TileProgram

ENGINES = tuple(Engine)
Streams = dict[Engine, list[Instruction]]


@dataclass(frozen=True)
class _Counter:
    """The semaphore an operation signals, and its count when the operation is done."""

    semaphore: int
    count: int


class _Lowering:
    def __init__(self, program: TileProgram, plan: Schedule) -> None:
        self.program, self.plan = program, plan
        self.target = program.target
        self.semaphores = len(ENGINES) + self.target.dma.queues + len(program.groups)
        self.streams: Streams = {engine: [] for engine in ENGINES}
        self.counters: list[_Counter | None] = [None] * len(program.ops)
        self.clocks: dict[int, list[int]] = {}
        self.counted: list[list[int]] = [[] for _ in range(self.semaphores)]
        self.engine_clocks = {engine: [0] * self.semaphores for engine in ENGINES}
        queues = [self.target.dma.semaphore_increment] * self.target.dma.queues
        self._scale = [1] * len(ENGINES) + queues + [1] * len(program.groups)

    def run(self) -> Streams:
        self._count()
        for number in self._issue_order():
            if number < self.plan.graph.op_count:
                self._emit(number)
            else:
                self.clocks[number] = self._needs(number)
        return self.streams

    def _count(self) -> None:
        """The semaphore and count of every operation, from the per-engine orders."""
        for engine in ENGINES:
            for number in self.plan.order[engine]:
                semaphore = semaphore_of(self.program.ops[number], self.target)
                self.counted[semaphore].append(number)
                self.counters[number] = _Counter(semaphore, len(self.counted[semaphore]))

    def _issue_order(self) -> list[int]:
        """All nodes, predecessors and same-engine neighbours first."""
        graph = self.plan.graph
        before = [list(nodes) for nodes in graph.predecessors]
        for engine in ENGINES:
            order = self.plan.order[engine]
            for earlier, later in zip(order, order[1:], strict=False):
                before[later].append(earlier)
        waiting = [len(nodes) for nodes in before]
        after: list[list[int]] = [[] for _ in before]
        for node, nodes in enumerate(before):
            for other in nodes:
                after[other].append(node)
        ready = [node for node, count in enumerate(waiting) if not count]
        result = []
        while ready:
            node = ready.pop()
            result.append(node)
            for successor in after[node]:
                waiting[successor] -= 1
                if not waiting[successor]:
                    ready.append(successor)
        assert len(result) == len(before), "a schedule has no cycles"
        return result

    def _needs(self, node: int) -> list[int]:
        """Per semaphore, the count that says all predecessors (and theirs) are done."""
        needed = [0] * self.semaphores
        for other in self.plan.graph.predecessors[node]:
            clock = self.clocks[other]
            needed = [a if a >= b else b for a, b in zip(needed, clock, strict=True)]
        return needed

    def _emit(self, number: int) -> None:
        op = self.program.ops[number]
        engine = op.form.engine
        own = ENGINES.index(engine)
        clock = self.engine_clocks[engine]
        waits = []
        for other in self.plan.graph.predecessors[number]:
            for semaphore, count in self._direct(other):
                if semaphore != own and count > clock[semaphore]:
                    waits.append((semaphore, count))
        strongest = self._strongest(waits)
        for other in self.plan.graph.predecessors[number]:
            clock = [a if a >= b else b for a, b in zip(clock, self.clocks[other], strict=True)]
        self.engine_clocks[engine] = clock
        counter = self.counters[number]
        assert counter is not None
        done = list(clock)
        done[counter.semaphore] = max(done[counter.semaphore], counter.count)
        self.clocks[number] = done
        if counter.semaphore == own:
            self.engine_clocks[engine] = done
        self._append(op, strongest, counter)

    def _direct(self, node: int) -> list[tuple[int, int]]:
        """(semaphore, count) to wait for so that `node` is done."""
        if node < self.plan.graph.op_count:
            counter = self.counters[node]
            assert counter is not None
            return [(counter.semaphore, counter.count)]
        return [(s, count) for s, count in enumerate(self.clocks[node]) if count]

    def _strongest(self, waits: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """One wait per semaphore, without those that another of them implies."""
        highest: dict[int, int] = {}
        for semaphore, count in waits:
            highest[semaphore] = max(highest.get(semaphore, 0), count)
        return [
            (semaphore, count)
            for semaphore, count in sorted(highest.items())
            if not any(
                self._clock_at(other, reached)[semaphore] >= count
                for other, reached in highest.items()
                if other != semaphore
            )
        ]

    def _clock_at(self, semaphore: int, count: int) -> list[int]:
        """What is known to be done once `semaphore` has counted to `count`."""
        return self.clocks[self.counted[semaphore][count - 1]]

    def _append(self, op: TileOp, waits: list[tuple[int, int]], counter: _Counter) -> None:
        stream = self.streams[op.form.engine]
        scaled = [(s, count * self._scale[s]) for s, count in waits]
        attached = self.target.max_attached_waits
        spare, ridden = scaled[:-attached], scaled[-attached:]
        for semaphore, value in spare:
            stream.append(wait_instruction(op, semaphore, value))
        made = [step.instruction(op.form.engine, op.location) for step in op.form.steps]
        made[0].waits = tuple(ridden)
        made[-1].signal = (counter.semaphore, self._scale[counter.semaphore])
        stream.extend(made)


def semaphore_of(op: TileOp, target: Target) -> int:
    """Engines have the first semaphores, in order; DMA queues the following, then replica
    groups."""
    step = op.form.steps[0]
    index = step.spec.field_index
    if "queue" in index:
        return len(ENGINES) + int(step.fields[index["queue"]])  # type: ignore[call-overload]
    if "group" in index:
        number = int(step.fields[index["group"]])  # type: ignore[call-overload]
        return len(ENGINES) + target.dma.queues + number
    return ENGINES.index(op.form.engine)


def wait_instruction(op: TileOp, semaphore: int, value: int) -> Instruction:
    """A wait of its own, for an operation with more waits than an instruction can carry."""
    spec = INSTRUCTIONS["semaphore_wait"]
    given = {"semaphore": semaphore, "value": value}
    fields = tuple(given.get(field.name, field.default) for field in spec.fields)
    operands = (None,) * len(spec.operands)
    return Instruction(spec, op.form.engine, operands, fields, location=op.location)


def drop_repeated_loads(stream: list[Instruction]) -> list[Instruction]:
    """LoadStationary of what the tensor engine already holds is left out. Any wait in between may
    be for a write to that tile, so it ends the knowledge of what is held."""
    kept: list[Instruction] = []
    held: Instruction | None = None
    for instruction in stream:
        if instruction.waits or instruction.spec.mnemonic == "semaphore_wait":
            held = None
        if instruction.spec.mnemonic == "load_stationary":
            if held is not None and held.operands == instruction.operands:
                continue
            held = instruction
        kept.append(instruction)
    return kept


def lower(program: TileProgram, plan: Schedule) -> Streams:
    """The instruction streams of a scheduled tile program."""
    streams = _Lowering(program, plan).run()
    streams[Engine.TENSOR] = drop_repeated_loads(streams[Engine.TENSOR])
    return streams


def pack(program: TileProgram, streams: Streams, sbuf_peak_bytes: int) -> Program:
    """The encoded program."""
    return Program(
        target=program.target.name,
        streams={engine: encode_stream(stream) for engine, stream in streams.items()},
        tensors=tuple(b.tensor for b in program.buffers if b.tensor is not None),
        locations=tuple(program.locations),
        instruction_locations={
            engine: np.array([i.location for i in stream], np.int32)
            for engine, stream in streams.items()
        },
        sbuf_peak_bytes=sbuf_peak_bytes,
        notes=tuple(program.notes),
        cores=program.cores,
        groups=tuple(program.groups),
    )
