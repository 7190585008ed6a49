"""DMA copies, gathers and scatters bound to memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from axonc.backends.executor.effects.bindings import (
    Bindings,
    BoundOperand,
    Closure,
    bound_operands,
    check_writable,
    make_context,
)
from axonc.backends.executor.effects.general import _closure
from axonc.backends.executor.semantics import SEMANTICS
from axonc.backends.executor.steps.findings import FindingKind, Violation
from axonc.backends.isa.access_pattern import TileAccess
from axonc.backends.isa.instruction import Instruction
from axonc.backends.numerics.cast import from_float32, to_float32
from axonc.backends.numerics.strided import as_strided


def bind_dma_copy(instruction: Instruction, bindings: Bindings) -> Closure:
    if instruction.text("indirect") != "none":
        return bind_indirect(instruction, bindings)
    reads, writes = bound_operands(instruction, bindings)
    return plain_copy(instruction, reads, writes) or _closure(instruction, bindings, reads, writes)


def plain_copy(
    instruction: Instruction, reads: list[BoundOperand], writes: list[BoundOperand]
) -> Closure | None:
    """A copy between equal types, as one strided copy of words; None if it is something else."""
    if instruction.text("op") != "copy" or reads[0].dtype is not writes[0].dtype:
        return None
    word = np.dtype(f"u{reads[0].dtype.size_bytes}")
    source, target = reads[0].view.view(word), writes[0].view.view(word)
    common = common_shape(source.shape, target.shape)
    if common is None:
        return lambda: np.copyto(target, source.reshape(target.shape))
    split_source, split_target = split_view(source, common), split_view(target, common)
    return lambda: np.copyto(split_target, split_source)


def common_shape(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...] | None:
    """The coarsest shape that both refine by splitting dims; None if there is none.

    (128, 512) and (128, 4, 128) give (128, 4, 128); (2, 3) and (3, 2) give None.
    """
    boundaries = sorted(set(_boundaries(first)) | set(_boundaries(second)))
    if any(b % a for a, b in zip(boundaries, boundaries[1:], strict=False)):
        return None
    return tuple(b // a for a, b in zip(boundaries, boundaries[1:], strict=False))[::-1]


def _boundaries(shape: tuple[int, ...]) -> list[int]:
    """Products of the trailing sizes, from 1 up to the number of elements."""
    products = [1]
    for size in reversed(shape):
        products.append(products[-1] * size)
    return products


def split_view(view: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`view` with its dims split so that it has `shape`; never a copy."""
    sizes, strides = list(reversed(shape)), []
    position = 0
    for size, stride in zip(reversed(view.shape), reversed(view.strides), strict=True):
        covered = 1
        while covered < size:
            strides.append(stride * covered)
            covered *= sizes[position]
            position += 1
    return as_strided(view, shape, tuple(reversed(strides)))


def bind_indirect(instruction: Instruction, bindings: Bindings) -> Closure:
    """Gather or scatter: one table row per partition, by the values of `index`."""
    destination, source = instruction.operand("dst"), instruction.operand("src")
    index = instruction.operand("index")
    assert destination is not None and source is not None and isinstance(index, TileAccess)
    is_gather = instruction.text("indirect") == "gather"
    check_writable(destination, bindings.memory)
    view = bindings.memory.view
    table, rows = view(destination), view(source)
    if is_gather:
        table, rows = rows, table
    indices = view(index)
    skip = instruction.text("oob") == "skip"
    move = _gather if is_gather else _scatter
    step = _row_step(instruction, bindings)

    def run() -> None:
        numbers = indices.reshape(-1).astype(np.int64)
        valid = (numbers >= 0) & (numbers < table.shape[0])
        if not skip and not valid.all():
            wrong = int(np.argmin(valid))
            raise Violation(
                FindingKind.OUT_OF_RANGE,
                f"index[{wrong}] is {numbers[wrong]}; the table has {table.shape[0]} rows",
            )
        move(table, rows, numbers, np.flatnonzero(valid), step)

    return run


RowStep = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(source, old destination) [rows, elements] -> new destination rows; all in storage types."""


def _row_step(instruction: Instruction, bindings: Bindings) -> RowStep:
    semantics = SEMANTICS[instruction.spec.mnemonic]
    context, fields = make_context(instruction, bindings), instruction.values()
    source, destination = context.dtypes["src"], context.dtypes["dst"]
    is_raw = semantics.mode(fields, context) == "raw"
    rounding, rng = bindings.rounding, context.state.rounding_rng

    def step(rows: np.ndarray, old: np.ndarray) -> np.ndarray:
        if is_raw:
            return semantics.function({"src": rows}, fields, context)["dst"]
        inputs = {"src": to_float32(rows, source), "dst": to_float32(old, destination)}
        result = semantics.function(inputs, fields, context)["dst"]
        return from_float32(result, destination, rounding=rounding, rng=rng)

    return step


def _gather(
    table: np.ndarray, rows: np.ndarray, numbers: np.ndarray, valid: np.ndarray, step: RowStep
) -> None:
    taken = table[numbers[valid]].reshape(len(valid), -1)
    old = rows[valid]
    rows[valid] = step(taken, old.reshape(len(valid), -1)).reshape(old.shape)


def _scatter(
    table: np.ndarray, rows: np.ndarray, numbers: np.ndarray, valid: np.ndarray, step: RowStep
) -> None:
    """Row by row, in order: equal indices combine, or the last one stays. Rows of different indices
    do not see each other, so the first of every index go together, then the second ..."""
    turns = _turns(numbers[valid])
    for turn in range(turns.max(initial=-1) + 1):
        positions = valid[turns == turn]
        places = numbers[positions]
        old = table[places]
        flat = (len(places), -1)
        new = step(rows[positions].reshape(flat), old.reshape(flat))
        table[places] = new.reshape(old.shape)


def _turns(numbers: np.ndarray) -> np.ndarray:
    """Of each number, how many equal ones come before it."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    lengths = np.diff(np.append(begins, len(ordered)))
    turns = np.empty(len(numbers), np.int64)
    turns[order] = np.arange(len(numbers)) - np.repeat(begins, lengths)
    return turns
