"""Relabelling a storage: checked against numpy by laying an array out as the storage says and
reading it back through the relabelled one."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.numerics.dtypes import F32
from axonc.dialects.ntile.program import Buffer
from axonc.passes.graph.shapes import normalised, reshape_groups
from axonc.passes.layout.storage import Loop, Storage, merge_loops
from axonc.passes.layout.view_ops import contiguous_strides

PARTITIONS = 8
"""Small, so that a few rows need several row tiles."""


def make_storage(shape: tuple[int, ...], rows: tuple[int, ...]) -> Storage:
    """Rows on partitions, the other dims row-major behind the row tile."""
    rows = normalised(rows, shape)
    free = tuple(1 if d in rows else size for d, size in enumerate(shape))
    strides = [0 if d in rows else s for d, s in enumerate(contiguous_strides(free))]
    buffer = Buffer("test", Memory.SBUF, PARTITIONS, 1 << 16)
    return Storage(buffer, F32, shape, rows, tuple(strides), math.prod(free))


def place(storage: Storage, index: tuple[int, ...]) -> tuple[int, int]:
    """(partition, element offset) of one element."""
    row = 0
    for d in storage.partition_dims:
        row = row * storage.shape[d] + index[d]
    free = [(d, i) for d, i in enumerate(index) if d not in storage.partition_dims]
    tile, partition = divmod(row, PARTITIONS) if storage.partition_dims else (0, 0)
    offset = storage.offset + tile * storage.tile_stride
    return partition, offset + sum(i * storage.strides[d] for d, i in free)


def memory_of(storage: Storage, array: np.ndarray) -> dict[tuple[int, int], float]:
    return {place(storage, index): array[index] for index in np.ndindex(*array.shape)}


def contents(storage: Storage, memory: dict[tuple[int, int], float]) -> np.ndarray:
    result = np.empty(storage.shape)
    for index in np.ndindex(*storage.shape):
        result[index] = memory[place(storage, index)]
    return result


def sample(seed: int) -> tuple[random.Random, np.ndarray, Storage]:
    rnd = random.Random(seed)
    shape = tuple(rnd.choice((1, 2, 3, 4, 6)) for _ in range(rnd.randint(1, 4)))
    rows = tuple(rnd.sample(range(len(shape)), rnd.randint(0, len(shape))))
    array = np.arange(math.prod(shape), dtype=float).reshape(shape)
    return rnd, array, make_storage(shape, rows)


@pytest.mark.parametrize("seed", range(60))
def test_transposed(seed: int) -> None:
    rnd, array, storage = sample(seed)
    order = tuple(rnd.sample(range(array.ndim), array.ndim))
    found = contents(storage.transposed(order), memory_of(storage, array))
    np.testing.assert_array_equal(found, array.transpose(order))


@pytest.mark.parametrize("seed", range(60))
def test_sliced_cuts_free_dims_only(seed: int) -> None:
    rnd, array, storage = sample(seed)
    start = tuple(rnd.randrange(n) for n in array.shape)
    limit = tuple(rnd.randint(a + 1, n) for a, n in zip(start, array.shape, strict=True))
    steps = tuple(rnd.choice((1, 2)) for _ in start)
    cut = array[tuple(map(slice, start, limit, steps))]
    made = storage.sliced(start, limit, steps)
    if made is None:
        assert any(cut.shape[d] != array.shape[d] for d in storage.partition_dims)
    else:
        np.testing.assert_array_equal(contents(made, memory_of(storage, array)), cut)


@pytest.mark.parametrize("seed", range(60))
def test_reversed_flips_free_dims_only(seed: int) -> None:
    rnd, array, storage = sample(seed)
    dims = tuple(rnd.sample(range(array.ndim), rnd.randint(1, array.ndim)))
    made = storage.reversed(dims)
    if made is None:
        assert set(dims) & set(storage.partition_dims)
    else:
        flipped = np.flip(array, dims)
        np.testing.assert_array_equal(contents(made, memory_of(storage, array)), flipped)


@pytest.mark.parametrize("seed", range(60))
def test_broadcast_repeats_free_dims_only(seed: int) -> None:
    rnd, array, storage = sample(seed)
    new = rnd.randrange(array.ndim + 1)
    dims = tuple(d for d in range(array.ndim + 1) if d != new)
    shape = [3 if n == 1 and rnd.random() < 0.5 else n for n in array.shape]
    shape.insert(new, 2)
    made = storage.broadcast(dims, tuple(shape))
    assert made is not None, "dims of size 1 take no place on partitions"
    expected = np.broadcast_to(np.expand_dims(array, new), shape)
    np.testing.assert_array_equal(contents(made, memory_of(storage, array)), expected)


def random_reshape(rnd: random.Random, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Splits and merges neighbouring dims, and adds ones."""
    result: list[int] = []
    for size in shape:
        result += [2, size // 2] if size % 2 == 0 and rnd.random() < 0.5 else [size]
    while len(result) > 1 and rnd.random() < 0.5:
        at = rnd.randrange(len(result) - 1)
        result[at : at + 2] = [result[at] * result[at + 1]]
    if rnd.random() < 0.3:
        result.insert(rnd.randint(0, len(result)), 1)
    return tuple(result)


@pytest.mark.parametrize("seed", range(150))
def test_reshaped_is_right_or_refused(seed: int) -> None:
    rnd, array, storage = sample(seed)
    shape = random_reshape(rnd, array.shape)
    made = storage.reshaped(shape)
    if made is not None:
        found = contents(made, memory_of(storage, array))
        np.testing.assert_array_equal(found, array.reshape(shape))


@pytest.mark.parametrize("seed", range(40))
def test_reshape_of_device_memory_is_never_refused(seed: int) -> None:
    """Row-major and without rows: every relabelling is free."""
    rnd, array, _ = sample(seed)
    shape = random_reshape(rnd, array.shape)
    storage = make_storage(array.shape, ())
    made = storage.reshaped(shape)
    assert made is not None
    np.testing.assert_array_equal(contents(made, memory_of(storage, array)), array.reshape(shape))


def test_a_reshape_may_split_whole_rows() -> None:
    made = make_storage((12, 5), (0,)).reshaped((3, 4, 5))
    assert made is not None
    assert made.partition_dims == (0, 1)


def test_a_reshape_may_not_merge_a_row_dim_with_a_free_one() -> None:
    assert make_storage((4, 5), (0,)).reshaped((20,)) is None


@pytest.mark.parametrize("seed", range(60))
def test_lanes_visit_the_elements_of_a_row_block(seed: int) -> None:
    """Offset and strides of a lane against the place of each element."""
    rnd, array, storage = sample(seed)
    if not storage.partition_dims:
        return
    row = rnd.randrange(0, storage.rows, PARTITIONS)
    free = [d for d in range(array.ndim) if d not in storage.partition_dims]
    loops = tuple(Loop(d, array.shape[d]) for d in free)
    lane = storage.lane(row, 1, loops, PARTITIONS)
    first = np.unravel_index(row, [array.shape[d] for d in storage.partition_dims])
    index = dict(zip(storage.partition_dims, map(int, first), strict=True))
    for inner in np.ndindex(*(lp.size for lp in loops)):
        index.update(zip(free, inner, strict=True))
        expected = place(storage, tuple(index[d] for d in range(array.ndim)))
        offset = lane.byte_offset // 4 + sum(
            i * s for i, s in zip(inner, lane.strides, strict=True)
        )
        assert (lane.start_partition, offset) == expected


