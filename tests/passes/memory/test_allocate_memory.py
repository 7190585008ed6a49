"""Addresses: live buffers apart, banks rotating, streamed weights in their own part."""

from dataclasses import replace

import numpy as np
import pytest

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.numerics.dtypes import BF16, F32
from axonc.backends.program import TensorKind
from axonc.backends.targets import INF2
from axonc.diagnostics import CapacityError
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import Buffer, Pool
from axonc.passes.memory.allocate_memory import allocate_memory
from axonc.passes.memory.buffer_placement import (
    Arena,
    Lifetime,
    lifetimes,
    peak_bytes,
    place_by_size,
)
from axonc.passes.memory.sbuf_plan import ALIGNMENT


def random_kernel(seed: int, sbuf_bytes: int = 16384) -> KernelBuilder:
    """Tiles of many sizes with lives of many lengths."""
    rng = np.random.default_rng(seed)
    kernel = KernelBuilder(replace(INF2, sbuf_partition_bytes=sbuf_bytes))
    pools = [Pool.WORK, Pool.WORK, Pool.STREAM]
    alive = []
    for _ in range(300):
        columns = int(rng.integers(1, 200))
        tile = kernel.sbuf((128, columns), F32, pool=pools[rng.integers(3)])
        kernel.memset(tile, 0.0)
        alive.append(tile)
        if len(alive) > rng.integers(1, 8):
            kernel.copy(tile[:, 0:1], alive.pop(0)[:, 0:1])
    return kernel


@pytest.mark.parametrize("seed", range(5))
def test_live_buffers_do_not_overlap(seed):
    kernel = random_kernel(seed)
    plan = allocate_memory(kernel.program)
    lives = lifetimes(kernel.program)
    assert len(lives) == 300
    for number, a in enumerate(lives):
        low, high = a.buffer.address, a.buffer.address + a.buffer.partition_bytes
        assert 0 <= low and high <= plan.sbuf_extent_bytes <= 16384 and low % ALIGNMENT == 0
        for b in lives[number + 1 :]:
            if b.first <= a.last and a.first <= b.last:
                other = b.buffer.address
                assert high <= other or other + b.buffer.partition_bytes <= low


def test_work_rests_before_it_is_reused():
    """Next fit: a tile does not take the bytes that were freed last while others are free."""
    kernel = KernelBuilder(INF2)
    for _ in range(4):
        kernel.memset(kernel.sbuf((128, 1024), F32), 0.0)
    allocate_memory(kernel.program)
    addresses = [b.address for b in kernel.program.buffers]
    assert addresses == [0, 4096, 8192, 12288]


def test_all_of_sbuf_is_used_when_nothing_streams():
    kernel = KernelBuilder(INF2)
    for _ in range(96):
        kernel.memset(kernel.sbuf((128, 1024), F32), 0.0)
    plan = allocate_memory(kernel.program)
    assert len({b.address for b in kernel.program.buffers}) == 48
    assert plan.pools == {"resident": 0, "work": 192 * 1024, "stream": 0}


def test_streams_and_constants_have_their_own_parts():
    kernel = KernelBuilder(INF2)
    kernel.fill(3.0, F32)
    parts = {pool: [] for pool in Pool}
    for _ in range(200):
        for pool in (Pool.WORK, Pool.STREAM):
            tile = kernel.sbuf((128, 1024), F32, pool=pool)
            kernel.memset(tile, 0.0)
            parts[pool].append(tile.buffer)
    plan = allocate_memory(kernel.program)
    assert plan.pools["resident"] == ALIGNMENT
    boundary = plan.pools["resident"] + plan.pools["work"]
    assert all(ALIGNMENT <= b.address and b.address + 4096 <= boundary for b in parts[Pool.WORK])
    assert all(b.address >= boundary for b in parts[Pool.STREAM])
    assert plan.pools["stream"] > plan.pools["work"]  # prefetch gets most of it


def test_fragments_fall_back_to_tight_packing():
    """Next fit would scatter the small tiles so that the large one fits nowhere."""
    kernel = KernelBuilder(replace(INF2, sbuf_partition_bytes=1024))
    held = []
    for i in range(8):
        tile = kernel.sbuf((128, 16), F32)
        kernel.memset(tile, 0.0)
        if i % 2:
            held.append(tile)
    large = kernel.sbuf((128, 192), F32)
    kernel.memset(large, 0.0)
    for tile in held:
        kernel.copy(large[:, 0:16], tile)
    allocate_memory(kernel.program)
    assert large.buffer.address + large.buffer.partition_bytes <= 1024


def test_psum_banks_rotate():
    kernel = KernelBuilder(INF2)
    a = kernel.sbuf((128, 128), BF16)
    kernel.memset(a, 1.0)
    totals = [kernel.psum((128, 128), F32) for _ in range(10)]
    for total in totals:
        kernel.matmul(total, a, a, accumulate=False)
    allocate_memory(kernel.program)
    bank = INF2.psum_bank_bytes
    assert [t.buffer.address for t in totals] == [bank * (i % 8) for i in range(10)]


