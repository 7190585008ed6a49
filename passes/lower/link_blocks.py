"""Blocks one after another in one stream per engine, with branches between them.

Why: what follows knows streams.

Precondition: a `BlocksState` of lowered blocks, device memory shared (`place-blocks`).
Postcondition: one `LoweredState`. The streams of all engines take the same branches: after a block
that hands out a number, every engine has loaded it (barrier.py).

Before:
    // while: {block 1}; block 2
    // block 1: vector: tensor_tensor ...
After:
    vector: branch compare=is_equal a=63 imm=0 target=20
    vector: tensor_tensor ...            // block 1, and its barrier
    vector: branch compare=not_equal a=63 imm=0 target=1

Leaves alone programs of one block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from axonc.backends.isa.collective import is_collective
from axonc.backends.isa.collective_groups import group_number
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import Action
from axonc.backends.program import Groups
from axonc.backends.targets.target import Engine
from axonc.dialects.ntile.program import Buffer, TileProgram
from axonc.passes.base import Pass, State
from axonc.passes.blocks import Block, BlocksState, Case, Loop, Node, While
from axonc.passes.lower.barrier import Barrier
from axonc.passes.lower.lower_segment import (
    ENGINES,
    Streams,
    control,
    raised,
    semaphore_count,
    semaphore_steps,
)
from axonc.passes.lower.lowered_state import LoweredState
from axonc.passes.tile_level.memory_plan import MemoryPlan


@dataclass(frozen=True)
class LinkBlocksPass(Pass, name="link-blocks"):
    """Put the blocks of a program one after another, with branches between them."""

    of_all_blocks: ClassVar[bool] = True

    def run_on(self, state: State) -> tuple[State, bool]:
        if not isinstance(state, BlocksState):
            return state, False
        states = [s for s in state.states if isinstance(s, LoweredState)]
        linker = _Linker(states)
        linker.nodes(state.nodes, depth=0)
        peak = max(s.memory.sbuf_peak_bytes for s in states)
        return LoweredState(linker.program, MemoryPlan(peak), linker.streams), True


class _Linker:
    """streams: so far. program: all tensors, locations and notes, no operations."""

    def __init__(self, states: Sequence[LoweredState]) -> None:
        self.states = states
        self.program = _joined([s.program for s in states])
        self.streams: Streams = {engine: [] for engine in ENGINES}
        registers = states[0].program.target.registers
        self.chosen = registers - 1
        """The register of what sequencers branch by."""
        self.counters = registers - 2
        """The register of the iterations to come of the outermost loop; inner ones go down."""
        self.barrier = Barrier(states[0].program.target, self.chosen)
        self.is_last = len(states) - 1

    def nodes(self, nodes: Sequence[Node], depth: int) -> None:
        for node in nodes:
            _EMITTERS[type(node)](self, node, depth)

    def _emit(self, mnemonic: str, **fields: Any) -> dict[Engine, Instruction]:
        """The same instruction in all streams."""
        made = {engine: control(engine, mnemonic, **fields) for engine in ENGINES}
        for engine, instruction in made.items():
            self.streams[engine].append(instruction)
        return made

    def _here(self) -> dict[Engine, int]:
        return {engine: len(stream) for engine, stream in self.streams.items()}

    def _branch(self, compare: str, register: int = 0, number: int = 0) -> Callable[[], None]:
        """A branch in all streams; to be called where it leads to."""
        made = self._emit("branch", compare=compare, a=register, imm=number, use_imm=True)

        def lands() -> None:
            self._aim(made, self._here())

        return lands

    @staticmethod
    def _aim(branches: dict[Engine, Instruction], targets: dict[Engine, int]) -> None:
        for engine, branch in branches.items():
            branch.fields = branch.fields_with("target", targets[engine])

    def _back(self, compare: str, register: int, targets: dict[Engine, int]) -> None:
        made = self._emit("branch", compare=compare, a=register, imm=0, use_imm=True)
        self._aim(made, targets)

    # ---- nodes

    def block(self, node: Block, depth: int) -> None:
        state = self.states[node.number]
        program = state.program
        starts = self._here()
        first = self._locations(node.number)
        for engine, stream in state.streams.items():
            self.streams[engine] += [
                self._moved(instruction, program, starts[engine], first) for instruction in stream
            ]
        if node.number == self.is_last:
            return
        self.barrier.check_room(semaphore_count(program))
        loaded = program.control.resolve() if program.control is not None else None
        for engine, stream in self.barrier.after(_final_counts(program), loaded).items():
            self.streams[engine] += stream

    def _locations(self, number: int) -> int:
        """Where the locations of a block begin in the table of all."""
        return sum(len(state.program.locations) for state in self.states[:number])

    def _moved(
        self, instruction: Instruction, program: TileProgram, start: int, location: int
    ) -> Instruction:
        """The instruction as part of a longer stream."""
        fields = instruction.fields
        if instruction.spec.action is Action.BRANCH:
            fields = instruction.fields_with("target", start + instruction.integer("target"))
        if is_collective(instruction):
            groups = program.groups[group_number(instruction)]
            fields = instruction.fields_with("group", self.program.groups.index(groups))
        return replace(instruction, fields=fields, location=location + instruction.location)

    def loop(self, node: Loop, depth: int) -> None:
        counter = self.counters - depth
        self._emit("register_move", dst=counter, imm=node.count)
        again = self._here()
        self.nodes(node.body, depth + 1)
        self._emit("register_alu", op="add", dst=counter, a=counter, imm=-1, use_imm=True)
        self._back("is_gt", counter, again)

    def while_(self, node: While, depth: int) -> None:
        skips = self._branch("is_equal", self.chosen, 0)
        again = self._here()
        self.nodes(node.body, depth)
        self._back("not_equal", self.chosen, again)
        skips()

    def case(self, node: Case, depth: int) -> None:
        taken = [self._branch("is_equal", self.chosen, value) for value in node.values]
        ends = []
        *others, last = node.branches
        self.nodes(last, depth)
        for lands, branch in zip(taken, others, strict=True):
            ends.append(self._branch("always"))
            lands()
            self.nodes(branch, depth)
        for lands in ends:
            lands()


_EMITTERS: dict[type[Node], Callable[..., None]] = {
    Block: _Linker.block,
    Loop: _Linker.loop,
    While: _Linker.while_,
    Case: _Linker.case,
}


def _final_counts(program: TileProgram) -> list[int]:
    """What every semaphore has counted when a block is over."""
    counts = [0] * semaphore_count(program)
    for piece in program.segments():
        raises = raised(program, program.part(piece).ops)
        counts = [a + piece.count * b for a, b in zip(counts, raises, strict=True)]
    steps = semaphore_steps(program)
    return [count * step for count, step in zip(counts, steps, strict=True)]


def _joined(programs: Sequence[TileProgram]) -> TileProgram:
    """A program without operations that has what programs share."""
    joined = TileProgram(programs[0].target, cores=programs[0].cores, branches_alike=True)
    groups: dict[Groups, None] = {}
    buffers: dict[str, Buffer] = {}
    notes: dict[str, None] = {}
    joined.locations.clear()
    for program in programs:
        joined.locations += program.locations
        groups.update(dict.fromkeys(program.groups))
        notes.update(dict.fromkeys(program.notes))
        for buffer in program.buffers:
            if buffer.tensor is not None:
                buffers.setdefault(buffer.tensor.name, buffer)
    joined.groups, joined.notes = list(groups), list(notes)
    joined.buffers = list(buffers.values())
    return joined
