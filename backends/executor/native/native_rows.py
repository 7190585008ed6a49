"""Transposes, statistics and reductions of rows as calls of native code (`row_code`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from axonc.backends.executor.memory.memory import MemorySystem
from axonc.backends.executor.native.native_code import NativeModule, Task, native_module
from axonc.backends.executor.native.native_elementwise import MIN_ELEMENTS, merged, operands_by_name
from axonc.backends.executor.native.row_code import (
    REDUCTIONS,
    reduction_module,
    statistics_module,
    transpose_module,
)
from axonc.backends.executor.semantics.registry import ByMnemonic
from axonc.backends.executor.steps.prepared import region_of, regions_overlap
from axonc.backends.isa.access_pattern import TileAccess
from axonc.backends.isa.instruction import Instruction
from axonc.backends.numerics.dtypes import BF16, F32, DType

Closure = Callable[[], None]

Maker = Callable[[Instruction, TileAccess, TileAccess, MemorySystem], Closure | None]
MAKERS = ByMnemonic[Maker]("native code for rows")

MIN_RUN = 8
"""Elements of the shortest run worth reducing in vectors of 16."""


def bind_rows(instruction: Instruction, memory: MemorySystem) -> Closure | None:
    """The closure of a bn_stats or a tensor_reduce; None if native code does not know it or it is
    not worth it. Raises: Violation if an operand leaves its memory."""
    maker = MAKERS.get(instruction.spec.mnemonic)
    operands = operands_by_name(instruction)
    if maker is None or not {"src", "dst"} <= operands.keys():
        return None
    source, target = operands["src"], operands["dst"]
    if source.dtype not in (F32, BF16) or target.dtype is not F32:
        return None
    if np.prod(source.shape) < MIN_ELEMENTS or regions_overlap(
        region_of(source), region_of(target)
    ):
        return None
    return maker(instruction, source, target, memory)


def bind_finite_transpose(
    source: np.ndarray, target: np.ndarray, dtype: DType
) -> Callable[[], bool] | None:
    """target [M, K] float32 = source [K, M] + 0, transposed; None if native code does not know the
    layout. The closure answers whether all values were finite."""
    if dtype not in (F32, BF16) or source.ndim != 2 or target.ndim != 2:
        return None
    if source.strides[1] != source.itemsize or target.strides[1] != target.itemsize:
        return None
    words = [*source.shape, *_place(source), *_place(target), 0]
    task = Task.of(words, (source, target))
    call = task.call(_function(transpose_module, dtype.name))
    flag = task.arguments[-1:]

    def run() -> bool:
        call()
        return not flag[0]

    return run


def _place(view: np.ndarray) -> tuple[int, int]:
    """(address, bytes from row to row)."""
    return view.__array_interface__["data"][0], view.strides[0]


@MAKERS.of("bn_stats")
def _statistics(
    instruction: Instruction, source: TileAccess, target: TileAccess, memory: MemorySystem
) -> Closure | None:
    dims, size = merged(source.dims), source.elements_per_partition
    if len(dims) > 1 or dims[0][0] != 1 or size < 2 or merged(target.dims) != [(1, 6)]:
        return None
    views = memory.view(source), memory.view(target)
    counts = np.array([(size + 1) // 2, size // 2], np.float32).view(np.uint32)
    words = [len(views[0]), size, *_place(views[0]), *_place(views[1]), *counts.tolist()]
    return Task.of(words, views).call(_function(statistics_module, source.dtype.name))


@MAKERS.of("tensor_reduce")
def _reduction(
    instruction: Instruction, source: TileAccess, target: TileAccess, memory: MemorySystem
) -> Closure | None:
    op, axes = instruction.text("op"), instruction.integer("num_axes")
    kept, reduced = merged(source.dims[:-axes]), merged(source.dims[-axes:])
    runs, size = kept[0][1], reduced[0][1]
    result = merged(target.dims)
    if op not in REDUCTIONS or max(map(len, (kept, reduced, result))) > 1:
        return None
    if reduced[0][0] != 1 or size < MIN_RUN or result[0][1] != runs:
        return None
    views = memory.view(source), memory.view(target)
    steps = kept[0][0] * source.dtype.size_bytes, result[0][0] * F32.size_bytes
    words = [len(views[0]), runs, size, *_place(views[0]), steps[0], *_place(views[1]), steps[1]]
    negate = instruction.flag("negate")
    return Task.of(words, views).call(_function(reduction_module, source.dtype.name, op, negate))


@cache
def _function(text: Callable[..., str], *arguments: object) -> Callable[[int], None]:
    return _module(text, *arguments).function("kernel")


@cache
def _module(text: Callable[..., str], *arguments: object) -> NativeModule:
    return native_module(text(*arguments))
