"""A decoded instruction with everything the event loop needs about it, computed once.

Operands whose address comes from a register are resolved per register value (`Preparer.resolve`);
what the loop then sees has static addresses only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from axonc.backends.cost.intervals import CostModel
from axonc.backends.cost.ports import ports_used
from axonc.backends.isa.access_pattern import (
    NO_REGISTER,
    Access,
    Dims,
    HbmAccess,
    TileAccess,
    span_elements,
)
from axonc.backends.isa.activation_functions import ACTIVATION_BY_NAME
from axonc.backends.isa.effects import accesses_read, accesses_written
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.sequencer import semaphore_and_value
from axonc.backends.isa.spec import Action
from axonc.backends.targets.target import Engine, Target

Region = tuple[str, int, int, int, int]
"""(memory, first partition, past-the-last partition, first byte, past-the-last byte)."""

REGISTER_MASK = 0xFFFFFFFF


@dataclass(slots=True, eq=False)
class Prepared:
    """What the event loop has to know to start an instruction and to say when it is over."""

    instruction: Instruction
    """With static addresses."""
    engine: Engine
    index: int
    """Its number in its engine's stream."""
    action: Action
    mnemonic: str
    """For messages; `action` decides what is done."""
    interval_ns: float
    """How long the engine is busy."""
    latency_ns: float
    """From then on, until the results are visible."""
    waits: tuple[tuple[int, int], ...]
    """Attached ones and that of a semaphore_wait."""
    signal: tuple[int, int] | None
    ports: tuple[int, ...]
    """Indices of the shared ports it occupies."""
    reads: tuple[Region, ...]
    """On-chip bytes an engine reads itself; for a transfer what it reads."""
    writes: tuple[Region, ...]
    """On-chip bytes an engine writes itself."""
    table_set: str
    """The activation table it needs ("" for none)."""
    wait_register: int = NO_REGISTER
    """Added to the values of its waits when it starts."""


@lru_cache(maxsize=65536)
def _span_bytes(dims: Dims, size: int) -> tuple[int, int]:
    """[first, past-the-last) byte of a pattern of elements of `size` bytes, from its start."""
    low, high = span_elements(dims)
    return low * size, (high + 1) * size


def region_of(access: TileAccess) -> Region:
    first, end = _span_bytes(access.dims, access.dtype.numpy.itemsize)
    start, offset = access.start_partition, access.byte_offset
    partitions_end = start + access.num_partitions
    return (access.memory.value, start, partitions_end, offset + first, offset + end)


def regions_overlap(a: Region, b: Region) -> bool:
    return a[3] < b[4] and b[3] < a[4] and a[1] < b[2] and b[1] < a[2] and a[0] == b[0]


def _shifted(access: Access | None, registers: list[int]) -> Access | None:
    """`access` moved by its register, read as an unsigned number of bytes."""
    if access is None or access.register == NO_REGISTER:
        return access
    offset = registers[access.register] & REGISTER_MASK
    if isinstance(access, HbmAccess):
        moved = access.address + (offset << access.register_shift)
        return replace(access, address=moved, register=NO_REGISTER, register_shift=0)
    return replace(access, byte_offset=access.byte_offset + offset, register=NO_REGISTER)


class Preparer:
    """Makes `Prepared` instructions of one target, each once."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.costs = CostModel(target)
        self._resolved: dict[tuple[Engine, int, tuple[int, ...]], Prepared] = {}

    def prepare(self, instruction: Instruction, index: int) -> Prepared:
        cost = self.costs.cost(instruction)
        engine, action = instruction.engine, instruction.spec.action
        waits = instruction.waits
        if action is Action.WAIT:
            waits = (*waits, semaphore_and_value(instruction))
        reads, writes = _on_chip_regions(instruction)
        return Prepared(
            instruction=instruction,
            engine=engine,
            index=index,
            action=action,
            mnemonic=instruction.spec.mnemonic,
            interval_ns=cost.interval_ns,
            latency_ns=cost.latency_ns,
            waits=waits,
            signal=instruction.signal,
            ports=ports_used(self.target.core_version, engine, cost.memories),
            reads=reads,
            writes=() if cost.is_trigger else writes,
            table_set=_table_set(instruction),
            wait_register=instruction.wait_register,
        )

    def resolve(self, prepared: Prepared, registers: list[int]) -> Prepared:
        """`prepared` with the addresses that `registers` give it."""
        instruction = prepared.instruction
        values = tuple(
            registers[a.register]
            for a in instruction.operands
            if a is not None and a.register != NO_REGISTER
        )
        key = (prepared.engine, prepared.index, values)
        found = self._resolved.get(key)
        if found is None:
            operands = tuple(_shifted(access, registers) for access in instruction.operands)
            resolved = replace(instruction, operands=operands)
            reads, writes = _on_chip_regions(resolved)
            found = self._resolved[key] = replace(
                prepared,
                instruction=resolved,
                reads=reads,
                writes=writes if prepared.writes else (),
            )
        return found


def _on_chip_regions(
    instruction: Instruction,
) -> tuple[tuple[Region, ...], tuple[Region, ...]]:
    """(read, written) regions. The tensor engine reads SBUF and writes PSUM: it never reads what it
    has just written (accumulation is in PSUM itself), so nothing is kept for it."""
    if instruction.engine is Engine.TENSOR:
        return (), ()
    reads = accesses_read(instruction)
    writes = accesses_written(instruction)
    return (
        tuple([region_of(a) for a in reads if isinstance(a, TileAccess)]),
        tuple([region_of(a) for a in writes if isinstance(a, TileAccess)]),
    )


def _table_set(instruction: Instruction) -> str:
    if "func" not in instruction.spec.field_index:
        return ""
    return ACTIVATION_BY_NAME[instruction.text("func")].table_set
