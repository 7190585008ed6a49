"""The tile level under the pass manager: states, and the passes from layouts to instructions.

    axonc opt model.mlir --pass-pipeline "choose-layouts,tile,assign-engines"
    axonc opt tiles.mlir --pass-pipeline "allocate-memory,schedule,lower"

What the passes do is in the files of their names; here is how they are declared and what they hand
on. A tile-level pass accepts a module of the `ntile` dialect as well as a `TileState`, so that
every one of them can be run on text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch_mlir import ir

from axonc.backends.isa import Verifier
from axonc.backends.program import Program
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine, Target
from axonc.context import source_location
from axonc.diagnostics import CompileError, UsageError, nearest
from axonc.dialects import nisa
from axonc.dialects.attributes import integer, integer_list_array
from axonc.dialects.neuron.repeat import REPEAT, Repeat
from axonc.dialects.ntile import ops as ntile
from axonc.dialects.ntile.program import TileOp, TileProgram
from axonc.dialects.ntile.reader import body
from axonc.dialects.ntile.rules import verify_program
from axonc.pass_manager import ModuleState, Pass, State
from axonc.passes.layout.choose_layouts import CARRIED_ROWS, choose_layouts
from axonc.passes.lower.lower import Streams, lower, pack
from axonc.passes.memory.allocate_memory import MemoryPlan, allocate_memory
from axonc.passes.memory.spill_buffers import spill_buffers
from axonc.passes.schedule.assign_engines import assign_engines
from axonc.passes.schedule.schedule import Schedule, schedule
from axonc.passes.tile.ops.repeat import block_function, is_repeated
from axonc.passes.tile.tile import tile
from axonc.passes.tile_level.dependencies import dependence_graph

FUNCTION = "func.func"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def find_target(name: str) -> Target:
    """Raises UsageError for an unknown name."""
    if name not in TARGETS:
        known = nearest(name, TARGETS) or f"known: {', '.join(TARGETS)}"
        raise UsageError(f"there is no target '{name}'", hint=known)
    return TARGETS[name]


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
        identity, so the text is made by putting the old addresses back: the state is lost by
        that."""
        program = replace(
            self.program, ops=[TileOp(op.forms, op.location) for op in self.program.ops]
        )
        program.buffers = list(self.program.buffers)
        places = [(buffer.address, buffer.tensor) for buffer in program.buffers]
        before = replace(self, program=program)

        def text() -> str:
            for buffer, (address, tensor) in zip(program.buffers, places, strict=True):
                buffer.address, buffer.tensor = address, tensor
            return before.print()

        return text

    def targets(self, anchor: str) -> list[Any]:
        """The one thing tile-level passes are applied to: this state."""
        return [self]


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


@dataclass
class LoweredState:
    """Instruction streams, printed as the `nisa` dialect, and what is needed to pack them."""

    program: TileProgram
    memory: MemoryPlan
    streams: Streams

    def print(self) -> str:
        program = self.program
        module = nisa.to_module(self.streams, program.locations, target=program.target.name)
        if program.cores > 1:
            with module.context:
                attributes = module.operation.attributes
                attributes[nisa.CORES_ATTRIBUTE] = integer(program.cores)
                entries = [integer_list_array(groups) for groups in program.groups]
                attributes[nisa.GROUPS_ATTRIBUTE] = ir.ArrayAttr.get(entries)
        return str(module.operation.get_asm(enable_debug_info=True, assume_verified=True))

    def verify(self) -> None:
        """Raises VerifyError."""
        verifier = Verifier(self.program.target)
        for stream in self.streams.values():
            for instruction in stream:
                verifier.check(instruction, self.program.locations[instruction.location])

    def fingerprint(self) -> bytes:
        return _digest(self.print())

    def snapshot(self) -> Callable[[], str]:
        """Streams are lists of instructions nobody changes in place."""
        copy = replace(self, streams={e: list(stream) for e, stream in self.streams.items()})
        return copy.print

    def targets(self, anchor: str) -> list[Any]:
        return [self]

    def pack(self) -> Program:
        """The encoded program."""
        return pack(self.program, self.streams, self.memory.sbuf_peak_bytes)


