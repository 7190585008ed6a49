"""The tile level under the pass manager: states, and the passes from layouts to instructions.

    axonc opt model.mlir --pass-pipeline "choose-layouts,tile,assign-engines"
    axonc opt tiles.mlir --pass-pipeline "allocate-memory,schedule,lower"

What the passes do is in the files of their names; here is how they are declared and what they hand
on. A tile-level pass accepts a module of the `ntile` dialect as well as a `TileState`, so that
every one of them can be run on text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch_mlir import ir

from axonc.backends.targets.target import Engine
from axonc.diagnostics import CompileError
from axonc.dialects.ntile import ops as ntile
from axonc.dialects.ntile.program import Buffer, HbmTensor, TileOp, TileProgram
from axonc.dialects.ntile.rules import verify_program
from axonc.passes.base import ModuleState, State
from axonc.passes.tile_level.dependencies import dependence_graph
from axonc.passes.tile_level.memory_plan import MemoryPlan
from axonc.passes.tile_level.schedule_plan import Schedule


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


# ---- states -------------------------------------------------------------------------------------


@dataclass
class TileState:
    """A tile program on its way: `memory` from allocate-memory on, `schedule` from schedule on."""

    program: TileProgram
    memory: MemoryPlan | None = None
    schedule: Schedule | None = None

    @classmethod
    def from_module(cls, module: ir.Module) -> TileState:
        """The state a module of the `ntile` dialect stands for.

        Raises: CompileError for other ops, and for an order of issue that leaves operations out.
        """
        program, order = ntile.read_scheduled(module)
        return cls(program, _memory_of(program), _schedule_of(program, order))

    def print(self) -> str:
        order = self.schedule.order if self.schedule else None
        return ntile.print_program(self.program, order)

    def verify(self) -> None:
        """Raises VerifyError."""
        verify_program(self.program)

    def fingerprint(self) -> bytes:
        return _digest(self.print())

    def snapshot(self) -> Callable[[], str]:
        """Passes replace forms, addresses and tensors; those are kept. Views refer to buffers by
        identity, so the old addresses are in force while the text is made."""
        program = replace(
            self.program, ops=[TileOp(op.forms, op.location) for op in self.program.ops]
        )
        program.buffers = list(self.program.buffers)
        before, places = replace(self, program=program), _places(program.buffers)

        def text() -> str:
            now = _places(program.buffers)
            _move(program.buffers, places)
            try:
                return before.print()
            finally:
                _move(program.buffers, now)

        return text

    def targets(self, anchor: str) -> list[Any]:
        """The one thing tile-level passes are applied to: this state."""
        return [self]


def _places(buffers: Sequence[Buffer]) -> list[tuple[int, HbmTensor | None]]:
    return [(buffer.address, buffer.tensor) for buffer in buffers]


def _move(buffers: Sequence[Buffer], places: list[tuple[int, HbmTensor | None]]) -> None:
    for buffer, (address, tensor) in zip(buffers, places, strict=True):
        buffer.address, buffer.tensor = address, tensor


def _memory_of(program: TileProgram) -> MemoryPlan | None:
    """Peaks of a program whose buffers have addresses; None when one in use has none."""
    used = {view.buffer for op in program.ops for _, view in op.accesses()}
    if not used or any(buffer.address < 0 for buffer in used):
        return None
    peaks = dict.fromkeys(("sbuf", "psum", "hbm"), 0)
    for buffer in used:
        end = buffer.address + buffer.partition_bytes
        peaks[buffer.memory.value] = max(peaks[buffer.memory.value], end)
    return MemoryPlan(peaks["sbuf"], peaks["psum"], peaks["hbm"])


def _schedule_of(program: TileProgram, order: dict[Engine, list[int]]) -> Schedule | None:
    if not order:
        return None
    left_out = set(range(len(program.ops))) - {op for ops in order.values() for op in ops}
    if left_out:
        op = program.ops[min(left_out)]
        raise CompileError(
            f"{len(left_out)} operations have no attribute '{ntile.ISSUE}', the others have one",
            op=op.form.steps[0].spec.mnemonic,
            location=program.locations[op.location],
            hint="give every operation its place in its engine's order, or run 'schedule'",
        )
    full = {engine: order.get(engine, []) for engine in Engine}
    graphs = [dependence_graph(program.part(piece)) for piece in program.segments()]
    return Schedule(full, graphs, 0.0)


# ---- passes -------------------------------------------------------------------------------------


class TileLevel:
    """What passes on tile programs have in common."""

    def run_on(self, state: State) -> tuple[State, bool]:
        if isinstance(state, ModuleState):
            state = TileState.from_module(state.module)
        if not isinstance(state, TileState):
            raise CompileError("this pass works on tile programs", hint="run 'tile' first")
        return self.advance(state)

    def advance(self, state: TileState) -> tuple[State, bool]:
        """The state after the pass, and whether anything changed."""
        raise NotImplementedError


def require_engines(state: TileState) -> None:
    for op in state.program.ops:
        if len(op.forms) > 1:
            raise CompileError(
                f"the operation still has {len(op.forms)} forms",
                op=op.form.steps[0].spec.mnemonic,
                location=state.program.locations[op.location],
                hint="run 'assign-engines' first",
            )


def require_addresses(state: TileState) -> MemoryPlan:
    if state.memory is None:
        raise CompileError("buffers have no addresses", hint="run 'allocate-memory' first")
    return state.memory
