"""Tutorial: RMS normalisation as a hand-written kernel.

    python docs/tutorial/write_a_kernel.py

y[i, :] = x[i, :] / sqrt(mean(x[i, :]^2) + eps) * gamma, for x of any number of rows. It runs
the kernel in checked mode, compares with numpy, and prints where the modelled time goes.
"""

from __future__ import annotations

import numpy as np

from axonc.backends.numerics.dtypes import F32
from axonc.dialects.ntile.program import View
from axonc.kernel import Kernel

ROWS, COLUMNS, EPSILON = 1000, 512, 1e-6


def rms_norm(kernel: Kernel, rows: int, columns: int, epsilon: float) -> None:
    """Declares x [rows, columns], gamma [1, columns] and y, and the instructions between them."""
    # 1. Tensors in device memory. The names are those that run() takes and returns.
    x = kernel.input("x", (rows, columns), F32)
    gamma = kernel.input("gamma", (1, columns), F32)
    y = kernel.output("y", (rows, columns), F32)

    # 2. A row of gamma on every partition. Engines cannot read across partitions, but the matrix
    #    engine can broadcast: ones[1, 128].T @ gamma[1, columns] is gamma in 128 rows.
    wide_gamma = broadcast(kernel, gamma, kernel.target.partitions)

    # 3. Rows on partitions, at most 128 at a time. A *new* tile per iteration is all that double
    #    buffering takes: loads of the next rows overlap with the arithmetic on these.
    for start in range(0, rows, kernel.target.partitions):
        stop = min(rows, start + kernel.target.partitions)
        tile = kernel.sbuf((stop - start, columns), F32, "x")
        kernel.dma(tile, x[start:stop])
        normalise(kernel, tile, epsilon)
        scaled = kernel.sbuf(tile.shape, F32, "y")
        kernel.emit(
            "tensor_tensor", dst=scaled, src0=tile, src1=wide_gamma[0 : stop - start], op="multiply"
        )
        kernel.dma(y[start:stop], scaled)


def broadcast(kernel: Kernel, row: View, partitions: int) -> View:
    """A tile [partitions, n] whose every row is `row` [1, n] of device memory; n up to 512."""
    columns = row.shape[1]
    source = kernel.sbuf((1, columns), F32)
    kernel.dma(source, row)
    ones = kernel.sbuf((1, partitions), F32)
    kernel.memset(ones, 1.0)
    product = kernel.psum((partitions, columns), F32)
    kernel.matmul(product, stationary=ones, moving=source, accumulate=False)
    result = kernel.sbuf((partitions, columns), F32, "gamma")
    kernel.copy(result, product)
    return result


def normalise(kernel: Kernel, tile: View, epsilon: float) -> None:
    """tile[p, :] /= sqrt(mean(tile[p, :]^2) + epsilon), in place."""
    rows, columns = tile.shape
    squares = kernel.sbuf(tile.shape, F32)
    kernel.emit("tensor_tensor", dst=squares, src0=tile, src1=tile, op="multiply")
    total = kernel.sbuf((rows, 1), F32)
    kernel.emit("tensor_reduce", dst=total, src=squares, op="add")
    # func(src * scale + bias): mean, epsilon and reciprocal square root are one instruction.
    factor = kernel.sbuf((rows, 1), F32)
    bias = kernel.fill(epsilon, F32)[0:rows]
    kernel.emit("activation", dst=factor, src=total, bias=bias, scale=1 / columns, func="rsqrt")
    kernel.emit("tensor_scalar", dst=tile, src=tile, scalar0=factor, op0="multiply")


def main() -> None:
    kernel = Kernel("inf2")
    rms_norm(kernel, ROWS, COLUMNS, EPSILON)
    compiled = kernel.compile()

    # Checked mode finds reads of unwritten bytes, races, out-of-range accesses. It is slower.
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    gamma = rng.standard_normal((1, COLUMNS)).astype(np.float32)
    found = compiled.run(mode="checked", x=x, gamma=gamma)["y"]
    mean_square = np.mean(x.astype(np.float64) ** 2, axis=1, keepdims=True)
    expected = x / np.sqrt(mean_square + EPSILON) * gamma
    print(f"largest difference from numpy: {np.abs(found - expected).max():.1e}")

    timeline = compiled.timeline()
    print(f"modelled: {timeline.total_ns / 1e3:.1f} us")
    for engine, busy_ns in timeline.busy_ns.items():
        print(f"  {engine.value:7} busy {busy_ns / timeline.total_ns:5.1%}")
    print(f"  DMA     busy {timeline.dma_busy_ns / timeline.total_ns:5.1%}")


if __name__ == "__main__":
    main()
