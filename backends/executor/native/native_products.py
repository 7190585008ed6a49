"""Blocks of matmuls as calls of native code (`product_code`), in pieces for several threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise

import numpy as np

from axonc.backends.executor.native.native_code import (
    NativeModule,
    Task,
    aligned_floats,
    native_module,
)
from axonc.backends.executor.native.native_pool import PreparedJob, shared_pool
from axonc.backends.executor.native.product_code import (
    GROUP,
    PANEL_M,
    PANEL_N,
    ROUND_ROWS,
    Field,
    product_module,
)
from axonc.backends.executor.native.workers import Workers
from axonc.backends.numerics.dtypes import BF16, F32, DType

Closure = Callable[[], None]
Scratch = dict[tuple[str, int], np.ndarray]


@dataclass(frozen=True, slots=True)
class Rows:
    """The matrix of an operand: views [rows, columns] in storage type, one below the other."""

    views: list[np.ndarray]
    dtype: DType

    @property
    def row_bytes(self) -> int:
        return self.views[0].strides[0]

    @property
    def columns(self) -> int:
        return self.views[0].shape[1]

    @property
    def is_readable(self) -> bool:
        """Whether native code reads it in place: columns side by side, in a type it knows."""
        first = self.views[0]
        return (
            self.dtype in (F32, BF16)
            and first.ndim == 2
            and (first.strides[1] == first.itemsize or first.shape[1] == 1)
        )


@dataclass(frozen=True, slots=True)
class Product:
    """results [tiles, rows of a tile, N] (+)= stationary.T @ moving, row m of the product being row
    m % tile rows of tile m // tile rows."""

    stationary: Rows
    moving: Rows
    results: np.ndarray
    accumulate: bool

    @property
    def is_supported(self) -> bool:
        """A panel does not cross the border of a tile; results lie side by side."""
        tiles, rows, columns = self.results.shape
        fits = tiles == 1 or rows % PANEL_M == 0
        return fits and (self.results.strides[2] == F32.size_bytes or columns == 1)


def bind_product(
    product: Product,
    parts: int,
    scratch: Scratch,
    workers: Workers,
    before: Closure | None = None,
    beside: Closure | None = None,
) -> Closure:
    """The closure of a product in `parts` pieces.

    before: prepares operands first. beside: runs on this thread while others multiply.
    """
    tasks = [
        _task(product, piece, number, scratch)
        for number, piece in enumerate(_pieces(product, parts))
    ]
    if len(tasks) == 1 and beside is None:
        call = tasks[0].call(_module().function("product"))
        return call if before is None else partial(_both, before, call)
    function = _module().address("product")
    job = PreparedJob(shared_pool(workers.count), [(function, task) for task in tasks])

    def run() -> None:
        if before is not None:
            before()
        job.run(beside)

    return run


def _both(first: Closure, second: Closure) -> None:
    first()
    second()


Piece = tuple[range, range]
"""Of M and of N."""


def _pieces(product: Product, parts: int) -> list[Piece]:
    """Whole panels of the longer dim for each piece; fewer pieces if there are not enough."""
    rows, columns = product.stationary.columns, product.moving.columns
    if rows >= columns:
        return [(cut, range(columns)) for cut in _cuts(rows, parts, PANEL_M)]
    return [(range(rows), cut) for cut in _cuts(columns, parts, PANEL_N)]


def _cuts(size: int, parts: int, unit: int) -> list[range]:
    units = -(-size // unit)
    limits = [min(size, units * n // parts * unit) for n in range(parts + 1)]
    return [range(a, b) for a, b in pairwise(limits) if a < b]


def _task(product: Product, piece: Piece, number: int, scratch: Scratch) -> Task:
    """The task of piece `number`, which has packed operands of its own."""
    stationary, moving, results = product.stationary, product.moving, product.results
    rows = stationary.views[0].shape[0]
    count = len(stationary.views)
    per_round = min(count, max(1, ROUND_ROWS // rows))
    m, n = piece
    packed = [
        _packed(scratch, f"packed {name} {number}", rows * per_round, len(cut))
        for name, cut in (("stationary", m), ("moving", n))
    ]
    tables = [_addresses(operand.views) for operand in (stationary, moving)]
    fields = {
        Field.VIEWS: count,
        Field.ROWS: rows,
        Field.VIEWS_PER_ROUND: per_round,
        Field.STATIONARY_VIEWS: tables[0].ctypes.data,
        Field.STATIONARY_ROW: stationary.row_bytes,
        Field.STATIONARY_IS_BF16: stationary.dtype is BF16,
        Field.STATIONARY_PACKED: packed[0].ctypes.data,
        Field.MOVING_VIEWS: tables[1].ctypes.data,
        Field.MOVING_ROW: moving.row_bytes,
        Field.MOVING_IS_BF16: moving.dtype is BF16,
        Field.MOVING_PACKED: packed[1].ctypes.data,
        Field.M_BEGIN: m.start,
        Field.M_END: m.stop,
        Field.N_BEGIN: n.start,
        Field.N_END: n.stop,
        Field.RESULT: _address(results),
        Field.RESULT_ROW: results.strides[1],
        Field.TILE_ROWS: results.shape[1],
        Field.TILE_BYTES: results.strides[0],
        Field.ACCUMULATE: product.accumulate,
    }
    values = [int(fields[name]) for name in Field]
    return Task.of(values, (tables, packed, stationary.views, moving.views, results))


def _packed(scratch: Scratch, name: str, rows: int, columns: int) -> np.ndarray:
    """A buffer for `columns` packed columns, shared by all products that need one of this size."""
    key = (name, rows * -(-columns // GROUP) * GROUP)
    if key not in scratch:
        scratch[key] = aligned_floats(key[1])
    return scratch[key]


def _addresses(views: list[np.ndarray]) -> np.ndarray:
    return np.array([_address(view) for view in views], np.int64)


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


@cache
def _module() -> NativeModule:
    return native_module(product_module())
