"""Gives every buffer an address: SBUF, the banks of PSUM, and device memory.

Why: reuse must be tight enough to fit, and loose enough that the scheduler can run ahead: a buffer
that takes over bytes just freed has to wait for their last reader.

Precondition: one form per operation, program order. Postcondition: every buffer in use has an
address; buffers alive at the same time (in program order) do not overlap; no PSUM buffer leaves its
banks.

How SBUF is cut is told in sbuf_plan.py. PSUM buffers take whole banks, next fit. Device memory is
not reused.

Raises: CapacityError with the memory map at the peak.

Before:
    %a = ntile.buffer "x" sbuf 128 x 512 B ; %b = ntile.buffer "y" sbuf 128 x 512 B
After:
    %a = ntile.buffer "x" sbuf 128 x 512 B @ 0x0 ; %b = ntile.buffer "y" sbuf 128 x 512 B @ 0x200
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.program import TensorKind
from axonc.dialects.ntile.program import Pool, TileProgram
from axonc.passes.base import Pass, State
from axonc.passes.memory.buffer_placement import (
    Lifetime,
    aligned,
    extent,
    lifetimes,
    peak_bytes,
    place_in_order,
)
from axonc.passes.memory.memory_map import device_memory_error, on_chip_error
from axonc.passes.memory.sbuf_plan import ALIGNMENT, plan_sbuf
from axonc.passes.tile_level.memory_plan import MemoryPlan
from axonc.passes.tile_level.tile_state import TileLevel, TileState, require_engines


def allocate_memory(program: TileProgram) -> MemoryPlan:
    """Sets `address` of every buffer in use; see the module docstring."""
    lives = lifetimes(program)
    plan = MemoryPlan()
    _place_sbuf(program, [x for x in lives if x.buffer.memory is Memory.SBUF], plan)
    _place_psum(program, [x for x in lives if x.buffer.memory is Memory.PSUM], plan)
    _place_hbm(program, plan)
    return plan


# ---- SBUF ----------------------------------------------------------------------------------


def _place_sbuf(program: TileProgram, lives: list[Lifetime], plan: MemoryPlan) -> None:
    whole = _whole_program(lives, len(program.ops))
    size = program.target.sbuf_partition_bytes
    found = plan_sbuf(lives, len(program.ops), size, program.repeats)
    if found is None:
        raise on_chip_error(
            program, "SBUF", whole, program.target.sbuf_partition_bytes, "allocate-memory"
        )
    for buffer, address in found.addresses.items():
        buffer.address = address
    plan.pools = found.pools
    plan.sbuf_extent_bytes = found.extent_bytes
    plan.sbuf_peak_bytes = peak_bytes(whole)


def _whole_program(lives: list[Lifetime], op_count: int) -> list[Lifetime]:
    """With constants alive throughout."""
    return [Lifetime(x.buffer, 0, op_count) if x.buffer.pool is Pool.RESIDENT else x for x in lives]


# ---- PSUM and device memory ----------------------------------------------------------------


def _place_psum(program: TileProgram, lives: list[Lifetime], plan: MemoryPlan) -> None:
    size, bank = program.target.psum_partition_bytes, program.target.psum_bank_bytes
    addresses = place_in_order(lives, 0, size, bank, next_fit=True)
    if addresses is None:
        raise on_chip_error(program, "PSUM", lives, size, "allocate-memory")
    for life, address in zip(lives, addresses, strict=True):
        life.buffer.address = address
    plan.psum_peak_bytes = aligned(extent(lives, addresses, 0), bank)


def _place_hbm(program: TileProgram, plan: MemoryPlan) -> None:
    address = 0
    for buffer in program.buffers:
        if buffer.tensor is None or buffer.tensor.alias or buffer.each:
            continue
        buffer.address = address
        buffer.tensor = replace(buffer.tensor, address=address)
        address += aligned(max(1, buffer.tensor.size_bytes), ALIGNMENT)
    address = place_iterations(program, address)
    plan.hbm_bytes = address
    _place_aliases(program)
    if address > program.target.hbm_bytes:
        tensors = [b.tensor for b in program.buffers if b.tensor is not None]
        raise device_memory_error(tensors, address, program.target.hbm_bytes)


def place_iterations(program: TileProgram, address: int) -> int:
    """The tensors of each repeat: all of the first iteration, all of the second, and so on, every
    iteration alike. Returns the first free address."""
    for number, repeat in enumerate(program.repeats):
        buffers = program.iterated(repeat)
        offsets = [0]
        for buffer in buffers:
            assert buffer.tensor is not None
            offsets.append(offsets[-1] + aligned(max(1, buffer.tensor.size_bytes), ALIGNMENT))
        stride = offsets[-1]
        for buffer, offset in zip(buffers, offsets, strict=False):
            buffer.address = address + offset
            buffer.place_iterations(stride)
        program.repeats[number] = replace(repeat, stride=stride)
        address += stride * repeat.count
    return address


def _place_aliases(program: TileProgram) -> None:
    """Outputs that are inputs updated in place lie where those do."""
    inputs = {t.name: t.address for t in program.tensors() if t.kind is TensorKind.INPUT}
    for buffer in program.buffers:
        if buffer.tensor is not None and buffer.tensor.alias:
            buffer.address = inputs[buffer.tensor.alias]
            buffer.tensor = replace(buffer.tensor, address=buffer.address)


@dataclass(frozen=True)
class AllocateMemoryPass(TileLevel, Pass, name="allocate-memory"):
    """Give every buffer an address in SBUF, PSUM or device memory."""

    def advance(self, state: TileState) -> tuple[State, bool]:
        require_engines(state)
        state.memory = allocate_memory(state.program)
        return state, True
