"""Hand-written kernels: build, compile, run, time.

A kernel is a list of instructions on *tiles*, views of buffers in SBUF, PSUM or device memory. You
say what is computed; the compiler's passes choose engines, addresses, order of issue, semaphores.

    >>> import numpy as np
    >>> from axonc.backends.numerics.dtypes import F32
    >>> from axonc.kernel import Kernel
    >>> kernel = Kernel()                               # one NeuronCore-v2
    >>> x = kernel.input("x", (128, 512), F32)          # device memory
    >>> y = kernel.output("y", (128, 512), F32)
    >>> tile = kernel.sbuf((128, 512), F32)             # 128 partitions x 512 elements
    >>> kernel.dma(tile, x)                             # destination first, as everywhere
    >>> kernel.emit("activation", dst=tile, src=tile, bias=kernel.fill(1.0, F32), func="exp")
    >>> kernel.dma(y, tile)
    >>> compiled = kernel.compile()
    >>> found = compiled.run(x=np.zeros((128, 512), np.float32))
    >>> bool(np.allclose(found["y"], np.e))
    True
    >>> compiled.modelled_ns() < 30_000                 # start-up and tear-down are 21 us of it
    True

The rules are the hardware's: the first dimension of a tile is the partition (at most 128), matrix
products contract over partitions into PSUM, device memory is reached by `dma` only. Instructions,
their operands and their fields: docs/reference/instructions.md. Double buffering needs nothing from
you but a new tile per iteration: tiles are cheap names, the allocator rotates them through SBUF. A
longer example: docs/tutorial/write_a_kernel.py.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field

import numpy as np

from axonc.backends.executor.machine import Machine, Mode
from axonc.backends.executor.time.timeline import Timeline
from axonc.backends.isa.access_pattern import Access, HbmAccess, Memory, TileAccess
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.verifier import Verifier
from axonc.backends.program import Program, TensorKind
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine, Target
from axonc.diagnostics import SourceLocation, UsageError, nearest
from axonc.dialects.ntile import builder as kernel_builder
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import Form, Step, View
from axonc.passes.lower.lower import lower
from axonc.passes.lower.lowered_state import pack
from axonc.passes.memory.allocate_memory import allocate_memory
from axonc.passes.schedule.assign_engines import assign_engines
from axonc.passes.schedule.schedule import schedule
from axonc.project_paths import project_path


@dataclass
class KernelProgram:
    """A compiled kernel: the encoded program, and a machine to run it on per mode. Calls from
    several threads take turns."""

    program: Program
    _machines: dict[Mode, Machine] = field(default_factory=dict, repr=False)
    _turn: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    def machine(self, mode: Mode = "fast") -> Machine:
        """The executor behind `run` and `timeline`; "checked" finds races and unwritten reads."""
        with self._turn:
            if mode not in self._machines:
                self._machines[mode] = Machine(self.program, mode=mode)
            return self._machines[mode]

    def run(self, *, mode: Mode = "fast", **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name. arrays: one per input, by name, in its dtype (`dtype.numpy`) and shape.

        Raises: ExecutionError on missing, unknown or ill-shaped arrays; FindingError in checked
        mode.
        """
        with self._turn:
            return self.machine(mode).run(arrays)

    def timeline(self, record: bool = False) -> Timeline:
        """Modelled time; computes nothing. record: with every instruction and transfer."""
        with self._turn:
            return self.machine().timeline(record)

    def modelled_ns(self) -> float:
        """Modelled latency, program start-up and tear-down included."""
        return self.timeline().total_ns


class Kernel(KernelBuilder):
    """A kernel under construction, for a target named as in `TARGETS` (or a `Target`).

    Every operation is checked against the rules of its instruction when it is appended, and
    remembers the line of your program that appended it.
    """

    def __init__(self, target: Target | str = "inf2") -> None:
        super().__init__(_target(target))
        self._verifier = Verifier(self.target)
        self._is_compiled = False

    def append(self, *forms: Form) -> None:
        """Raises: VerifyError naming each broken rule (docs/reference/instructions.md)."""
        location = _calling_line()
        for form in forms:
            for part in form.steps:
                self._verifier.check(_unplaced(part, form.engine), location)
        with self.at(location):
            super().append(*forms)

    def compile(self) -> KernelProgram:
        """Passes in order: engines, addresses, schedule, semaphores, bytes. They work in place.

        Raises: UsageError without an output, and the second time; CapacityError (with the memory
        map) if SBUF or PSUM cannot hold what is alive at once.
        """
        self._check_compilable()
        assign_engines(self.program)
        memory = allocate_memory(self.program)
        streams = lower(self.program, schedule(self.program))
        return KernelProgram(pack(self.program, streams, memory.sbuf_peak_bytes))

    def _check_compilable(self) -> None:
        if self._is_compiled:
            raise UsageError("the kernel is compiled already", hint="keep what compile() returned")
        self._is_compiled = True
        tensors = [buffer.tensor for buffer in self.program.buffers if buffer.tensor]
        if not any(tensor.kind is TensorKind.OUTPUT for tensor in tensors):
            raise UsageError("the kernel has no output", hint="declare one with kernel.output(...)")


def _unplaced(part: Step, engine: Engine) -> Instruction:
    """The instruction as if every buffer began at address 0: real addresses come later, aligned."""
    accesses = tuple(None if view is None else _at_zero(view) for view in part.operands)
    return Instruction(part.spec, engine, accesses, part.fields)


def _at_zero(view: View) -> Access:
    if view.memory is Memory.HBM:
        return HbmAccess(view.dtype, view.byte_offset, view.dims)
    return TileAccess(
        view.memory,
        view.dtype,
        view.start_partition,
        view.num_partitions,
        view.byte_offset,
        view.dims,
    )


def _calling_line() -> SourceLocation:
    """The innermost line outside the builder."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename in _BUILDER_FILES and frame.f_back is not None:
        frame = frame.f_back
    file = project_path(frame.f_code.co_filename)
    return SourceLocation(frame.f_code.co_name, file, frame.f_lineno)


_BUILDER_FILES = frozenset((__file__, kernel_builder.__file__))


def _target(target: Target | str) -> Target:
    if isinstance(target, Target):
        return target
    if target not in TARGETS:
        raise UsageError(f"no target '{target}'", hint=nearest(target, TARGETS))
    return TARGETS[target]
