"""The GEMM kernels of the NKI matrix multiplication tutorial, written with the kernel builder.

    python -m axonc.tools.bench.gemm_kernels [name ...]

prints modelled against published latency of [4096, 8192] x [8192, 8192] in bf16 on one
NeuronCore-v2 (machine.md#gemm-kernels). The loops, tiles and blocks are those of the tutorial
(aws-neuron-sdk at 1514f016, nki/tutorials/matrix_multiplication.rst); order of issue, addresses and
overlap are the compiler's there and our passes' here. Only time is modelled: nothing is computed.

All kernels take lhsT [K, M] and rhs [K, N] and make result [M, N], all bf16.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from axonc.backends.numerics.dtypes import BF16, F32
from axonc.backends.targets.target import Engine
from axonc.dialects.ntile.program import View
from axonc.kernel import Kernel, KernelProgram

TILE_K = TILE_M = 128
TILE_N = 512


@dataclass(frozen=True)
class Problem:
    """result [m, n] = lhsT [k, m].T @ rhs [k, n]."""

    m: int
    n: int
    k: int

    @property
    def flops(self) -> int:
        return 2 * self.m * self.n * self.k


PUBLISHED = Problem(m=4096, n=8192, k=8192)


@dataclass(frozen=True)
class Operands:
    """The device tensors of one kernel."""

    lhs_t: View
    rhs: View
    result: View


def declare(kernel: Kernel, problem: Problem) -> Operands:
    return Operands(
        kernel.input("lhsT", (problem.k, problem.m), BF16),
        kernel.input("rhs", (problem.k, problem.n), BF16),
        kernel.output("result", (problem.m, problem.n), BF16),
    )


def block(number: int, size: int) -> slice:
    """The indices of block `number` of `size`."""
    return slice(number * size, (number + 1) * size)


def load(kernel: Kernel, source: View, name: str) -> View:
    """A new SBUF tile with the contents of a [partitions, n] block of device memory."""
    rows, columns = source.shape
    tile = kernel.sbuf((rows, columns), source.dtype, name)
    kernel.dma(tile, source)
    return tile


def load_column(kernel: Kernel, source: View, columns: slice, name: str) -> list[View]:
    """The tiles of all K of some columns, top to bottom."""
    count = source.shape[0] // TILE_K
    return [load(kernel, source[block(k, TILE_K), columns], name) for k in range(count)]


def accumulate(kernel: Kernel, lhs_tiles: Sequence[View], rhs_tiles: Sequence[View]) -> View:
    """Sum over k of lhs_tiles[k].T @ rhs_tiles[k], in one PSUM bank."""
    total = kernel.psum((TILE_M, TILE_N), F32)
    for k, (stationary, moving) in enumerate(zip(lhs_tiles, rhs_tiles, strict=True)):
        kernel.matmul(total, stationary, moving, accumulate=k > 0)
    return total


def store(kernel: Kernel, destination: View, total: View) -> None:
    """Cast a PSUM tile to bf16 in SBUF, and write it to device memory."""
    result = kernel.sbuf((TILE_M, TILE_N), BF16, "result")
    kernel.copy(result, total)
    kernel.dma(destination, result)


# ---- the kernels ------------------------------------------------------------------------------


def tiled(kernel: Kernel, problem: Problem) -> None:
    """Both operands of every matrix multiplication are loaded for it."""
    tensors = declare(kernel, problem)
    for m in range(problem.m // TILE_M):
        for n in range(problem.n // TILE_N):
            total = kernel.psum((TILE_M, TILE_N), F32)
            for k in range(problem.k // TILE_K):
                rows = block(k, TILE_K)
                lhs_tile = load(kernel, tensors.lhs_t[rows, block(m, TILE_M)], "lhsT")
                rhs_tile = load(kernel, tensors.rhs[rows, block(n, TILE_N)], "rhs")
                kernel.matmul(total, lhs_tile, rhs_tile, accumulate=k > 0)
            store(kernel, tensors.result[block(m, TILE_M), block(n, TILE_N)], total)


def hoisted_loads(kernel: Kernel, problem: Problem) -> None:
    """A column of lhsT is loaded once per m, a column of rhs once per (m, n)."""
    tensors = declare(kernel, problem)
    for m in range(problem.m // TILE_M):
        lhs_tiles = load_column(kernel, tensors.lhs_t, block(m, TILE_M), "lhsT")
        for n in range(problem.n // TILE_N):
            rhs_tiles = load_column(kernel, tensors.rhs, block(n, TILE_N), "rhs")
            total = accumulate(kernel, lhs_tiles, rhs_tiles)
            store(kernel, tensors.result[block(m, TILE_M), block(n, TILE_N)], total)


def blocked_free_dims(kernel: Kernel, problem: Problem, tiles_m: int = 2, tiles_n: int = 2) -> None:
    """Blocks of tiles_m x tiles_n result tiles share their operands; K is whole."""
    tensors = declare(kernel, problem)
    for block_m in range(problem.m // (tiles_m * TILE_M)):
        numbers_m = range(block_m * tiles_m, (block_m + 1) * tiles_m)
        lhs = {m: load_column(kernel, tensors.lhs_t, block(m, TILE_M), "lhsT") for m in numbers_m}
        for block_n in range(problem.n // (tiles_n * TILE_N)):
            numbers_n = range(block_n * tiles_n, (block_n + 1) * tiles_n)
            rhs = {n: load_column(kernel, tensors.rhs, block(n, TILE_N), "rhs") for n in numbers_n}
            for m in numbers_m:
                for n in numbers_n:
                    total = accumulate(kernel, lhs[m], rhs[n])
                    store(kernel, tensors.result[block(m, TILE_M), block(n, TILE_N)], total)


def blocked_all(
    kernel: Kernel, problem: Problem, tiles_m: int = 16, tiles_n: int = 2, tiles_k: int = 8
) -> None:
    """Blocks in all dimensions, long rows; sums over K blocks are kept in SBUF, in bf16."""
    tensors = declare(kernel, problem)
    wide_m, wide_n = tiles_m * TILE_M, tiles_n * TILE_N
    blocks_m, blocks_k = problem.m // wide_m, problem.k // (tiles_k * TILE_K)
    for block_n in range(problem.n // wide_n):
        columns_n = block(block_n, wide_n)
        sums = [[_zeros(kernel, tiles_n) for _ in range(tiles_m)] for _ in range(blocks_m)]
        for block_k in range(blocks_k):
            rows = [block(k, TILE_K) for k in range(block_k * tiles_k, (block_k + 1) * tiles_k)]
            rhs = [load(kernel, tensors.rhs[r, columns_n], "rhs") for r in rows]
            for block_m in range(blocks_m):
                columns_m = block(block_m, wide_m)
                lhs = [load(kernel, tensors.lhs_t[r, columns_m], "lhsT") for r in rows]
                _add_products(kernel, sums[block_m], lhs, rhs)
        for m, tiles in enumerate(tiles for per_block in sums for tiles in per_block):
            _store_packed(kernel, tensors.result[block(m, TILE_M), columns_n], tiles)


def _zeros(kernel: Kernel, count: int) -> list[View]:
    tiles = [kernel.sbuf((TILE_M, TILE_N), BF16, "sum") for _ in range(count)]
    for tile in tiles:
        kernel.memset(tile, 0.0)
    return tiles


def _add_products(
    kernel: Kernel, sums: list[list[View]], lhs: Sequence[View], rhs: Sequence[View]
) -> None:
    """sums[bm][bn] += the product of block row bm of lhsT and block column bn of rhs."""
    for bn in range(len(sums[0])):
        moving = [tile[:, block(bn, TILE_N)] for tile in rhs]
        for bm, tiles in enumerate(sums):
            stationary = [tile[:, block(bm, TILE_M)] for tile in lhs]
            total = accumulate(kernel, stationary, moving)
            kernel.emit("tensor_tensor", dst=tiles[bn], src0=tiles[bn], src1=total, op="add")


def _store_packed(kernel: Kernel, destination: View, tiles: Sequence[View]) -> None:
    """The tiles of one row of results, copied together for long rows, written by one transfer."""
    packed = kernel.sbuf((TILE_M, len(tiles) * TILE_N), BF16, "result")
    for number, tile in enumerate(tiles):
        kernel.copy(packed[:, block(number, TILE_N)], tile)
    kernel.dma(destination, packed)


@dataclass(frozen=True)
class Row:
    """A kernel and its published latency (machine.md#gemm-kernels)."""

    build: Callable[[Kernel, Problem], None]
    published_ms: float


KERNELS = {
    "tiled": Row(tiled, 51.80),
    "hoisted_loads": Row(hoisted_loads, 42.96),
    "blocked_free_dims": Row(blocked_free_dims, 22.07),
    "blocked_all": Row(blocked_all, 6.97),
}


# ---- the table --------------------------------------------------------------------------------


def compile_kernel(name: str, problem: Problem = PUBLISHED) -> KernelProgram:
    """The compiled kernel `name` for `problem`."""
    kernel = Kernel()
    KERNELS[name].build(kernel, problem)
    return kernel.compile()


def _cells(name: str) -> list[str]:
    begin = time.perf_counter()
    timeline = compile_kernel(name).timeline()
    seconds = time.perf_counter() - begin
    published, modelled = KERNELS[name].published_ms, timeline.total_ns * 1e-6
    return [
        name,
        f"{published:.2f}",
        f"{modelled:.2f}",
        f"{modelled / published - 1:+.1%}",
        f"{timeline.busy_ns[Engine.TENSOR] / timeline.total_ns:.1%}",
        f"{timeline.dma_busy_ns / timeline.total_ns:.1%}",
        f"{timeline.hbm_bytes / 1e9:.2f}",
        f"{seconds:.1f}",
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("kernels", nargs="*", choices=[[], *KERNELS], help="default: all")
    names = parser.parse_args(arguments).kernels or list(KERNELS)
    columns = ("kernel", "published ms", "modelled ms", "error", "PE", "DMA", "HBM GB", "host s")
    table = Table(*columns, title=f"{PUBLISHED} bf16, one NeuronCore-v2")
    for name in names:
        table.add_row(*_cells(name))
    Console().print(table)


if __name__ == "__main__":
    main()
