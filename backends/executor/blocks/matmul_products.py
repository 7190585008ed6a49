"""Closures of blocks of matmuls: one product of two matrices, into PSUM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from axonc.backends.executor.blocks.matmul_blocks import Block
from axonc.backends.executor.effects.bindings import Bindings, Closure
from axonc.backends.executor.effects.tensor_engine import multiply_matrices
from axonc.backends.executor.native.native_products import Product, Rows, bind_product
from axonc.backends.executor.native.workers import Workers
from axonc.backends.isa.access_pattern import Access, HbmAccess, TileAccess
from axonc.backends.numerics.cast import to_float32
from axonc.backends.numerics.dtypes import F32, DType
from axonc.backends.numerics.strided import as_strided

Operand = Callable[[], np.ndarray]
"""Gives a float32 matrix [all rows' partitions, columns]; its bytes are good until the next call of
a closure."""


@dataclass(frozen=True, slots=True)
class Stack:
    """An operand of a block: `views` [P, *free], one per row of the block, in storage type."""

    views: list[np.ndarray]
    dtype: DType
    step_bytes: int | None
    """From each view to the next in one array; None if they are not evenly spaced."""

    @property
    def columns(self) -> int:
        return self.views[0].size // self.views[0].shape[0]

    def direct(self, partition_major: bool) -> np.ndarray | None:
        """All views as one float32 matrix in place, its rows by (partition, view) or by
        (view, partition); None if the strides do not allow one."""
        first, count = self.views[0], len(self.views)
        if self.dtype is not F32 or first.ndim != 2 or first.strides[1] != F32.size_bytes:
            return None
        if count == 1:
            return first
        rows, row_bytes = first.shape[0], first.strides[0]
        outer, outer_count = (row_bytes, rows) if partition_major else (self.step_bytes, count)
        inner, inner_count = (self.step_bytes, count) if partition_major else (row_bytes, rows)
        if inner is None or outer is None or outer != inner * inner_count:
            return None
        if inner < self.columns * F32.size_bytes:
            return None
        shape, strides = (outer_count * inner_count, first.shape[1]), (inner, first.strides[1])
        return as_strided(first, shape, strides)


def bind_block(block: Block, bindings: Bindings, beside: Closure | None = None) -> Closure:
    """The closure of a block whose rows are equally long.

    beside: what this thread does while others multiply; it has no access in conflict with them.
    """
    if bindings.allow_native:
        native = _bind_native(block, bindings, beside)
        if native is not None:
            return native
    width = len(block.rows[0])
    stationary = _stack([_widened(row[0].stationary, width) for row in block.rows], bindings)
    moving = _stack([row[0].moving for row in block.rows], bindings)
    by_partition = _is_partition_major(stationary, moving)
    first = _operand("stationary", stationary, by_partition, bindings)
    second = _operand("moving", moving, by_partition, bindings)
    target = _stacked_results(block, bindings)
    product = _scratch(bindings, "product", (stationary.columns, moving.columns))
    stacked = product.reshape(width, -1, moving.columns)

    parts = _part_count(stationary, moving, BLAS_PARTS, MIN_PART_TERMS)
    multiply = _product(first, second, product, parts, bindings.workers, beside)
    if block.first.accumulate:
        return partial(_add, multiply, stacked, target)
    return partial(_put, multiply, stacked, target)


def _bind_native(block: Block, bindings: Bindings, beside: Closure | None) -> Closure | None:
    """The block as native code; None if that does not know its shape of results."""
    width = len(block.rows[0])
    stationary = _stack([_widened(row[0].stationary, width) for row in block.rows], bindings)
    moving = _stack([row[0].moving for row in block.rows], bindings)
    gathers: list[Closure] = []
    operands = [
        _readable(name, stack, bindings, gathers)
        for name, stack in (("stationary", stationary), ("moving", moving))
    ]
    results = _stacked_results(block, bindings)
    product = Product(operands[0], operands[1], results, block.first.accumulate)
    if not product.is_supported:
        return None
    workers = bindings.workers
    shares = workers.count if beside is None else PARTS_BESIDE * workers.count
    parts = _part_count(
        stationary, moving, shares if workers.count > 1 else 1, MIN_NATIVE_PART_TERMS
    )
    before = partial(_run_all, gathers) if gathers else None
    return bind_product(product, parts, bindings.scratch, workers, before, beside)


def _readable(name: str, stack: Stack, bindings: Bindings, gathers: list[Closure]) -> Rows:
    """The operand in place, or in a buffer that the closure added to `gathers` fills."""
    rows = Rows(stack.views, stack.dtype)
    if rows.is_readable:
        return rows
    matrix, fill = _gathered(name, stack, False, bindings)
    gathers.append(fill)
    return Rows(np.split(matrix, len(stack.views)), F32)


def _run_all(closures: Sequence[Closure]) -> None:
    for closure in closures:
        closure()


MIN_PART_TERMS = 1 << 23
"""Multiplications of the smallest product that is worth a thread (0.15 ms at 110 Gflop/s; handing
it over takes 0.03 ms)."""

MIN_NATIVE_PART_TERMS = 1 << 21
"""In native code (0.02 ms at 220 Gflop/s; 0.004 ms). Its sums are in the order of the rows whatever
the pieces are."""

BLAS_PARTS = 8
"""Most pieces of a product that BLAS computes, however many threads there are: its kernels, and
with them the order of sums, depend on the size of a piece."""


PARTS_BESIDE = 2
"""Parts per thread where one of the threads comes later."""


def _part_count(stationary: Stack, moving: Stack, most: int, least_terms: int) -> int:
    """Into how many products with fewer columns a block is cut, of `least_terms` multiplications
    at least."""
    rows = stationary.views[0].shape[0] * len(stationary.views)
    terms = rows * stationary.columns * moving.columns
    return max(1, min(most, terms // least_terms))


def _product(
    first: Operand,
    second: Operand,
    out: np.ndarray,
    parts: int,
    workers: Workers,
    beside: Closure | None = None,
) -> Closure:
    """out [M, N] = first.T @ second, in `parts` pieces of the longer of its dims at a time."""
    if parts == 1:
        return _product_at_once(first, second, out, beside)
    axis = 0 if out.shape[0] >= out.shape[1] else 1
    limits = [out.shape[axis] * n // parts for n in range(parts + 1)]
    pieces = [slice(a, b) for a, b in pairwise(limits)]

    def multiply() -> None:
        stationary, moving = first().T, second()
        if axis == 0:
            cut = [(stationary[piece], moving, out[piece]) for piece in pieces]
        else:
            cut = [(stationary, moving[:, piece], out[:, piece]) for piece in pieces]
        workers.run([partial(multiply_matrices, *operands) for operands in cut], beside)

    return multiply


def _product_at_once(
    first: Operand, second: Operand, out: np.ndarray, before: Closure | None
) -> Closure:
    def multiply() -> None:
        if before is not None:
            before()
        multiply_matrices(first().T, second(), out)

    return multiply


def _add(multiply: Callable[[], None], product: np.ndarray, target: np.ndarray) -> None:
    multiply()
    np.add(target, product, out=target)


def _put(multiply: Callable[[], None], product: np.ndarray, target: np.ndarray) -> None:
    multiply()
    np.copyto(target, product)


def _stack(accesses: Sequence[Access], bindings: Bindings) -> Stack:
    """Raises: Violation if an access leaves its memory or its tensor."""
    views = [bindings.memory.view(access) for access in accesses]
    starts = [view.__array_interface__["data"][0] for view in views]
    steps = {b - a for a, b in pairwise(starts)}
    return Stack(views, accesses[0].dtype, steps.pop() if len(steps) == 1 else None)


def _widened(access: Access, count: int) -> Access:
    """`access` and the `count` - 1 like it that follow in its last dim."""
    *outer, (stride, size) = access.dims
    dims = (*outer, (stride, size * count))
    if isinstance(access, TileAccess):
        return TileAccess(
            access.memory,
            access.dtype,
            access.start_partition,
            access.num_partitions,
            access.byte_offset,
            dims,
        )
    return HbmAccess(access.dtype, access.address, dims)


def _is_partition_major(stationary: Stack, moving: Stack) -> bool:
    """In which order the rows of both matrices are: the one that copies less."""
    copied = {}
    for order in (True, False):
        copied[order] = sum(
            stack.columns for stack in (stationary, moving) if stack.direct(order) is None
        )
    return copied[True] <= copied[False]


def _operand(name: str, stack: Stack, partition_major: bool, bindings: Bindings) -> Operand:
    """The matrix in place, or gathered and cast into a buffer each time."""
    direct = stack.direct(partition_major)
    if direct is not None:
        return lambda: direct
    matrix, fill = _gathered(name, stack, partition_major, bindings)

    def gather() -> np.ndarray:
        fill()
        return matrix

    return gather


def _gathered(
    name: str, stack: Stack, partition_major: bool, bindings: Bindings
) -> tuple[np.ndarray, Closure]:
    """A float32 buffer for the matrix, and what fills it."""
    rows, count = stack.views[0].shape[0], len(stack.views)
    outer = (rows, count) if partition_major else (count, rows)
    buffer = _scratch(bindings, name, (*outer, stack.columns))
    by_view = buffer.transpose(1, 0, 2) if partition_major else buffer
    parts = list(_parts(stack, by_view))
    dtype = stack.dtype

    def fill() -> None:
        for target, source in parts:
            np.copyto(target, to_float32(source, dtype))

    return buffer.reshape(-1, stack.columns), fill


def _parts(stack: Stack, buffer: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(part of the buffer [views, P, *free], what belongs there): evenly spaced views in one."""
    views = stack.views
    if stack.step_bytes is None:
        shape = views[0].shape
        return [(part.reshape(shape), v) for part, v in zip(buffer, views, strict=True)]
    shape = (len(views), *views[0].shape)
    strides = (stack.step_bytes, *views[0].strides)
    return [(buffer.reshape(shape), as_strided(views[0], shape, strides))]


def _scratch(bindings: Bindings, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 buffer that all closures which need one of this name and size share."""
    size = int(np.prod(shape))
    key = (name, size)
    if key not in bindings.scratch:
        bindings.scratch[key] = np.empty(size, np.float32)
    return bindings.scratch[key].reshape(shape)


def _stacked_results(block: Block, bindings: Bindings) -> np.ndarray:
    """[tiles, M, N] view of the results in PSUM."""
    tiles = [pair.result for pair in block.rows[0]]
    views = [bindings.memory.view(tile) for tile in tiles]
    distance = tiles[1].byte_offset - tiles[0].byte_offset if len(tiles) > 1 else 0
    shape, strides = (len(tiles), *views[0].shape), (distance, *views[0].strides)
    return as_strided(views[0], shape, strides)
