"""Instruction streams under the pass manager."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch_mlir import ir

from axonc.backends.encoding import encode_stream
from axonc.backends.isa import Verifier
from axonc.backends.program import Program
from axonc.dialects import nisa
from axonc.dialects.attributes import integer, integer_list_array
from axonc.dialects.ntile.program import TileProgram
from axonc.passes.lower.lower_segment import Streams
from axonc.passes.tile_level.memory_plan import MemoryPlan


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
        return hashlib.sha256(self.print().encode()).digest()

    def snapshot(self) -> Callable[[], str]:
        """The lists are copied; instructions are never changed in place."""
        copy = replace(self, streams={e: list(stream) for e, stream in self.streams.items()})
        return copy.print

    def targets(self, anchor: str) -> list[Any]:
        return [self]

    def pack(self) -> Program:
        """The encoded program."""
        return pack(self.program, self.streams, self.memory.sbuf_peak_bytes)


def pack(program: TileProgram, streams: Streams, sbuf_peak_bytes: int) -> Program:
    """The encoded program."""
    return Program(
        target=program.target.name,
        streams={engine: encode_stream(stream) for engine, stream in streams.items()},
        tensors=program.tensors(),
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
