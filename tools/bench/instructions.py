"""Single instructions: modelled against published profiler measurements
(machine.md#single-instructions).

    python -m axonc.tools.bench.instructions

Every row is a small kernel; what is compared is read from its recorded timeline, so decoding, the
cost formulas, latencies and the event loop all take part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from axonc.backends.executor.time.timeline import Timeline
from axonc.backends.numerics.dtypes import BF16, F32
from axonc.backends.targets.target import Engine
from axonc.dialects.ntile.program import View
from axonc.kernel import Kernel, KernelProgram


@dataclass(frozen=True)
class Run:
    """A compiled kernel with its recorded timeline."""

    program: KernelProgram
    timeline: Timeline

    def spans(self, engine: Engine, mnemonic: str) -> list[tuple[float, float]]:
        """(issue, results visible) of every such instruction of `engine`, in ns."""
        record, machine = self.timeline.engines[engine], self.program.machine()
        return [
            (float(start), float(end))
            for index, start, end in zip(
                record.indices, record.start_ns, record.end_ns, strict=True
            )
            if machine.instruction(engine, int(index)).spec.mnemonic == mnemonic
        ]

    def latency(self, engine: Engine, mnemonic: str) -> float:
        """From issue to visible results, of the first such instruction."""
        start, end = self.spans(engine, mnemonic)[0]
        return end - start

    def last_transfer(self) -> float:
        """How long the data of the last transfer moved."""
        transfers = self.timeline.transfers
        assert transfers is not None
        return float(transfers.end_ns[-1] - transfers.start_ns[-1])


def run_kernel(build: Callable[[Kernel], View]) -> Run:
    """Compile and time a kernel; `build` returns the tile that it makes."""
    kernel = Kernel()
    made = build(kernel)
    kernel.dma(kernel.output("y", made.shape, made.dtype), made)
    program = kernel.compile()
    return Run(program, program.timeline(record=True))


def loaded(kernel: Kernel, name: str, shape: tuple[int, int], dtype: object = F32) -> View:
    """A tile in SBUF filled from a new input."""
    tile = kernel.sbuf(shape, dtype)  # type: ignore[arg-type]
    kernel.dma(tile, kernel.input(name, shape, dtype))  # type: ignore[arg-type]
    return tile


# ---- the measurements -------------------------------------------------------------------------


def tensor_tensor() -> float:
    def build(kernel: Kernel) -> View:
        a, b = loaded(kernel, "a", (64, 8192)), loaded(kernel, "b", (64, 8192))
        kernel.emit("tensor_tensor", dst=a, src0=a, src1=b, op="add")
        return a

    return run_kernel(build).latency(Engine.VECTOR, "tensor_tensor")


def _activations(count: int, func: str = "copy") -> Run:
    def build(kernel: Kernel) -> View:
        tile = loaded(kernel, "a", (128, 1))
        for _ in range(count):
            kernel.emit("activation", dst=tile, src=tile, func=func)
        return tile

    return run_kernel(build)


def activate_latency() -> float:
    return _activations(1).latency(Engine.SCALAR, "activation")


def activate_chain() -> float:
    spans = _activations(3).spans(Engine.SCALAR, "activation")
    return spans[2][0] - spans[1][0]


def table_load() -> float:
    stalls = _activations(1, "exp").timeline.stall_ns[Engine.SCALAR]
    return stalls["activation table load"]


def _matmul(rows: int) -> Run:
    def build(kernel: Kernel) -> View:
        stationary = loaded(kernel, "a", (128, rows), BF16)
        moving = loaded(kernel, "b", (128, 128), BF16)
        total = kernel.psum((rows, 128), F32)
        kernel.matmul(total, stationary, moving, accumulate=False)
        result = kernel.sbuf((rows, 128), F32)
        kernel.copy(result, total)
        return result

    return run_kernel(build)


def moving_1_row() -> float:
    return _matmul(1).latency(Engine.TENSOR, "multiply_moving")


def moving_96_rows() -> float:
    return _matmul(96).latency(Engine.TENSOR, "multiply_moving")


def stationary_1_column() -> float:
    return _matmul(1).latency(Engine.TENSOR, "load_stationary")


def semaphore() -> float:
    """From the signal of a finished instruction to the start of one that waits for it."""
    run = _matmul(96)
    visible = run.spans(Engine.TENSOR, "multiply_moving")[0][1]
    start = run.spans(Engine.SCALAR, "activation")[0][0]
    return start - visible


def transfer_32_kib_per_engine() -> float:
    """SBUF to device memory, 8 rows of 4 KiB on each of the 16 engines."""
    return run_kernel(lambda kernel: loaded(kernel, "a", (128, 1024))).last_transfer()


def transfer_4_bytes() -> float:
    return run_kernel(lambda kernel: loaded(kernel, "a", (1, 1))).last_transfer()


def exp_250x512() -> float:
    """A whole kernel: exp of [250, 512] in two tiles, start-up and tear-down included."""
    kernel = Kernel()
    source, result = kernel.input("x", (250, 512), F32), kernel.output("y", (250, 512), F32)
    for rows in (slice(0, 128), slice(128, 250)):
        tile = kernel.sbuf((rows.stop - rows.start, 512), F32)
        kernel.dma(tile, source[rows])
        kernel.emit("activation", dst=tile, src=tile, func="exp")
        kernel.dma(result[rows], tile)
    return kernel.compile().modelled_ns()


MEASURED: dict[str, tuple[float, Callable[[], float]]] = {
    "tensor_tensor add, f32, N=8192": (14968.0, tensor_tensor),
    "activation, f32, N=1": (159.0, activate_latency),
    "activation, f32, N=1, dependent chain": (189.0, activate_chain),
    "activation table load": (368.0, table_load),
    "multiply_moving, 128 columns, M=1": (188.0, moving_1_row),
    "multiply_moving, 128 columns, M=96": (219.0, moving_96_rows),
    "load_stationary, 1 column": (67.0, stationary_1_column),
    "semaphore wait, satisfied": (9.0, semaphore),
    "DMA 32 KiB on one engine": (1810.0, transfer_32_kib_per_engine),
    "DMA 4 B": (7.0, transfer_4_bytes),
    "kernel: exp of 250 x 512, f32": (29260.0, exp_250x512),
}
"""Published ns, and how the same is read from the model."""


def main() -> None:
    title = "machine.md#single-instructions"
    table = Table("what", "published ns", "modelled ns", "error", title=title)
    for name, (published, measure) in MEASURED.items():
        found = measure()
        error = f"{found / published - 1:+.1%}"
        table.add_row(name, f"{published:.0f}", f"{found:.0f}", error)
    Console().print(table)


if __name__ == "__main__":
    main()
