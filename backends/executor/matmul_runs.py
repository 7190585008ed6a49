"""Fast mode: LoadStationary / MultiplyMoving pairs as one matrix product, and runs of them as a
wider one.

Neighbouring pairs in the tensor engine's stream whose stationary tiles are neighbouring columns,
whose moving tile is the same and whose results lie at regular distances are one product with a
wider stationary matrix. The run is computed where its first pair stands in the order of execution:
as none of the others waits for a semaphore, everything they depend on has happened by then, and
whatever depends on them waits for them.

Every result element is the same sum over the same partitions as in single products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from axonc.backends.executor.bind import Bindings, Closure
from axonc.backends.executor.prepared import Prepared
from axonc.backends.isa.access_pattern import NO_REGISTER, TileAccess
from axonc.backends.numerics.cast import to_float32
from axonc.backends.numerics.dtypes import F32
from axonc.backends.targets.target import Engine

MAX_RUN_COLUMNS = 1024
"""Columns of one product: wider ones gain nothing."""


@dataclass(frozen=True)
class Pair:
    """A LoadStationary with the MultiplyMoving that follows it."""

    load: Prepared
    multiply: Prepared
    stationary: TileAccess
    moving: TileAccess
    result: TileAccess
    accumulate: bool


def plan_runs(prepared: Sequence[Prepared]) -> dict[int, tuple[Pair, ...]]:
    """Runs by the position in `prepared` of their first LoadStationary."""
    tensor = [(i, p) for i, p in enumerate(prepared) if p.engine is Engine.TENSOR]
    runs: dict[int, tuple[Pair, ...]] = {}
    open_run: list[Pair] = []
    start = position = 0
    while position < len(tensor):
        pair = _pair(tensor, position)
        if pair is not None and open_run and _extends(open_run, pair):
            open_run.append(pair)
        else:
            _close(runs, start, open_run)
            open_run = [] if pair is None else [pair]
            start = tensor[position][0]
        position += 1 if pair is None else 2
    _close(runs, start, open_run)
    return runs


def _close(runs: dict[int, tuple[Pair, ...]], start: int, run: list[Pair]) -> None:
    if run:
        runs[start] = tuple(run)


def _pair(tensor: Sequence[tuple[int, Prepared]], position: int) -> Pair | None:
    """The pair that starts here, if its product needs no other state of the engine: the next
    instruction loads again."""
    steps = [p for _, p in tensor[position : position + 3]]
    if len(steps) < 2 or steps[0].mnemonic != "load_stationary":
        return None
    load, multiply = steps[0], steps[1]
    if multiply.mnemonic != "multiply_moving" or multiply.waits:
        return None
    if multiply.instruction.field("is_transpose"):
        return None
    if len(steps) == 3 and steps[2].mnemonic == "multiply_moving":
        return None
    stationary = load.instruction.operand("stationary")
    moving, result = (multiply.instruction.operand(name) for name in ("moving", "dst"))
    assert isinstance(stationary, TileAccess)
    assert isinstance(moving, TileAccess) and isinstance(result, TileAccess)
    if not _is_plain(stationary, moving, result):
        return None
    accumulate = bool(multiply.instruction.field("accumulate"))
    return Pair(load, multiply, stationary, moving, result, accumulate)


def _is_plain(stationary: TileAccess, moving: TileAccess, result: TileAccess) -> bool:
    """One unit-stride free dim for the stationary tile and the result, static addresses, matching
    shapes (others take the general path, which reports what is wrong)."""
    accesses = (stationary, moving, result)
    return (
        all(access.register == NO_REGISTER for access in accesses)
        and len(stationary.dims) == len(result.dims) == 1
        and stationary.dims[0][0] == result.dims[0][0] == 1
        and result.dtype is F32
        and result.num_partitions == stationary.elements_per_partition
        and result.elements_per_partition == moving.elements_per_partition
        and stationary.num_partitions == moving.num_partitions
        and stationary.start_partition == moving.start_partition
    )


def _extends(run: list[Pair], pair: Pair) -> bool:
    """Whether `pair` is the next column tile of the run."""
    first, last = run[0], run[-1]
    width = last.stationary.elements_per_partition
    next_byte = last.stationary.byte_offset + width * last.stationary.dtype.size_bytes
    distance = pair.result.byte_offset - last.result.byte_offset
    if len(run) > 1 and distance != run[1].result.byte_offset - first.result.byte_offset:
        return False
    return (
        not pair.load.waits
        and pair.moving == last.moving
        and pair.accumulate == last.accumulate
        and pair.stationary == replace(last.stationary, byte_offset=next_byte)
        and pair.result == replace(last.result, byte_offset=pair.result.byte_offset)
        and distance >= last.result.elements_per_partition * F32.size_bytes
        and (len(run) + 1) * width <= MAX_RUN_COLUMNS
    )


def bind_run(run: Sequence[Pair], bindings: Bindings) -> Closure:
    """The closure of a run: results [n, M, columns] at regular distances."""
    first = run[0]
    width, count = first.stationary.elements_per_partition, len(run)
    wide = replace(first.stationary, dims=((1, width * count),))
    weights = bindings.memory.view(wide)
    moving = bindings.memory.view(first.moving)
    target = _stacked_results(run, bindings)
    dtypes = first.stationary.dtype, first.moving.dtype
    rows, columns = moving.shape[0], first.result.elements_per_partition
    product = np.empty((width * count, columns), np.float32)
    stacked = product.reshape(count, width, columns)

    def multiply() -> None:
        stationary = to_float32(weights, dtypes[0])
        np.matmul(stationary.T, to_float32(moving, dtypes[1]).reshape(rows, -1), out=product)

    return _add(multiply, stacked, target) if first.accumulate else _put(multiply, stacked, target)


def _stacked_results(run: Sequence[Pair], bindings: Bindings) -> np.ndarray:
    """[n, M, columns] view of the results."""
    first = run[0].result
    distance = run[1].result.byte_offset - first.byte_offset if len(run) > 1 else 0
    dims = ((distance // F32.size_bytes, len(run)), *first.dims)
    return bindings.memory.view(replace(first, dims=dims)).transpose(1, 0, 2)


def _add(multiply: Callable[[], None], product: np.ndarray, target: np.ndarray) -> Closure:
    def run() -> None:
        multiply()
        np.add(target, product, out=target)

    return run


def _put(multiply: Callable[[], None], product: np.ndarray, target: np.ndarray) -> Closure:
    def run() -> None:
        multiply()
        np.copyto(target, product)

    return run