# ---- passes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChooseLayoutsPass(Pass, name="choose-layouts", anchor=FUNCTION):
    """Choose which dims of every tensor lie on the partitions, for the graph as a whole."""

    target: str = ntile.DEFAULT_TARGET

    def apply(self, op: ir.Operation) -> bool:
        """Blocks that are repeated come before the function that repeats them."""
        target = find_target(self.target)
        if REPEAT in {inner.operation.name for inner in body(op)}:
            _choose_for_repeats(op, target)
        if not is_repeated(op):
            choose_layouts(op, target)
        return True


def _choose_for_repeats(function: ir.Operation, target: Target) -> None:
    for op in body(function):
        if op.name == REPEAT:
            carried = len(Repeat.of(op).carried)
            rows = choose_layouts(block_function(op), target, carried)
            op.attributes[CARRIED_ROWS] = integer_list_array(rows)


@dataclass(frozen=True)
class TilePass(Pass, name="tile"):
    """Turn tensors with chosen layouts into tile operations on buffers."""

    target: str = ntile.DEFAULT_TARGET
    exact_transposes: bool = False

    def run_on(self, state: State) -> tuple[State, bool]:
        function = _only_function(state)
        target = find_target(self.target)
        with function.context, ir.Location.unknown():
            program = tile(function, target, exact_transposes=self.exact_transposes)
        return TileState(program), True


def _only_function(state: State) -> ir.Operation:
    """The function of a program whose layouts are chosen."""
    functions = [f for f in state.targets(FUNCTION) if not is_repeated(f)]
    if len(functions) != 1:
        raise CompileError(
            f"{len(functions)} functions to tile; a program is one",
            hint="inline the others first" if functions else "tile works on neuron operations",
        )
    for op in body(functions[0]):
        if len(op.results) and "layout.rows" not in op.attributes:
            raise CompileError(
                "the op has no layout.rows",
                op=op.name,
                location=source_location(op),
                hint="run 'choose-layouts' first",
            )
    return functions[0]


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


def _require_engines(state: TileState) -> None:
    for op in state.program.ops:
        if len(op.forms) > 1:
            raise CompileError(
                f"the operation still has {len(op.forms)} forms",
                op=op.form.steps[0].spec.mnemonic,
                location=state.program.locations[op.location],
                hint="run 'assign-engines' first",
            )


def _require_addresses(state: TileState) -> MemoryPlan:
    if state.memory is None:
        raise CompileError("buffers have no addresses", hint="run 'allocate-memory' first")
    return state.memory


@dataclass(frozen=True)
class AssignEnginesPass(TileLevel, Pass, name="assign-engines"):
    """Choose an engine for every operation that several engines could do."""

    def advance(self, state: TileState) -> tuple[State, bool]:
        return state, assign_engines(state.program)


@dataclass(frozen=True)
class SpillBuffersPass(TileLevel, Pass, name="spill-buffers"):
    """Send buffers to device memory and back when they do not all fit in SBUF."""

    def advance(self, state: TileState) -> tuple[State, bool]:
        _require_engines(state)
        return state, spill_buffers(state.program)


@dataclass(frozen=True)
class AllocateMemoryPass(TileLevel, Pass, name="allocate-memory"):
    """Give every buffer an address in SBUF, PSUM or device memory."""

    def advance(self, state: TileState) -> tuple[State, bool]:
        _require_engines(state)
        state.memory = allocate_memory(state.program)
        return state, True


@dataclass(frozen=True)
class SchedulePass(TileLevel, Pass, name="schedule"):
    """Order the operations of every engine and give transfers their queues."""

    def advance(self, state: TileState) -> tuple[State, bool]:
        _require_engines(state)
        _require_addresses(state)
        state.schedule = schedule(state.program)
        return state, True


@dataclass(frozen=True)
class LowerPass(TileLevel, Pass, name="lower"):
    """Make instruction streams: addresses, semaphores, one list per engine."""

    def advance(self, state: TileState) -> tuple[State, bool]:
        _require_engines(state)
        memory = _require_addresses(state)
        if state.schedule is None:
            raise CompileError("operations have no order of issue", hint="run 'schedule' first")
        return LoweredState(state.program, memory, lower(state.program, state.schedule)), True
