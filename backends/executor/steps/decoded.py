"""A program's streams, decoded once for all machines that run it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from axonc.backends.encoding import decode_stream
from axonc.backends.executor.steps.prepared import Prepared, Preparer
from axonc.backends.isa.effects import uses_registers
from axonc.backends.isa.spec import Action
from axonc.backends.program import Program
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine, Target
from axonc.diagnostics import UsageError, nearest


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
    def of(program: Program) -> DecodedProgram:
        """Raises: ProgramFormatError on damaged streams, UsageError on an unknown target."""
        if program.target not in TARGETS:
            raise UsageError(f"no target '{program.target}'", hint=nearest(program.target, TARGETS))
        target = TARGETS[program.target]
        preparer = Preparer(target)
        streams = {engine: _decoded(program, engine, preparer) for engine in program.streams}
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


def _decoded(program: Program, engine: Engine, preparer: Preparer) -> list[Prepared]:
    locations = program.instruction_locations.get(engine)
    found = decode_stream(
        program.streams[engine], None if locations is None else locations.tolist()
    )
    return [preparer.prepare(instruction, index) for index, instruction in enumerate(found)]
