"""The general closure: any instruction, by its semantics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from axonc.backends.executor.effects.bindings import (
    Bindings,
    BoundOperand,
    Closure,
    bound_operands,
    make_context,
    store,
)
from axonc.backends.executor.effects.fast_paths import direct_closure
from axonc.backends.executor.semantics import SEMANTICS, EngineState
from axonc.backends.executor.semantics.registry import Inputs, Outputs
from axonc.backends.isa.instruction import Instruction
from axonc.backends.numerics.cast import Rounding, from_float32, to_float32
from axonc.backends.numerics.dtypes import BF16, F16, F32


def bind_general(instruction: Instruction, bindings: Bindings) -> Closure:
    """Load operands, apply the semantics, store results."""
    reads, writes = bound_operands(instruction, bindings)
    return _closure(instruction, bindings, reads, writes)


def _closure(
    instruction: Instruction,
    bindings: Bindings,
    reads: list[BoundOperand],
    writes: list[BoundOperand],
) -> Closure:
    semantics = SEMANTICS[instruction.spec.mnemonic]
    context, fields = make_context(instruction, bindings), instruction.values()
    function = semantics.function
    if semantics.mode(fields, context) == "raw":
        return _raw_closure(lambda inputs: function(inputs, fields, context), reads, writes)
    views = {operand.name: operand.view for operand in (*reads, *writes)}
    dtypes = {operand.dtype.name for operand in (*reads, *writes)}
    direct = direct_closure(instruction.spec.mnemonic, views, fields, dtypes)
    if direct is not None and bindings.allow_direct:
        return direct
    stores = [(o.name, _store_float32(o, bindings.rounding, context.state)) for o in writes]
    sources = [(operand.name, operand.view, operand.dtype) for operand in reads]

    def run() -> None:
        inputs = {name: to_float32(view, dtype) for name, view, dtype in sources}
        results = function(inputs, fields, context)
        for name, store_result in stores:
            store_result(results[name])

    return run


def _raw_closure(
    function: Callable[[Inputs], Outputs], reads: list[BoundOperand], writes: list[BoundOperand]
) -> Closure:
    inputs = {operand.name: operand.view for operand in reads}

    def run() -> None:
        results = function(inputs)
        for operand in writes:
            store(operand.view, results[operand.name])

    return run


def _store_float32(
    operand: BoundOperand, rounding: Rounding, state: EngineState
) -> Callable[[np.ndarray], None]:
    """Stores a float32 result in `operand`; bf16 and f16 are cast while they are copied."""
    view, dtype = operand.view, operand.dtype
    if rounding == "rne" and dtype in (F32, BF16, F16):
        return partial(store, view)

    def cast_and_store(result: np.ndarray) -> None:
        store(view, from_float32(result, dtype, rounding=rounding, rng=state.rounding_rng))

    return cast_and_store
