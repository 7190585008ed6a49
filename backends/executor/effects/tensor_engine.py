"""Instructions of the tensor engine bound to memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from axonc.backends.executor.effects.bindings import (
    Bindings,
    Closure,
    SystolicArray,
    bound_operands,
)
from axonc.backends.executor.steps.findings import FindingKind, Violation
from axonc.backends.isa.instruction import Instruction
from axonc.backends.numerics.cast import from_float32, to_float32
from axonc.backends.numerics.dtypes import DType


def free_flattened(view: np.ndarray) -> np.ndarray | None:
    """`view` [P, *free] as a [P, N] view, or None if its strides do not allow one."""
    flat = view.reshape(view.shape[0], -1)
    return flat if np.shares_memory(flat, view) else None


def bind_load_stationary(instruction: Instruction, bindings: Bindings) -> Closure:
    (operand,), _ = bound_operands(instruction, bindings)
    array, view, dtype = bindings.array, operand.view, operand.dtype
    rows = view.shape[0]

    def run() -> None:
        loaded = to_float32(view, dtype)
        if loaded is view:  # later writes to SBUF must not reach the array
            loaded = view.copy()
        array.stationary = loaded.reshape(rows, -1).T

    return run


def bind_multiply_moving(instruction: Instruction, bindings: Bindings) -> Closure:
    destination, moving = instruction.operand("dst"), instruction.operand("moving")
    assert destination is not None and moving is not None
    array, source = bindings.array, bindings.memory.view(moving)
    target, rows = bindings.memory.view(destination), source.shape[0]
    flat = free_flattened(target) if target.dtype == np.float32 else None
    accumulate = instruction.flag("accumulate")
    columns = destination.shape[0]

    def product() -> tuple[np.ndarray, np.ndarray]:
        stationary = checked_stationary(array, rows, columns)
        return stationary, to_float32(source, moving.dtype).reshape(rows, -1)

    if instruction.flag("is_transpose"):
        return _transpose(product, target, destination.dtype)

    def general() -> None:
        result = np.matmul(*product()).reshape(target.shape)
        if accumulate:
            result += to_float32(target, destination.dtype)
        target[...] = from_float32(result, destination.dtype)

    if flat is None:
        return general
    return _flat_product(flat, product, accumulate)


def _transpose(
    product: Callable[[], tuple[np.ndarray, np.ndarray]], target: np.ndarray, dtype: DType
) -> Closure:
    """A transpose by the unit matrix."""

    def transpose() -> None:
        stationary, streamed = product()
        check_finite(stationary)
        if np.array_equal(streamed, unit_matrix(stationary.shape[1])):
            result = stationary + _POSITIVE_ZERO  # what the product gives, zeros' signs included
        else:
            result = np.matmul(stationary, streamed)
        target[...] = from_float32(result.reshape(target.shape), dtype)

    return transpose


_POSITIVE_ZERO = np.float32(0)


def check_finite(stationary: np.ndarray) -> None:
    """Infinities and NaN times the zeros of a unit matrix would spoil their whole row
    (machine.md#arithmetic): that is a finding in every mode, as no program needs such a result.

    Raises: Violation.
    """
    if not np.isfinite(stationary).all():
        raise Violation(
            FindingKind.TRANSPOSE_RANGE,
            "transposes infinities or NaN on the tensor engine: NaN spreads over their row",
        )


@cache
def unit_matrix(size: int) -> np.ndarray:
    made = np.eye(size, dtype=np.float32)
    made.flags.writeable = False
    return made


def multiply_matrices(stationary: np.ndarray, moving: np.ndarray, out: np.ndarray) -> None:
    """[M, K] @ [K, N]. A single row and column are multiplied without BLAS, which is four times as
    slow there; it sums from +0, so that is added: no result is -0."""
    if stationary.shape[1] > 1:
        np.matmul(stationary, moving, out=out)
        return
    np.multiply(stationary, moving, out=out)
    np.add(out, _POSITIVE_ZERO, out=out)


def _flat_product(
    flat: np.ndarray, product: Callable[[], tuple[np.ndarray, np.ndarray]], accumulate: bool
) -> Closure:
    """Multiplication straight into `flat` [M, N] float32."""

    def overwrite() -> None:
        stationary, streamed = product()
        multiply_matrices(stationary, streamed, flat)

    def add() -> None:
        stationary, streamed = product()
        np.add(flat, np.matmul(stationary, streamed), out=flat)

    return add if accumulate else overwrite


def checked_stationary(array: SystolicArray, rows: int, columns: int) -> np.ndarray:
    """The loaded matrix [columns, rows]. Raises: Violation if none of that shape is loaded."""
    loaded = array.stationary
    if loaded is None or loaded.shape != (columns, rows):
        found = "nothing" if loaded is None else f"K={loaded.shape[1]}, M={loaded.shape[0]}"
        raise Violation(
            FindingKind.STATIONARY_MISSING,
            f"needs a stationary matrix of K={rows}, M={columns}; {found} is loaded",
        )
    return loaded