@pytest.mark.parametrize("seed", range(60))
def test_reshape_groups_have_equal_products(seed: int) -> None:
    rnd, array, _ = sample(seed)
    shape = random_reshape(rnd, array.shape)
    old, new = [], []
    for left, right in reshape_groups(array.shape, shape):
        assert math.prod(array.shape[d] for d in left) == math.prod(shape[d] for d in right)
        old += left
        new += right
    assert old == list(range(array.ndim))
    assert new == list(range(len(shape)))


def test_merge_loops_needs_every_lane_to_agree() -> None:
    assert merge_loops([3, 4], [[4, 1]]) == [(12, [1])]
    assert merge_loops([3, 4], [[4, 1], [0, 1]]) == [(3, [4, 0]), (4, [1, 1])]
    assert merge_loops([3, 1, 4], [[4, 99, 1]]) == [(12, [1])]
    assert merge_loops([3, 4], [[0, 0]]) == [(12, [0])]


def test_a_single_row_is_no_slice_of_several() -> None:
    """Without rows a storage passes for one that every partition holds."""
    storage = make_storage((4, 3), (0,))
    assert storage.sliced((0, 0), (1, 3), (1, 1)) is None
    several = storage.sliced((0, 0), (2, 3), (1, 1))
    assert several is not None and several.partition_dims == (0,)
