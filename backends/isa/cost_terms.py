"""What costs are made of: counts of elements, conditions on operands, and how data streams through
an engine (machine.md#costs).

The published formulas are for unit stride and static addresses. `streamed` charges for the rest,
which the text of a cost leaves out: `penalties` says it once for all.
"""

from __future__ import annotations

from axonc.backends.isa.access_pattern import Access, Memory, TileAccess
from axonc.backends.isa.effects import uses_registers
from axonc.backends.isa.formula import (
    Condition,
    Cost,
    Term,
    Unit,
    by_engine,
    counted,
    largest,
    listed,
    machine,
)
from axonc.backends.isa.instruction import Instruction
from axonc.backends.numerics.dtypes import DType
from axonc.backends.targets.target import Engine, Target


def tile(instruction: Instruction, name: str) -> TileAccess:
    """The on-chip operand `name`, which must be present."""
    access = instruction.operand(name)
    assert isinstance(access, TileAccess)
    return access


# ---- what an instruction gives


def elements(name: str, symbol: str = "N") -> Term:
    """Elements per partition of an operand."""
    return counted(
        symbol,
        f"elements per partition of {name}",
        lambda i: tile(i, name).elements_per_partition,
    )


def element_bytes(name: str, symbol: str) -> Term:
    """Bytes of an element of an operand."""
    return counted(symbol, f"bytes per element of {name}", lambda i: tile(i, name).dtype.size_bytes)


def field_value(name: str, symbol: str) -> Term:
    """An integer field."""
    return counted(symbol, name, lambda i: i.integer(name))


# ---- conditions on operands


def any_in_psum(*names: str) -> Condition:
    """One of the operands lies in PSUM."""
    return Condition(
        lambda i: any(tile(i, name).memory is Memory.PSUM for name in names),
        f"{listed(names, 'or')} is in PSUM",
    )


def are_of(names: tuple[str, ...], *dtypes: DType) -> Condition:
    """Every one of the operands has one of the element types."""
    verb, types = "is" if len(names) == 1 else "are", tuple(dtype.name for dtype in dtypes)
    return Condition(
        lambda i: all(tile(i, name).dtype in dtypes for name in names),
        f"{listed(names, 'and')} {verb} {listed(types, 'or')}",
    )


def have_unit_stride(*names: str) -> Condition:
    """Neighbouring elements of the operands are neighbours in memory (or the same one)."""
    return Condition(
        lambda i: all(is_unit_stride(tile(i, name)) for name in names),
        f"{listed(names, 'and')} have unit stride",
    )


def has_even_size(name: str) -> Condition:
    """The operand has an even number of elements per partition."""
    return Condition(
        lambda i: tile(i, name).elements_per_partition % 2 == 0, f"{name} has an even size"
    )


def innermost_stride_bytes(access: Access) -> int:
    """Distance in bytes between neighbouring elements of the innermost dimension that has any."""
    for stride, size in reversed(access.dims):
        if size > 1:
            return abs(stride) * access.dtype.size_bytes
    return 0


def is_unit_stride(access: Access) -> bool:
    return innermost_stride_bytes(access) <= access.dtype.size_bytes


# ---- how data streams

MIN_INTERVAL = machine(lambda engine, target: target.engines[engine].min_interval_cycles)
GPSIMD_START = machine(lambda engine, target: target.gpsimd_start_cycles)


def penalties(target: Target) -> str:
    """What `slowed_by_strides` and `at_least_dynamic` charge, in words."""
    return (
        f"an innermost stride of more than {target.fast_stride_bytes} bytes doubles what VectorE "
        "and ScalarE take for their elements; an operand whose address comes from a register "
        f"makes an interval of at least {target.dynamic_interval_cycles} cycles."
    )


def slowed_by_strides(cycles: Term) -> Term:
    """Twice `cycles` where an operand's innermost stride is long: half the bandwidth
    (machine.md#operands)."""

    def value(instruction: Instruction, target: Target) -> float:
        slow = any(
            access is not None and innermost_stride_bytes(access) > target.fast_stride_bytes
            for access in instruction.operands
        )
        return cycles.value(instruction, target) * (2 if slow else 1)

    return Term(value, cycles.text, cycles.binds, cycles.symbols)


def at_least_dynamic(cycles: Term) -> Term:
    """`cycles`, or MIN_II_DYNAMIC if that is more and an address comes from a register."""

    def value(instruction: Instruction, target: Target) -> float:
        interval = cycles.value(instruction, target)
        if uses_registers(instruction):
            return max(target.dynamic_interval_cycles, interval)
        return interval

    return Term(value, cycles.text, cycles.binds, cycles.symbols)


def streamed(cycles: Term) -> Term:
    """max(MIN_II, cycles), with what `penalties` says; GpSimdE adds its start cost instead."""
    on_gpsimd = GPSIMD_START + cycles
    elsewhere = largest(MIN_INTERVAL, slowed_by_strides(cycles))
    return at_least_dynamic(by_engine(Engine.GPSIMD, on_gpsimd, elsewhere))


def per_element(name: str) -> Term:
    """A cycle for each element per partition of operand `name`."""
    return streamed(elements(name))


# ---- sequencers

DISPATCH = Cost(
    machine(lambda engine, target: target.engines[engine].dispatch_ns),
    Unit.NANOSECONDS,
    "EVENT_SEMAPHORE, machine.md#single-instructions; other sequencer instructions assumed alike",
)
"""An instruction of the sequencer that touches no data."""


def dma_trigger(note: str) -> Cost:
    """How long a trigger occupies the sequencer; DMA or collective cores do the work itself."""
    return Cost(machine(lambda engine, target: target.dma.trigger_ns), Unit.NANOSECONDS, note)
