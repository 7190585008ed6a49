"""Semaphores between the operations of one segment, and its instructions.

Each engine counts the operations it has completed, each DMA queue its transfers, each list of
replica groups its collectives (docs/design/0001, 0007). An operation that depends on the n-th
operation of another engine waits for that count to reach n. Waits that an earlier one on the same
engine implies, directly or through what the producer itself had waited for, are left out (vector
clocks). One wait rides on the instruction, others go before it as `semaphore_wait`.
"""

from __future__ import annotations

from dataclasses import dataclass

from axonc.backends.isa import INSTRUCTIONS
from axonc.backends.isa.access_pattern import NO_REGISTER
from axonc.backends.isa.collective import is_collective
from axonc.backends.isa.dma import is_transfer
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import Action
from axonc.backends.targets.target import Engine, Target
from axonc.dialects.ntile.program import TileOp, TileProgram
from axonc.passes.tile_level.dependencies import DependenceGraph

ENGINES = tuple(Engine)
Streams = dict[Engine, list[Instruction]]

FIRST_BASE_REGISTER = 10
"""Of as many registers as there are semaphores in use (lower.py)."""


@dataclass(frozen=True)
class _Counter:
    """The semaphore an operation signals, and its count when the operation is done."""

    semaphore: int
    count: int


