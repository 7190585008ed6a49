"""Fast mode: a transpose on the tensor engine as one strided copy.

The pair LoadStationary / MultiplyMoving multiplies by the unit matrix. Where that matrix comes
from a constant of the program, it is looked at once, not at every run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from axonc.backends.executor.effects.bindings import Bindings, Closure
from axonc.backends.executor.effects.tensor_engine import check_finite, unit_matrix
from axonc.backends.executor.memory.memory import MemorySystem
from axonc.backends.executor.native.native_rows import bind_finite_transpose
from axonc.backends.executor.steps.prepared import Prepared
from axonc.backends.isa.access_pattern import Access, HbmAccess, TileAccess
from axonc.backends.numerics.cast import to_float32
from axonc.backends.program import TensorKind


@dataclass(frozen=True, slots=True)
class Transpose:
    """result [M, K] float32 = source [K, M] transposed, by the pair that begins with `load`."""

    load: Prepared
    source: TileAccess
    result: TileAccess


def is_unit_matrix(access: Access, memory: MemorySystem) -> bool:
    """Whether `access` is a unit matrix in every run: in a constant of the program."""
    if not isinstance(access, HbmAccess) or len(access.shape) != 2:
        return False
    segment = memory.segment_at(access)
    if segment.tensor.kind is not TensorKind.CONSTANT:
        return False
    values = to_float32(memory.view(access), access.dtype)
    return np.array_equal(values, unit_matrix(access.shape[0]))


def bind_transpose(transpose: Transpose, bindings: Bindings) -> Closure:
    """Raises: Violation if an operand leaves its memory. The closure: if a value is not finite."""
    view, target = (bindings.memory.view(a) for a in (transpose.source, transpose.result))
    dtype = transpose.source.dtype
    native = bind_finite_transpose(view, target, dtype) if bindings.allow_native else None

    def run_native() -> None:
        if native is not None and not native():
            check_finite(to_float32(view, dtype))

    if native is not None:
        return run_native

    def run() -> None:
        stationary = to_float32(view, dtype)
        check_finite(stationary)
        np.add(stationary.T, _POSITIVE_ZERO, out=target)  # a product gives +0 for -0

    return run


_POSITIVE_ZERO = np.float32(0)
