"""Initiation intervals in cycles of the engine that runs the instruction (hardware.md 3.0 to 3.5).

N is the number of elements per partition of the operand a formula names. The published formulas are
for unit stride; an innermost stride of more than `fast_stride_bytes` halves the bandwidth of
VectorE and ScalarE (3.0), which `streamed` charges as 2N.
"""

from __future__ import annotations

from axonc.backends.isa.access_pattern import NO_REGISTER, Access, HbmAccess, Memory, TileAccess
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import Cost
from axonc.backends.targets.target import Engine, Target


def tile(instruction: Instruction, name: str) -> TileAccess:
    """The on-chip operand `name`, which must be present."""
    access = instruction.operand(name)
    assert isinstance(access, TileAccess)
    return access


def in_psum(access: Access | None) -> bool:
    return access is not None and access.memory is Memory.PSUM


def innermost_stride_bytes(access: Access) -> int:
    """Distance in bytes between neighbouring elements of the innermost dimension that has any."""
    for stride, size in reversed(access.dims):
        if size > 1:
            return abs(stride) * access.dtype.size_bytes
    return 0


def is_unit_stride(access: Access) -> bool:
    return innermost_stride_bytes(access) <= access.dtype.size_bytes


def _stride_factor(instruction: Instruction, target: Target) -> int:
    slow = any(
        access is not None and innermost_stride_bytes(access) > target.fast_stride_bytes
        for access in instruction.operands
    )
    return 2 if slow else 1


def is_dynamic(instruction: Instruction) -> bool:
    """Whether an operand's address comes from a register."""
    return any(a is not None and a.register != NO_REGISTER for a in instruction.operands)


def streamed(instruction: Instruction, target: Target, cycles: float) -> float:
    """max(MIN_II, cycles) with the stride and dynamic-address penalties; GpSimd adds its start
    cost."""
    if instruction.engine is Engine.GPSIMD:
        interval = target.gpsimd_start_cycles + cycles
    else:
        minimum = target.engines[instruction.engine].min_interval_cycles
        interval = max(minimum, cycles * _stride_factor(instruction, target))
    return max(target.dynamic_interval_cycles, interval) if is_dynamic(instruction) else interval


def per_element(name: str, factor: float = 1.0, extra: float = 0.0) -> Cost:
    """max(MIN_II, factor * N) + extra, N = elements per partition of operand `name`."""

    def cycles(instruction: Instruction, target: Target) -> float:
        count = tile(instruction, name).elements_per_partition
        return streamed(instruction, target, factor * count) + extra

    return cycles


def dispatch(instruction: Instruction, target: Target) -> float:
    """Time of a sequencer instruction that touches no data (EVENT_SEMAPHORE: 9 ns, 6.0)."""
    timing = target.engines[instruction.engine]
    return timing.dispatch_ns * timing.clock_ghz


def dma_trigger(instruction: Instruction, target: Target) -> float:
    """How long the trigger occupies the sequencer; the transfer itself runs on the DMA engines."""
    return target.dma.trigger_ns * target.engines[instruction.engine].clock_ghz


def is_hbm(access: Access | None) -> bool:
    return isinstance(access, HbmAccess)