class Lowering:
    """One segment. order, graph: of `ops`. base: what each semaphore has counted before.
    in_loop: the counts of waits are relative to registers (lower.py). silent: that many
    operations, the first ones, are not emitted: an iteration before, of which waits may be needed.
    """

    def __init__(
        self,
        program: TileProgram,
        order: dict[Engine, list[int]],
        graph: DependenceGraph,
        base: list[int],
        *,
        in_loop: bool = False,
        silent: int = 0,
    ) -> None:
        self.program, self.order, self.graph = program, order, graph
        self.base, self.in_loop, self.silent = base, in_loop, silent
        self.ops = program.ops * (graph.op_count // max(1, len(program.ops)))
        self.target = program.target
        self.semaphores = semaphore_count(program)
        self.streams: Streams = {engine: [] for engine in ENGINES}
        self.counters: list[_Counter | None] = [None] * len(self.ops)
        self.clocks: dict[int, list[int]] = {}
        self.counted: list[list[int]] = [[] for _ in range(self.semaphores)]
        self.engine_clocks = {engine: [0] * self.semaphores for engine in ENGINES}
        self._scale = semaphore_steps(program)

    def run(self) -> Streams:
        self._count()
        for number in self._issue_order():
            if number < self.graph.op_count:
                self._emit(number)
            else:
                self.clocks[number] = self._needs(number)
        return self.streams

    def _count(self) -> None:
        """The semaphore and count of every operation, from the per-engine orders."""
        for engine in ENGINES:
            for number in self.order[engine]:
                semaphore = semaphore_of(self.ops[number], self.target)
                self.counted[semaphore].append(number)
                self.counters[number] = _Counter(semaphore, len(self.counted[semaphore]))

    def _issue_order(self) -> list[int]:
        """All nodes, predecessors and same-engine neighbours first."""
        before = [list(nodes) for nodes in self.graph.predecessors]
        for engine in ENGINES:
            order = self.order[engine]
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
        for other in self.graph.predecessors[node]:
            clock = self.clocks[other]
            needed = [a if a >= b else b for a, b in zip(needed, clock, strict=True)]
        return needed

    def _emit(self, number: int) -> None:
        op = self.ops[number]
        engine = op.form.engine
        own = ENGINES.index(engine)
        clock = self.engine_clocks[engine]
        waits = []
        for other in self.graph.predecessors[number]:
            for semaphore, count in self._direct(other):
                if semaphore != own and count > clock[semaphore]:
                    waits.append((semaphore, count))
        strongest = self._strongest(waits)
        for other in self.graph.predecessors[number]:
            clock = [a if a >= b else b for a, b in zip(clock, self.clocks[other], strict=True)]
        self.engine_clocks[engine] = clock
        counter = self.counters[number]
        assert counter is not None
        done = list(clock)
        done[counter.semaphore] = max(done[counter.semaphore], counter.count)
        self.clocks[number] = done
        if counter.semaphore == own:
            self.engine_clocks[engine] = done
        if number >= self.silent:
            self._append(op, strongest, counter)

    def _direct(self, node: int) -> list[tuple[int, int]]:
        """(semaphore, count) to wait for so that `node` is done."""
        if node < self.graph.op_count:
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
        scaled = [(s, (self.base[s] + count) * self._scale[s]) for s, count in waits]
        attached = 1 if self.in_loop else self.target.max_attached_waits
        spare, ridden = scaled[:-attached], scaled[-attached:]
        for semaphore, value in spare:
            stream.append(self._wait(op, semaphore, value))
        made = [step.instruction(op.form.engine, op.location) for step in op.form.steps]
        made[0].waits = tuple(ridden)
        if ridden and self.in_loop:
            made[0].wait_register = base_register(ridden[0][0])
        made[-1].signal = (counter.semaphore, self._scale[counter.semaphore])
        stream.extend(made)

    def _wait(self, op: TileOp, semaphore: int, value: int) -> Instruction:
        register = base_register(semaphore) if self.in_loop else NO_REGISTER
        return wait_instruction(op.form.engine, semaphore, value, op.location, register)


def base_register(semaphore: int) -> int:
    """The register that holds what a semaphore had counted when the iteration before began."""
    return FIRST_BASE_REGISTER + semaphore


def semaphore_count(program: TileProgram) -> int:
    """Semaphores in use: of the engines, the DMA queues and the replica groups."""
    return len(ENGINES) + program.target.dma.queues + len(program.groups)


def semaphore_steps(program: TileProgram) -> list[int]:
    """By how much one operation raises each semaphore."""
    dma = program.target.dma
    return [1] * len(ENGINES) + [dma.semaphore_increment] * dma.queues + [1] * len(program.groups)


def semaphore_of(op: TileOp, target: Target) -> int:
    """Engines have the first semaphores, in order; DMA queues the following, then replica
    groups."""
    step = op.form.steps[0]
    if is_transfer(step):
        return len(ENGINES) + step.integer("queue")
    if is_collective(step):
        return len(ENGINES) + target.dma.queues + step.integer("group")
    return ENGINES.index(op.form.engine)


def wait_instruction(
    engine: Engine, semaphore: int, value: int, location: int = 0, register: int = NO_REGISTER
) -> Instruction:
    """A wait of its own, for an operation with more waits than an instruction can carry."""
    made = control(engine, "semaphore_wait", location, semaphore=semaphore, value=value)
    made.wait_register = register
    return made


def control(engine: Engine, mnemonic: str, location: int = 0, **fields: object) -> Instruction:
    """An instruction of the sequencer: fields only."""
    spec = INSTRUCTIONS[mnemonic]
    values = tuple(fields.get(field.name, field.default) for field in spec.fields)
    return Instruction(spec, engine, (None,) * len(spec.operands), values, location=location)


def drop_repeated_loads(stream: list[Instruction]) -> list[Instruction]:
    """LoadStationary of what the tensor engine already holds is left out. Any wait in between may
    be for a write to that tile, so it ends the knowledge of what is held."""
    kept: list[Instruction] = []
    held: Instruction | None = None
    for instruction in stream:
        if instruction.waits or instruction.spec.action is Action.WAIT:
            held = None
        if instruction.spec.action is Action.LOAD_STATIONARY:
            if held is not None and held.operands == instruction.operands:
                continue
            held = instruction
        kept.append(instruction)
    return kept


def raised(program: TileProgram, ops: list[TileOp]) -> list[int]:
    """How often each semaphore is signalled by `ops`."""
    counts = [0] * semaphore_count(program)
    for op in ops:
        counts[semaphore_of(op, program.target)] += 1
    return counts