def test_device_tensors_are_apart_and_aligned():
    kernel = KernelBuilder(INF2)
    tensors = [kernel.input(f"x{i}", (i + 1, 7), BF16) for i in range(5)]
    plan = allocate_memory(kernel.program)
    ends = 0
    for view in tensors:
        tensor = view.buffer.tensor
        assert tensor.address == view.buffer.address >= ends and tensor.address % ALIGNMENT == 0
        ends = tensor.address + tensor.size_bytes
    assert plan.hbm_bytes >= ends


def test_device_memory_error_lists_the_largest():
    kernel = KernelBuilder(INF2)
    kernel.input("small", (1, 1), F32)
    kernel.input("large", (1 << 20, 1 << 13), F32)
    with pytest.raises(
        CapacityError,
        match=r"(?s)device memory: 34,359.*B  inputs and outputs.*B  input    large.*small",
    ):
        allocate_memory(kernel.program)


def too_many_weights(dtype, count: int) -> CapacityError:
    """The error about `count` weights of 2^30 elements."""
    kernel = KernelBuilder(INF2)
    for number in range(count):
        kernel.hbm(f"w{number}", (1 << 15, 1 << 15), dtype, TensorKind.WEIGHT)
    with pytest.raises(CapacityError) as caught:
        allocate_memory(kernel.program)
    return caught.value


def test_device_memory_error_names_the_smallest_change():
    assert "bf16 (weights of half the size) or --tensor-parallel over 2 cores" in str(
        too_many_weights(F32, 6)
    )
    error = str(too_many_weights(BF16, 17))
    assert "36,507,222,016 B  weights" in error
    assert "--auto-cast" not in error and "--tensor-parallel over 3 cores" in error


def test_arena_against_brute_force():
    """Random lives: an address is refused only if no gap is large enough, and is always free."""
    rng = np.random.default_rng(5)
    for next_fit in (False, True):
        arena = Arena(128, 4096, 64, next_fit=next_fit)
        live: list[tuple[int, int, int]] = []
        refused = 0
        for first in range(1500):
            live = [entry for entry in live if entry[2] >= first]
            size = int(rng.integers(1, 12)) * 64
            buffer = Buffer("b", Memory.SBUF, 128, size - int(rng.integers(0, 64)))
            last = first + int(rng.integers(0, 12))
            address = arena.place(buffer, first, last)
            fits = [
                at
                for at in range(128, 128 + 4096 - size + 1, 64)
                if all(at + size <= low or high <= at for low, high, _ in live)
            ]
            if address is None:
                refused += 1
                assert not fits
                continue
            assert address in fits and (next_fit or address == fits[0])
            live.append((address, address + size, last))
        assert 0 < refused < 750


@pytest.mark.parametrize("leisure", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_placement_by_size_keeps_live_buffers_apart(seed, leisure):
    rng = np.random.default_rng(seed)
    lives = []
    for first in range(200):
        buffer = Buffer("b", Memory.SBUF, 128, int(rng.integers(1, 900)))
        lives.append(Lifetime(buffer, first, first + int(rng.integers(0, 20))))
    room = 16384 if leisure else 1 << 20
    addresses = place_by_size(lives, 128, room, 64, leisure=leisure)
    assert addresses is not None
    boxes = [
        (x.first, x.last, a, a + x.buffer.partition_bytes)
        for x, a in zip(lives, addresses, strict=True)
    ]
    for number, (first, last, low, high) in enumerate(boxes):
        assert low >= 128 and low % 64 == 0
        for other_first, other_last, other_low, other_high in boxes[number + 1 :]:
            if other_first <= last and first <= other_last:
                assert high <= other_low or other_high <= low
    extent = max(high for *_, high in boxes) - 128
    assert extent <= room
    if not leisure:
        assert place_by_size(lives, 128, extent - 1, 64) is None
        assert extent <= 1.3 * peak_bytes(lives)


def test_with_leisure_bytes_rest_before_they_are_taken_over():
    """Four tiles one after the other: packed they share bytes, with leisure none do."""
    lives = [Lifetime(Buffer("b", Memory.SBUF, 128, 64), i, i) for i in range(4)]
    assert place_by_size(lives, 0, 256, 64) == [0] * 4
    assert sorted(place_by_size(lives, 0, 256, 64, leisure=1.0)) == [0, 64, 128, 192]


def test_large_buffers_are_placed_before_small_ones_cut_the_room():
    """By first use, the long-lived half lands in the middle and leaves no room for the whole."""
    kernel = KernelBuilder(replace(INF2, sbuf_partition_bytes=4096))
    early = kernel.sbuf((128, 256), F32)
    kernel.memset(early, 0.0)
    late = kernel.sbuf((128, 128), F32)
    kernel.memset(late, 0.0)
    kernel.copy(late, early[:, 0:128])
    large = kernel.sbuf((128, 896), F32)
    kernel.memset(large, 0.0)
    kernel.copy(large[:, 0:128], late)
    allocate_memory(kernel.program)
    assert {large.buffer.address, late.buffer.address} in ({0, 3584}, {0, 512})
