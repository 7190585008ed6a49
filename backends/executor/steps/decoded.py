"""A program's streams, decoded once for all machines that run it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from axonc.backends.encoding import decode_stream
from axonc.backends.executor.steps.prepared import Prepared, Preparer
from axonc.backends.isa.effects import uses_registers
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import Action
from axonc.backends.isa.verifier import Verifier, rule_text
from axonc.backends.program import Program
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine, Target
from axonc.diagnostics import ProgramFormatError, UsageError, nearest


@dataclass(frozen=True)
class DecodedProgram:
    """What machines that run one program share: nothing in it depends on memory or on a run."""

    program: Program
    target: Target
    preparer: Preparer
    streams: dict[Engine, list[Prepared]]
    dynamic: dict[Engine, list[bool]]
    """By engine, whether an instruction has an address that comes from a register."""

    @staticmethod
    def of(program: Program, *, is_foreign: bool = False) -> DecodedProgram:
        """is_foreign: whether it may come from another producer, so that instructions may break the
        rules of their descriptions; each is tried before anything is made of it.

        Raises: ProgramFormatError on damaged streams, UsageError on an unknown target.
        """
        if program.target not in TARGETS:
            raise UsageError(f"no target '{program.target}'", hint=nearest(program.target, TARGETS))
        target = TARGETS[program.target]
        preparer = Preparer(target)
        verifier = Verifier(target) if is_foreign else None
        streams = {
            engine: _decoded(program, engine, preparer, verifier) for engine in program.streams
        }
        dynamic = {
            engine: [uses_registers(prepared.instruction) for prepared in stream]
            for engine, stream in streams.items()
        }
        return DecodedProgram(program, target, preparer, streams, dynamic)

    @cached_property
    def is_data_dependent(self) -> bool:
        """Whether control flow may depend on memory: some register is loaded from it."""
        return any(
            prepared.action is Action.LOAD_REGISTER
            for stream in self.streams.values()
            for prepared in stream
        )

    @cached_property
    def runs_in_stretches(self) -> bool:
        """Whether between two branches or loads of a register the tensor engine uses no matrix that
        was loaded before the first, and loads none for after the second: then what lies between can
        be planned by itself."""
        stream = self.streams.get(Engine.TENSOR, [])
        targets = {
            prepared.instruction.integer("target")
            for prepared in stream
            if prepared.action is Action.BRANCH
        }
        last = Action.NOTHING
        for index, prepared in enumerate(stream):
            if index in targets or prepared.action in (Action.BRANCH, Action.LOAD_REGISTER):
                if last is Action.LOAD_STATIONARY:
                    return False
                last = Action.NOTHING
            if prepared.action is Action.MULTIPLY and last is Action.NOTHING:
                return False
            if prepared.action in (Action.MULTIPLY, Action.LOAD_STATIONARY):
                last = prepared.action
        return True


def _decoded(
    program: Program, engine: Engine, preparer: Preparer, verifier: Verifier | None
) -> list[Prepared]:
    locations = program.instruction_locations.get(engine)
    found = decode_stream(
        program.streams[engine], None if locations is None else locations.tolist()
    )
    if verifier is not None:
        _verify(found, engine, verifier)
    return [preparer.prepare(instruction, index) for index, instruction in enumerate(found)]


def _verify(stream: Sequence[Instruction], engine: Engine, verifier: Verifier) -> None:
    """Raises: ProgramFormatError naming the first instruction that breaks a rule."""
    for index, instruction in enumerate(stream):
        if instruction.engine is not engine:
            why = f"it belongs to the stream of {instruction.engine.value}"
            raise ProgramFormatError(f"{engine.value}[{index}] {instruction.spec.mnemonic}: {why}")
        broken = verifier.violations(instruction)
        if broken:
            rule, what = broken[0]
            text = f"({rule}) {rule_text(instruction.spec, rule)}: {what}"
            raise ProgramFormatError(f"{engine.value}[{index}] {instruction.spec.mnemonic}: {text}")
