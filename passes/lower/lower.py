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

from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import Action
from axonc.backends.targets.target import Engine
from axonc.diagnostics import CompileError
from axonc.dialects.ntile.program import (
    ITERATION_REGISTER,
    ITERATION_SHIFT,
    Buffer,
    Repeat,
    TileProgram,
)
from axonc.passes.base import Pass, State
from axonc.passes.lower.lower_segment import (
    ENGINES,
    Lowering,
    Streams,
    base_register,
    control,
    drop_repeated_loads,
    raised,
    semaphore_steps,
    wait_instruction,
)
from axonc.passes.lower.lowered_state import LoweredState
from axonc.passes.tile_level.dependencies import dependence_graph
from axonc.passes.tile_level.schedule_plan import Schedule
from axonc.passes.tile_level.tile_state import (
    TileLevel,
    TileState,
    require_addresses,
    require_engines,
)

COUNT_REGISTER = ITERATION_REGISTER + 1
"""Iterations still to come, of every engine within a repeat."""


def lower(program: TileProgram, plan: Schedule) -> Streams:
    """The instruction streams of a scheduled tile program."""
    streams: Streams = {engine: [] for engine in ENGINES}
    counts = [0] * len(semaphore_steps(program))
    for piece, graph in zip(program.segments(), plan.graphs, strict=True):
        part, order = program.part(piece), plan.part(piece)
        if any(counts):
            _wait_for_all(program, streams, counts, order)
        if piece.count == 1:
            made = Lowering(part, order, graph, counts).run()
        else:
            made = _Loop(program, piece, order, counts).run({e: len(s) for e, s in streams.items()})
        made[Engine.TENSOR] = drop_repeated_loads(made[Engine.TENSOR])
        for engine, stream in made.items():
            streams[engine] += stream
        raises = raised(program, part.ops)
        counts = [a + piece.count * b for a, b in zip(counts, raises, strict=True)]
    return streams


def _wait_for_all(
    program: TileProgram, streams: Streams, counts: list[int], order: dict[Engine, list[int]]
) -> None:
    """The segment before is over when every semaphore has reached its count."""
    steps = semaphore_steps(program)
    for engine in ENGINES:
        if not order[engine]:
            continue
        for semaphore, count in enumerate(counts):
            if count and semaphore != ENGINES.index(engine):
                streams[engine].append(
                    wait_instruction(engine, semaphore, count * steps[semaphore])
                )


class _Loop:
    """A repeat as a loop in the stream of every engine that takes part.

    One iteration is lowered with the one before it in sight, of which it may have to wait for
    operations: so engines run ahead into the next iteration as far as data and memory allow. What
    it waits for is counted from the start of the iteration before; for each semaphore, a register
    holds what had been counted there by then.
    """

    def __init__(
        self,
        program: TileProgram,
        repeat: Repeat,
        order: dict[Engine, list[int]],
        counts: list[int],
    ) -> None:
        self.program, self.repeat, self.order, self.counts = program, repeat, order, counts
        self.part = program.part(repeat)
        self.raises = raised(program, self.part.ops)
        self.steps = semaphore_steps(program)

    def run(self, starts: dict[Engine, int]) -> Streams:
        """The loops; starts: the length of each stream so far."""
        period = len(self.part.ops)
        twice = {e: [*order, *(period + n for n in order)] for e, order in self.order.items()}
        graph = dependence_graph(self.part, 2, _lasting(self.program, self.repeat))
        nothing = [0] * len(self.counts)
        lowering = Lowering(self.part, twice, graph, nothing, in_loop=True, silent=period)
        bodies = lowering.run()
        bodies[Engine.TENSOR] = drop_repeated_loads(bodies[Engine.TENSOR])
        return {engine: self._loop(engine, body, starts[engine]) for engine, body in bodies.items()}

    def _loop(self, engine: Engine, body: list[Instruction], start: int) -> list[Instruction]:
        if not body:
            return []
        waited = sorted(_waited_semaphores(body))
        head = [
            control(engine, "register_move", dst=ITERATION_REGISTER, imm=0),
            control(engine, "register_move", dst=COUNT_REGISTER, imm=self.repeat.count),
        ]
        for semaphore in waited:
            before = self.counts[semaphore] - self.raises[semaphore]
            value = before * self.steps[semaphore]
            head.append(control(engine, "register_move", dst=base_register(semaphore), imm=value))
        tail = [_added(engine, ITERATION_REGISTER, self.repeat.stride >> ITERATION_SHIFT)]
        tail += [_added(engine, base_register(s), self.raises[s] * self.steps[s]) for s in waited]
        tail.append(_added(engine, COUNT_REGISTER, -1))
        again = start + len(head)
        tail.append(
            control(
                engine,
                "branch",
                compare="is_gt",
                a=COUNT_REGISTER,
                imm=0,
                use_imm=True,
                target=again,
            )
        )
        return [*head, *body, *tail]


def _added(engine: Engine, register: int, amount: int) -> Instruction:
    return control(
        engine, "register_alu", op="add", dst=register, a=register, imm=amount, use_imm=True
    )


def _waited_semaphores(body: list[Instruction]) -> set[int]:
    """Semaphores of waits that count from a register."""
    found = {semaphore for made in body for semaphore, _ in made.waits}
    found |= {made.integer("semaphore") for made in body if made.spec.action is Action.WAIT}
    return found


def _lasting(program: TileProgram, repeat: Repeat) -> set[Buffer]:
    """Buffers that operations outside the repeat touch, too."""
    outside = program.ops[: repeat.first] + program.ops[repeat.end :]
    return {view.buffer for op in outside for _, view in op.accesses()}


@dataclass(frozen=True)
class LowerPass(TileLevel, Pass, name="lower"):
    """Make instruction streams: addresses, semaphores, one list per engine."""

    def advance(self, state: TileState) -> tuple[State, bool]:
        require_engines(state)
        memory = require_addresses(state)
        if state.schedule is None:
            raise CompileError("operations have no order of issue", hint="run 'schedule' first")
        return LoweredState(state.program, memory, lower(state.program, state.schedule)), True
