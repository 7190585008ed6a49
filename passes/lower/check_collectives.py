"""Proves that all cores issue the same collectives in the same order.

Why: a collective that one core of a group leaves out, does on another shape, or comes to in another
order than the rest hangs the machine, with no cause given.

Precondition: instruction streams. Postcondition (else CompileError): every collective names a list
of groups in which its core stands once, and its blocks fit the group; in every group all cores
issue equal collectives in one order, in device memory unless they run one program (tiles of
different programs may lie differently); the orders of all groups together have no cycle, so that no
two cores wait for each other. Nothing is changed.

How: streams are followed as the sequencer would (registers, branches); a branch that depends on
memory before a collective is refused, as cores may take it differently. Cores that run the same
streams are followed once. Then the collectives are sorted topologically. Linear in instructions.

Before:
    core 0, gpsimd: all_reduce group=0 (cores 0, 1); all_gather group=1
    core 1, gpsimd: all_reduce group=0 (cores 0, 1); all_gather group=1
After:
    core 0, gpsimd: all_reduce group=0 (cores 0, 1); all_gather group=1
    core 1, gpsimd: all_reduce group=0 (cores 0, 1); all_gather group=1
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from axonc.backends.encoding import decode_stream
from axonc.backends.isa.access_pattern import Memory
from axonc.backends.isa.collective import is_collective
from axonc.backends.isa.collective_groups import block_counts, group_number, members_of, signature
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.sequencer import Registers
from axonc.backends.isa.spec import Action
from axonc.backends.program import CoreProgram, Groups, Program
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine, Target
from axonc.diagnostics import CompileError, SourceLocation, VerifyError
from axonc.passes.base import Pass, State
from axonc.passes.lower.lowered_state import LoweredState

Streams = dict[Engine, list[Instruction]]
Key = tuple[int, tuple[int, ...]]
"""(entry of the table, cores of the group)."""

MAX_STEPS = 10_000_000
"""Instructions of one stream that are followed through loops."""


@dataclass(frozen=True)
class CoreStreams:
    """What the checker reads of one program."""

    streams: Streams
    locations: Sequence[SourceLocation]
    """Its table of source places."""
    branches_alike: bool = False
    """Cores that run it are known to take the same branches (`split-control-flow`)."""


@dataclass(frozen=True)
class Issue:
    """The number-th collective that a core issues in a group."""

    core: int
    engine: Engine
    instruction: Instruction
    location: SourceLocation
    key: Key
    number: int
    program: int

    @property
    def node(self) -> tuple[Key, int]:
        return self.key, self.number

    def __str__(self) -> str:
        where = f" at {self.location}" if self.location.file else ""
        return f"core {self.core}: {_text(self.instruction)}{where}"


def check_collectives(
    programs: Sequence[CoreStreams],
    program_of: Sequence[int],
    table: tuple[Groups, ...],
    target: Target,
) -> int:
    """Checks a program of len(program_of) cores; core c runs programs[program_of[c]].

    Returns the number of collectives a core issues, summed over cores.
    Raises: CompileError naming cores, ops and source lines.
    """
    followed = [_follow(program, target) for program in programs]
    issues = [
        issue
        for core, number in enumerate(program_of)
        for issue in _issues(core, number, followed[number], programs[number].locations, table)
    ]
    _require_equal(issues)
    _require_order(issues)
    return len(issues)


def check_core_program(program: CoreProgram) -> int:
    """Checks a linked program of different programs. Returns, raises: as `check_collectives`."""
    streams = [CoreStreams(_decoded(p), p.locations) for p in program.programs]
    target = TARGETS[program.programs[0].target]
    return check_collectives(streams, program.program_of, program.groups, target)


def _decoded(program: Program) -> Streams:
    found = {}
    for engine, data in program.streams.items():
        places = program.instruction_locations.get(engine)
        found[engine] = decode_stream(data, None if places is None else places.tolist())
    return found


# ---- what a stream issues ------------------------------------------------------------------------


def _follow(program: CoreStreams, target: Target) -> dict[Engine, list[Instruction]]:
    """The collectives of every stream, in order, loops followed. Of cores that branch alike each
    one once: wherever the branches lead, all cores come to the same ones in the same order."""
    streams = {
        engine: stream
        for engine, stream in program.streams.items()
        if any(is_collective(instruction) for instruction in stream)
    }
    if program.branches_alike:
        _require_one_engine(streams, program.locations)
        return {e: [i for i in stream if is_collective(i)] for e, stream in streams.items()}
    return {
        engine: list(_collectives(engine, stream, program.locations, target))
        for engine, stream in streams.items()
    }


def _require_one_engine(streams: Streams, locations: Sequence[SourceLocation]) -> None:
    """With two of them, the order in which cores wait for each other would depend on branches."""
    for stream in list(streams.values())[1:]:
        first = next(i for i in stream if is_collective(i))
        raise CompileError(
            f"{' and '.join(e.value for e in streams)} trigger collectives in a program with "
            "branches on data",
            op=first.spec.mnemonic,
            location=locations[first.location],
            hint="let one engine trigger them all",
        )


def _collectives(
    engine: Engine,
    stream: list[Instruction],
    locations: Sequence[SourceLocation],
    target: Target,
) -> Iterator[Instruction]:
    registers = Registers(engine, target.registers)
    unknown: set[int] = set()
    index = 0
    for _ in range(MAX_STEPS):
        if index >= len(stream):
            return
        instruction = stream[index]
        action = instruction.spec.action
        index += 1
        if is_collective(instruction):
            yield instruction
        elif action is Action.HALT:
            return
        elif action is Action.BRANCH:
            _require_known(instruction, unknown, locations)
            if registers.is_taken(instruction):
                index = instruction.integer("target")
        else:
            _execute(instruction, registers, unknown)
    raise CompileError(f"{engine.value}: {MAX_STEPS:,} instructions before its last collective")


def _execute(instruction: Instruction, registers: Registers, unknown: set[int]) -> None:
    """What an instruction does to registers. unknown: those whose value comes from memory."""
    action = instruction.spec.action
    if action not in (Action.MOVE_REGISTER, Action.COMPUTE_REGISTER, Action.LOAD_REGISTER):
        return
    destination = _register(instruction, "dst")
    if action is Action.LOAD_REGISTER or _reads_unknown(instruction, unknown):
        unknown.add(destination)
        return
    unknown.discard(destination)
    if action is Action.MOVE_REGISTER:
        registers.execute_move(instruction)
    else:
        registers.execute_alu(instruction)


def _register(instruction: Instruction, field: str) -> int:
    return instruction.integer(field)


def _reads_unknown(instruction: Instruction, unknown: set[int]) -> bool:
    if "a" not in instruction.spec.field_index:
        return False
    second = not instruction.flag("use_imm") and _register(instruction, "b") in unknown
    return _register(instruction, "a") in unknown or second


def _require_known(
    branch: Instruction, unknown: set[int], locations: Sequence[SourceLocation]
) -> None:
    if branch.text("compare") != "always" and _reads_unknown(branch, unknown):
        raise CompileError(
            "a branch that depends on memory in a stream with collectives: cores may take it "
            "differently and wait for each other for ever",
            op=branch.spec.mnemonic,
            location=locations[branch.location],
            hint="keep collectives out of loops whose number of rounds is computed",
        )


def _issues(
    core: int,
    program: int,
    followed: dict[Engine, list[Instruction]],
    locations: Sequence[SourceLocation],
    table: tuple[Groups, ...],
) -> Iterator[Issue]:
    counts: dict[Key, int] = defaultdict(int)
    engines: dict[Key, Engine] = {}
    for engine, instructions in followed.items():
        for instruction in instructions:
            where = locations[instruction.location]
            key = _key(core, instruction, table, where)
            if engines.setdefault(key, engine) is not engine:
                raise CompileError(
                    f"core {core}: {engines[key].value} and {engine.value} trigger collectives of "
                    f"group {list(key[1])}; nothing orders the two",
                    op=instruction.spec.mnemonic,
                    location=where,
                )
            yield Issue(core, engine, instruction, where, key, counts[key], program)
            counts[key] += 1


def _key(
    core: int, instruction: Instruction, table: tuple[Groups, ...], where: SourceLocation
) -> Key:
    mnemonic = instruction.spec.mnemonic
    try:
        members = members_of(table, instruction, core)
    except VerifyError as error:
        raise CompileError(error.message, op=mnemonic, location=where) from None
    counts = block_counts(instruction, len(members))
    if counts is None:
        raise CompileError(
            f"core {core}: the operands do not fit a group of {len(members)} cores",
            op=mnemonic,
            location=where,
        )
    return group_number(instruction), members


# ---- all cores together --------------------------------------------------------------------------


def _require_equal(issues: list[Issue]) -> None:
    """Every collective of a group is issued by all of its cores, and is the same for all."""
    by_node: dict[tuple[Key, int], list[Issue]] = defaultdict(list)
    for issue in issues:
        by_node[issue.node].append(issue)
    for (key, _), found in by_node.items():
        first = found[0]
        absent = sorted(set(key[1]) - {issue.core for issue in found})
        if absent:
            raise _error(first, f"core {absent[0]} of group {list(key[1])} never issues it")
        for other in found[1:]:
            if signature(other.instruction) != signature(first.instruction):
                raise _error(first, f"where the others of its group do something else\n  {other}")
            if other.program != first.program and _is_in_sbuf(other.instruction):
                raise _error(
                    first,
                    f"core {other.core} runs another program, whose tiles may lie otherwise",
                )


def _is_in_sbuf(instruction: Instruction) -> bool:
    return any(a is not None and a.memory is Memory.SBUF for a in instruction.operands)


def _require_order(issues: list[Issue]) -> None:
    """There is one order of all collectives in which every engine issues its own."""
    import networkx  # programs for one core have no use for it

    order = networkx.DiGraph()
    last: dict[tuple[int, Engine], Issue] = {}
    for issue in issues:
        previous = last.get((issue.core, issue.engine))
        if previous is not None:
            order.add_edge(previous.node, issue.node, issue=issue)
        last[issue.core, issue.engine] = issue
    if networkx.is_directed_acyclic_graph(order):
        return
    steps = [order.edges[edge]["issue"] for edge in networkx.find_cycle(order)]
    listed = "\n".join(f"  {step}, after one of another group" for step in steps)
    raise _error(steps[0], f"cores wait for each other in a circle:\n{listed}")


def _error(issue: Issue, what: str) -> CompileError:
    return CompileError(
        f"core {issue.core}: {_text(issue.instruction)}: {what}",
        op=issue.instruction.spec.mnemonic,
        location=issue.location,
        hint="all cores of a group issue the same collectives in the same order",
    )


def _text(instruction: Instruction) -> str:
    return " ".join(str(part) for part in signature(instruction) if part)


@dataclass(frozen=True)
class CheckCollectivesPass(Pass, name="check-collectives"):
    """Prove that all cores issue the same collectives in the same order."""

    def run_on(self, state: State) -> tuple[State, bool]:
        if not isinstance(state, LoweredState):
            raise CompileError("this pass works on instruction streams", hint="run 'lower' first")
        program = state.program
        if program.cores > 1:
            streams = CoreStreams(state.streams, program.locations, program.branches_alike)
            same = (0,) * program.cores
            check_collectives((streams,), same, tuple(program.groups), program.target)
        return state, False
