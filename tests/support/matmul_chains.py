"""Chains of matmuls that fast mode may join to blocks, and the two modes beside each other."""

from __future__ import annotations

import numpy as np
from executor_program_maker import ProgramMaker, psum, sbuf

from axonc.backends.executor.machine import Machine
from axonc.backends.isa.access_pattern import HbmAccess
from axonc.backends.numerics.dtypes import BF16, F32, DType
from axonc.backends.program import Program, TensorKind
from axonc.backends.targets.target import Engine

K, M, N = 128, 32, 16
"""Partitions of a tile, columns of a stationary tile, columns of a moving tile."""

SLOT_TILES = 8

SLOT_BYTES = SLOT_TILES * M * 4

MOVING, RESULTS, SLOTS = 0, 4096, 8192
"""Byte offsets in SBUF: four moving tiles; evicted results; slots for weights."""

ACTIONS = ("matmul", "matmul", "matmul", "matmul", "load", "evict", "touch weights", "touch moving")


class Chain(ProgramMaker):
    """Instructions one after the other, whatever the engine."""

    def __init__(self, dtype: DType = F32) -> None:
        super().__init__()
        self.dtype = dtype
        self.last: tuple[tuple[int, int], Engine] | None = None
        self.weights = self.tensor("w", TensorKind.WEIGHT, 4, K, SLOT_TILES * M, dtype=dtype)
        self.x = self.tensor("x", TensorKind.INPUT, K, 4 * N, dtype=dtype)
        self.y = self.tensor("y", TensorKind.OUTPUT, K, 4 * N)
        self.step("dma_copy", Engine.SYNC, {"dst": self.moving(0, 4), "src": self.whole(self.x)})
        filler = {"dst": sbuf(RESULTS, 4 * N)}
        self.step("memset", Engine.VECTOR, filler, {"value_bits": 0})

    def step(self, mnemonic, engine, operands, fields=None) -> None:
        """The next instruction; it waits for the one before unless that is its own engine's."""
        is_dma = mnemonic == "dma_copy"
        waits = ()
        if self.last is not None and (is_dma or self.last[1] is not engine):
            waits = (self.last[0],)
        fields = {"queue": 0, **(fields or {})} if is_dma else fields
        posted = self.add(mnemonic, engine, operands, fields, waits=waits, signal=True)
        self.last = posted, (Engine.GPSIMD if is_dma else engine)

    def moving(self, number: int, count: int = 1):
        return sbuf(MOVING + number * N * self.dtype.size_bytes, count * N, dtype=self.dtype)

    def weight_tile(self, slot: int, number: int, count: int = 1):
        size = self.dtype.size_bytes
        return sbuf(SLOTS + slot * SLOT_BYTES + number * M * size, count * M, dtype=self.dtype)

    def load_slot(self, slot: int, chunk: int) -> None:
        """weights[chunk] to a slot."""
        columns = SLOT_TILES * M
        address = self.weights.address + chunk * K * columns * self.dtype.size_bytes
        source = HbmAccess(self.dtype, address, ((columns, K), (1, columns)))
        target = self.weight_tile(slot, 0, SLOT_TILES)
        self.step("dma_copy", Engine.SYNC, {"dst": target, "src": source})

    def matmul(self, result: int, slot: int, number: int, moving: int, accumulate: bool) -> None:
        stationary, place = self.weight_tile(slot, number), psum(result * 2048, N, partitions=M)
        self.step("load_stationary", Engine.TENSOR, {"stationary": stationary})
        operands = {"dst": place, "moving": self.moving(moving)}
        self.step("multiply_moving", Engine.TENSOR, operands, {"accumulate": accumulate})

    def evict(self, result: int) -> None:
        place = sbuf(RESULTS + result * N * 4, N, partitions=M)
        source = psum(result * 2048, N, partitions=M)
        self.step("tensor_copy", Engine.VECTOR, {"dst": place, "src": source})

    def finish(self) -> Program:
        operands = {"dst": self.whole(self.y), "src": sbuf(RESULTS, 4 * N)}
        self.step("dma_copy", Engine.SYNC, operands)
        return self.program()

    def values(self, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """(weights, inputs)."""
        rng = np.random.default_rng(seed)
        made = {
            t.name: rng.standard_normal(t.shape).astype(self.dtype.numpy)
            for t in (self.weights, self.x)
        }
        return {"w": made["w"]}, {"x": made["x"]}


def machine_of(chain: Chain, mode: str, seed: int = 0) -> Machine:
    machine = Machine(chain.program(), mode=mode)
    machine.load_weights(chain.values(seed)[0])
    return machine


def assert_modes_agree(chain: Chain, seed: int = 0) -> None:
    """Two runs of fast mode, as the second starts from what the first left."""
    inputs = chain.values(seed)[1]
    expected = machine_of(chain, "checked", seed).run(inputs)["y"]
    fast = machine_of(chain, "fast", seed)
    for _ in range(2):
        found = fast.run(inputs)["y"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    assert np.abs(expected).max() > 1


def random_chain(seed: int) -> Chain:
    """Slots, moving tiles and results change at random; neighbouring tiles are frequent."""
    rng = np.random.default_rng(seed)
    chain = Chain(BF16 if seed % 3 == 2 else F32)
    size = chain.dtype.size_bytes
    for slot in (0, 1):
        chain.load_slot(slot, slot)
    for result in range(4):
        chain.matmul(result, 0, result, 0, False)
    at = 0
    for _ in range(60):
        action = ACTIONS[rng.integers(len(ACTIONS))]
        if action == "matmul":
            slot, row = int(rng.integers(2)), int(rng.integers(4))
            for result in range(int(rng.integers(1, 4))):
                chain.matmul(result, slot, (at + result) % SLOT_TILES, row, rng.random() < 0.8)
            at += 1
        elif action == "load":
            chain.load_slot(int(rng.integers(2)), int(rng.integers(4)))
        elif action == "evict":
            chain.evict(int(rng.integers(4)))
        elif action == "touch weights":
            place = chain.weight_tile(int(rng.integers(2)), int(rng.integers(SLOT_TILES)))
            source = sbuf(MOVING, M, dtype=chain.dtype)
            chain.step("tensor_copy", Engine.VECTOR, {"dst": place, "src": source})
        else:
            start = MOVING + int(rng.integers(3 * N)) * size
            source = sbuf(SLOTS, N, dtype=chain.dtype)
            place = sbuf(start, N, dtype=chain.dtype)
            chain.step("tensor_copy", Engine.VECTOR, {"dst": place, "src": source})
    for result in range(4):
        chain.evict(result)
    chain.finish()
    return chain
