"""Turn an instruction with static addresses into a closure that does its work on the memories.

Views of the operands are made once. The tensor engine (`tensor_engine`) and DMA addressing
(`transfers`) have closures of their own; what any other instruction computes is in `semantics`.
Closures for the most frequent instructions are in `fast_paths` and in native code; they compute the
same bits as the general one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from axonc.backends.executor.effects.bindings import Bindings, Closure
from axonc.backends.executor.effects.general import bind_general
from axonc.backends.executor.effects.tensor_engine import bind_load_stationary, bind_multiply_moving
from axonc.backends.executor.effects.transfers import bind_dma_copy
from axonc.backends.executor.native.native_elementwise import bind_elementwise
from axonc.backends.executor.native.native_rows import bind_rows
from axonc.backends.isa.instruction import Instruction
from axonc.backends.isa.sequencer import Registers
from axonc.backends.isa.spec import Action


def bind(instruction: Instruction, bindings: Bindings) -> Closure:
    """The closure of a data-path or DMA instruction. Raises: Violation (range, read-only)."""
    special = _BINDERS.get(instruction.spec.action)
    if special is not None:
        return special(instruction, bindings)
    native = None
    if bindings.allow_native and bindings.rounding == "rne":
        memory = bindings.memory
        threads = bindings.workers.count
        native = bind_elementwise(instruction, memory, threads) or bind_rows(instruction, memory)
    return native or bind_general(instruction, bindings)


# ---- registers: these run only while the event loop runs, which has the registers


def load_register(instruction: Instruction, bindings: Bindings, registers: Registers) -> None:
    access = instruction.operand("src")
    assert access is not None
    registers.load(instruction, int(bindings.memory.view(access).reshape(-1)[0]))


def store_register(instruction: Instruction, bindings: Bindings, value: int) -> None:
    access = instruction.operand("dst")
    assert access is not None
    view = bindings.memory.view(access)
    view[...] = np.array([value % (1 << 32)], np.uint32).view(view.dtype)


Binder = Callable[[Instruction, Bindings], Closure]

_BINDERS: dict[Action, Binder] = {
    Action.LOAD_STATIONARY: bind_load_stationary,
    Action.MULTIPLY: bind_multiply_moving,
    Action.TRANSFER: bind_dma_copy,
}
"""What semantics alone do not say: state of the array, addressing of DMA."""
