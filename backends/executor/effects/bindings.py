"""What a bound instruction consists of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from axonc.backends.executor.memory.memory import MemorySystem
from axonc.backends.executor.native.workers import Workers
from axonc.backends.executor.semantics import Context, EngineState
from axonc.backends.executor.steps.findings import FindingKind, Violation
from axonc.backends.isa.access_pattern import Access, HbmAccess
from axonc.backends.isa.effects import reads_destination
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.spec import Role
from axonc.backends.numerics.cast import Rounding
from axonc.backends.numerics.dtypes import DType
from axonc.backends.targets.target import Engine, Target

Closure = Callable[[], None]


@dataclass(slots=True)
class SystolicArray:
    """The stationary matrix of the tensor engine, float32 [M, K] (transposed); at first None."""

    stationary: np.ndarray | None = None


@dataclass(slots=True)
class Bindings:
    """What closures share."""

    target: Target
    memory: MemorySystem
    states: dict[Engine, EngineState]
    rounding: Rounding = "rne"
    report: Callable[[str], None] | None = None
    """Told with a sentence that a result is garbage on hardware."""
    allow_direct: bool = True
    """Use `fast_paths`."""
    allow_native: bool = False
    """Use native code."""
    array: SystolicArray = field(default_factory=SystolicArray)
    scratch: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    """float32 buffers by name and size, which any closure may use while it runs."""
    workers: Workers = field(default_factory=Workers)
    """Threads for large products."""


@dataclass(frozen=True, slots=True)
class BoundOperand:
    """An operand: view is [partitions, *free sizes], or has the dims of a device-memory access."""

    name: str
    view: np.ndarray
    dtype: DType


def store(view: np.ndarray, result: np.ndarray) -> None:
    """Write `result` (as many elements as the view, or a shape that broadcasts to it)."""
    if result.shape != view.shape and result.size == view.size:
        result = result.reshape(view.shape)
    np.copyto(view, result, casting="unsafe")


def present_operands(instruction: Instruction) -> list[tuple[str, Role, Access]]:
    """(name, role, access) of the operands that are there."""
    return [
        (spec.name, spec.role, access)
        for spec, access in zip(instruction.spec.operands, instruction.operands, strict=True)
        if access is not None
    ]


def make_context(instruction: Instruction, bindings: Bindings) -> Context:
    present = present_operands(instruction)
    return Context(
        engine=instruction.engine,
        target=bindings.target,
        dtypes={name: access.dtype for name, _, access in present},
        shapes={name: access.shape for name, _, access in present},
        state=bindings.states[instruction.engine],
        rounding=bindings.rounding,
        report=bindings.report,
    )


def bound_operands(
    instruction: Instruction, bindings: Bindings
) -> tuple[list[BoundOperand], list[BoundOperand]]:
    """(read, written) operands with their views."""
    also_dst = reads_destination(instruction)
    reads, writes = [], []
    for name, role, access in present_operands(instruction):
        operand = BoundOperand(name, bindings.memory.view(access), access.dtype)
        if role is not Role.WRITE or (also_dst and name == "dst"):
            reads.append(operand)
        if role is not Role.READ:
            check_writable(access, bindings.memory)
            writes.append(operand)
    return reads, writes


def check_writable(access: Access, memory: MemorySystem) -> None:
    """Raises: Violation if `access` is part of an input, a weight or a constant."""
    if isinstance(access, HbmAccess) and memory.is_read_only(access):
        tensor = memory.segment_at(access).tensor
        raise Violation(FindingKind.READ_ONLY, f"writes {tensor.kind.value} tensor {tensor.name}")
