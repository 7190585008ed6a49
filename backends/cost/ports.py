"""Memory ports that two engines share: at most one of them may use the memory at a time.

NeuronCore-v2: VectorE and GpSimdE never use SBUF at the same time, VectorE and ScalarE never PSUM;
NeuronCore-v3 lifts both (machine.md#the-chip).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.targets.target import Engine

LAST_VERSION_WITH_SHARED_PORTS = 2


@dataclass(frozen=True)
class SharedPort:
    """`engines` take turns at `memory`."""

    memory: Memory
    engines: tuple[Engine, ...]


SHARED_PORTS: tuple[SharedPort, ...] = (
    SharedPort(Memory.SBUF, (Engine.VECTOR, Engine.GPSIMD)),
    SharedPort(Memory.PSUM, (Engine.VECTOR, Engine.SCALAR)),
)


def shared_ports(core_version: int) -> tuple[SharedPort, ...]:
    """The shared ports of a NeuronCore."""
    return SHARED_PORTS if core_version <= LAST_VERSION_WITH_SHARED_PORTS else ()


@cache
def ports_used(core_version: int, engine: Engine, memories: frozenset[Memory]) -> tuple[int, ...]:
    """Indices into `shared_ports(core_version)` that an instruction of `engine` occupies."""
    return tuple(
        index
        for index, port in enumerate(shared_ports(core_version))
        if engine in port.engines and port.memory in memories
    )
