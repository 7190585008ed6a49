"""Semaphores: random kernels compute what program order says, and no wait can be left out."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from axonc.backends.executor.machine import Machine
from axonc.backends.executor.steps.findings import FindingError, FindingKind
from axonc.backends.isa.instruction import Instruction
from axonc.backends.numerics.dtypes import F32
from axonc.backends.program import Program
from axonc.backends.targets import INF2
from axonc.backends.targets.target import Engine
from axonc.dialects.ntile.program import View
from axonc.kernel import Kernel
from axonc.passes.lower.lower import Streams, drop_repeated_loads, lower
from axonc.passes.lower.lowered_state import pack
from axonc.passes.memory.allocate_memory import allocate_memory
from axonc.passes.schedule.assign_engines import assign_engines
from axonc.passes.schedule.schedule import schedule

ROWS, COLUMNS, INPUTS = 16, 64, 4
SMALL_SBUF = replace(INF2, sbuf_partition_bytes=8 * COLUMNS * 4)
"""Eight tiles: buffers are reused all the time."""


@dataclass
class RandomKernel:
    """A kernel of random operations, and what it computes when they run one after the other.

    Values stay small integers, so that float32 is exact. parts: also work on halves of tiles.
    """

    seed: int
    parts: bool
    kernel: Kernel = field(default_factory=lambda: Kernel(SMALL_SBUF))
    tiles: list[tuple[View, np.ndarray]] = field(default_factory=list)
    outputs: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        shape = (ROWS, COLUMNS)
        self.inputs = {
            f"x{i}": self.rng.integers(-4, 5, shape).astype(np.float32) for i in range(INPUTS)
        }
        self.sources = {name: self.kernel.input(name, shape, F32) for name in self.inputs}
        makers = [self.load, self.load, self.combine, self.negate, self.multiply, self.store]
        self.load()
        for _ in range(30):
            makers[self.rng.integers(len(makers))]()
        self.store()

    def new(self, value: np.ndarray) -> View:
        """A new tile; at most four are alive."""
        tile = self.kernel.sbuf((ROWS, COLUMNS), F32)
        self.tiles = [*self.tiles[-3:], (tile, value)]
        return tile

    def any(self) -> tuple[View, np.ndarray]:
        return self.tiles[self.rng.integers(len(self.tiles))]

    def part(self) -> slice:
        whole = slice(0, COLUMNS)
        halves = [slice(0, COLUMNS // 2), slice(COLUMNS // 4, COLUMNS)]
        return [whole, *halves][self.rng.integers(3)] if self.parts else whole

    def load(self) -> None:
        name = f"x{self.rng.integers(INPUTS)}"
        self.kernel.dma(self.new(self.inputs[name].copy()), self.sources[name])

    def combine(self) -> None:
        """a = max(a, b) on VectorE or GpSimdE, on some of the columns."""
        (a, value_a), (b, value_b), part = self.any(), self.any(), self.part()
        engine = [Engine.VECTOR, Engine.GPSIMD][self.rng.integers(2)]
        a_part, b_part = a[:, part], b[:, part]
        self.kernel.emit("tensor_tensor", engine, dst=a_part, src0=a_part, src1=b_part, op="max")
        value_a[:, part] = np.maximum(value_a[:, part], value_b[:, part])

    def negate(self) -> None:
        (a, value), part = self.any(), self.part()
        self.kernel.emit("activation", dst=a[:, part], src=a[:, part], func="copy", scale=-1.0)
        value[:, part] = -value[:, part]

    def multiply(self) -> None:
        """A new tile from a PE product, cut to small values."""
        (a, value_a), (b, value_b) = self.any(), self.any()
        total = self.kernel.psum((ROWS, COLUMNS), F32)
        self.kernel.matmul(total, a[:, 0:ROWS], b, accumulate=False)
        value = np.clip(value_a[:, :ROWS].T @ value_b, -4, 4)
        self.kernel.emit(
            "tensor_scalar",
            dst=self.new(value),
            src=total,
            imm0=4.0,
            imm1=-4.0,
            op0="min",
            op1="max",
        )

    def store(self) -> None:
        name = f"y{len(self.outputs)}"
        tile, value = self.any()
        self.kernel.dma(self.kernel.output(name, (ROWS, COLUMNS), F32), tile)
        self.outputs[name] = value.copy()

    def lowered(self) -> tuple[Streams, int]:
        program = self.kernel.program
        assign_engines(program)
        memory = allocate_memory(program)
        return lower(program, schedule(program)), memory.sbuf_peak_bytes

    def packed(self, streams: Streams, peak: int) -> Program:
        return pack(self.kernel.program, streams, peak)


def without_one_wait(streams: Streams) -> Iterator[Streams]:
    """The streams with each wait left out in turn."""
    for engine, stream in streams.items():
        for number, instruction in enumerate(stream):
            changed = list(stream)
            if instruction.spec.mnemonic == "semaphore_wait":
                del changed[number]
            elif instruction.waits:
                changed[number] = replace(instruction, waits=())
            else:
                continue
            yield {**streams, engine: changed}


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_random_kernels_compute_in_program_order(seed, parts):
    made = RandomKernel(seed, parts)
    program = made.packed(*made.lowered())
    for mode in ("fast", "checked"):
        found = Machine(program, mode=mode).run(made.inputs)
        for name, expected in made.outputs.items():
            np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("seed", range(6))
def test_every_wait_is_needed(seed):
    """Operations on whole tiles, so that what is waited for really touches the same bytes: checked
    mode then finds every wait that is left out."""
    made = RandomKernel(seed, parts=False)
    streams, peak = made.lowered()
    variants = list(without_one_wait(streams))
    assert len(variants) > 20
    for variant in variants:
        with pytest.raises(FindingError) as caught:
            Machine(made.packed(variant, peak), mode="checked").run(made.inputs)
        assert caught.value.kind in (FindingKind.RACE, FindingKind.UNWRITTEN_READ)


def test_instructions_carry_at_most_one_wait():
    streams, _ = RandomKernel(0, True).lowered()
    waits = [len(i.waits) for stream in streams.values() for i in stream]
    assert max(waits) == INF2.max_attached_waits


def matmuls(shared: bool) -> list[Instruction]:
    """Two products with the same (or a new) stationary tile."""
    kernel = Kernel()
    a, b, c = (kernel.sbuf((128, 128), F32) for _ in range(3))
    for i, tile in enumerate((a, b, c)):
        kernel.dma(tile, kernel.input(f"x{i}", (128, 128), F32))
    for i, stationary in enumerate((a, a if shared else c)):
        total, out = kernel.psum((128, 128), F32), kernel.sbuf((128, 128), F32)
        kernel.matmul(total, stationary, b, accumulate=False)
        kernel.copy(out, total)
        kernel.dma(kernel.output(f"y{i}", (128, 128), F32), out)
    assign_engines(kernel.program)
    allocate_memory(kernel.program)
    return lower(kernel.program, schedule(kernel.program))[Engine.TENSOR]


@pytest.mark.parametrize(("shared", "loads"), [(True, 1), (False, 2)])
def test_a_stationary_tile_is_loaded_once(shared, loads):
    mnemonics = [i.spec.mnemonic for i in matmuls(shared)]
    assert mnemonics.count("load_stationary") == loads
    assert mnemonics.count("multiply_moving") == 2


def test_a_wait_ends_what_is_known_to_be_loaded():
    """Any wait may be for a new value of the stationary tile."""
    load, multiply = [i for i in matmuls(True) if i.spec.mnemonic != "semaphore_wait"][:2]
    load, multiply = replace(load, waits=()), replace(multiply, waits=())
    waiting = replace(multiply, waits=((1, 5),))
    assert drop_repeated_loads([load, multiply, load, multiply]) == [load, multiply, multiply]
    kept = [load, multiply, waiting, load, multiply]
    assert drop_repeated_loads(kept) == kept
