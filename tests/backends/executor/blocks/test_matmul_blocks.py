"""Fast mode's blocks of matmuls: what is in one, what ends one, the same results as one by one."""

from __future__ import annotations

import numpy as np
import pytest
from executor_program_maker import psum, sbuf
from matmul_chains import (
    RESULTS,
    SLOTS,
    Chain,
    K,
    M,
    N,
    assert_modes_agree,
    machine_of,
    random_chain,
)

from axonc.backends.executor.blocks.matmul_blocks import Block, plan_blocks
from axonc.backends.executor.blocks.weight_copies import without
from axonc.backends.executor.effects.tensor_engine import multiply_matrices
from axonc.backends.executor.steps.prepared import regions_overlap
from axonc.backends.numerics.dtypes import BF16, F32
from axonc.backends.targets.target import Engine


def planned(chain: Chain) -> tuple[list[list[int]], list[str]]:
    """(pairs per row of every block, mnemonics of the other steps)."""
    machine = machine_of(chain, "fast")
    steps = machine._schedule().steps.prepared
    items = plan_blocks(steps, machine._memory)
    blocks = [[len(row) for row in item.rows] for item in items if isinstance(item, Block)]
    return blocks, [steps[item].mnemonic for item in items if not isinstance(item, Block)]


def accumulation(chain: Chain, tiles: int, rows: int) -> None:
    for row in range(rows):
        for tile in range(tiles):
            chain.matmul(tile, 0, row * tiles + tile, row, row > 0)


@pytest.mark.parametrize("dtype", [F32, BF16])
def test_a_sum_over_tiles_is_one_block_that_reads_device_memory(dtype):
    chain = Chain(dtype)
    chain.load_slot(0, 1)
    accumulation(chain, tiles=2, rows=4)
    chain.evict(0)
    chain.evict(1)
    chain.finish()
    blocks, others = planned(chain)
    assert blocks == [[2, 2, 2, 2]]
    assert others.count("dma_copy") == 1  # the result: neither weights nor input are copied
    assert_modes_agree(chain)


def test_weights_may_be_overwritten_within_a_block():
    chain = Chain()
    chain.load_slot(0, 0)
    chain.matmul(0, 0, 0, 0, False)
    chain.load_slot(0, 1)
    chain.matmul(0, 0, 0, 1, True)
    chain.evict(0)
    chain.finish()
    assert planned(chain)[0] == [[1, 1]]
    assert_modes_agree(chain)


def test_a_new_moving_tile_in_the_same_place_ends_the_block():
    chain = Chain()
    chain.load_slot(0, 0)
    chain.matmul(0, 0, 0, 0, False)
    chain.step("tensor_copy", Engine.VECTOR, {"dst": chain.moving(0), "src": chain.moving(3)})
    chain.matmul(0, 0, 1, 0, True)
    chain.evict(0)
    chain.finish()
    assert planned(chain)[0] == [[1], [1]]
    assert_modes_agree(chain)


def test_a_reader_of_a_partial_sum_ends_the_block():
    chain = Chain()
    chain.load_slot(0, 0)
    chain.matmul(0, 0, 0, 0, False)
    chain.evict(0)
    chain.matmul(0, 0, 1, 1, True)
    chain.step(
        "tensor_copy",
        Engine.VECTOR,
        {"dst": sbuf(RESULTS + 64, N, partitions=M), "src": psum(0, N, partitions=M)},
    )
    chain.finish()
    assert planned(chain)[0] == [[1], [1]]
    assert_modes_agree(chain)


def test_an_incomplete_row_is_a_block_of_its_own():
    chain = Chain()
    chain.load_slot(0, 0)
    accumulation(chain, tiles=2, rows=2)
    chain.matmul(0, 0, 4, 2, True)
    chain.evict(0)
    chain.evict(1)
    chain.finish()
    assert planned(chain)[0] == [[2, 2], [1]]
    assert_modes_agree(chain)


def read_weights(chain: Chain) -> None:
    target = sbuf(RESULTS + 128, N)
    chain.step("tensor_copy", Engine.VECTOR, {"dst": target, "src": sbuf(SLOTS, N)})


def overwrite_some_weights(chain: Chain) -> None:
    chain.step("memset", Engine.VECTOR, {"dst": sbuf(SLOTS + 64, 4)}, {"value_bits": 0})


@pytest.mark.parametrize("touch", [read_weights, overwrite_some_weights])
def test_copies_that_others_touch_are_made(touch):
    chain = Chain()
    chain.load_slot(0, 0)
    chain.matmul(0, 0, 0, 0, False)
    touch(chain)
    chain.matmul(1, 0, 0, 1, False)
    chain.evict(0)
    chain.evict(1)
    chain.finish()
    assert planned(chain)[1].count("dma_copy") == 2  # also the result
    assert_modes_agree(chain)


def test_a_copy_partly_overwritten_before_anybody_else_reads_is_not_made():
    chain = Chain()
    chain.load_slot(0, 0)
    chain.matmul(0, 0, 0, 0, False)
    overwrite_some_weights(chain)  # in tile 0
    chain.matmul(1, 0, 1, 1, False)
    chain.evict(0)
    chain.evict(1)
    chain.finish()
    assert planned(chain)[1].count("dma_copy") == 1  # the result
    assert_modes_agree(chain)


BOX = ("sbuf", 10, 20, 100, 200)


@pytest.mark.parametrize(
    ("hole", "left"),
    [
        (("sbuf", 0, 128, 0, 300), 0),
        (("sbuf", 0, 128, 120, 130), 900),
        (("sbuf", 12, 13, 120, 130), 990),
        (("sbuf", 0, 15, 0, 300), 500),
        (("sbuf", 0, 128, 200, 300), 1000),
        (("psum", 0, 128, 100, 200), 1000),
    ],
)
def test_boxes_around_a_hole(hole, left):
    parts = without(BOX, hole)
    assert sum((b[2] - b[1]) * (b[4] - b[3]) for b in parts) == left
    assert not any(regions_overlap(part, hole) for part in parts)
    assert not any(regions_overlap(a, b) for n, a in enumerate(parts) for b in parts[n + 1 :])


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_give_the_results_of_checked_mode(seed):
    assert_modes_agree(random_chain(seed), seed)


def test_random_programs_have_blocks_of_every_kind():
    """The differential test would prove nothing if the random programs had only single pairs."""
    shapes = [block for seed in range(12) for block in planned(random_chain(seed))[0]]
    assert any(len(block) > 1 for block in shapes)
    assert any(block[0] > 1 for block in shapes)
    copies = [planned(random_chain(seed))[1].count("dma_copy") for seed in range(12)]
    made = [
        sum(i.spec.mnemonic == "dma_copy" for i in random_chain(seed).streams[Engine.SYNC])
        for seed in range(12)
    ]
    assert any(a < b for a, b in zip(copies, made, strict=True))


def special_matrix(rows: int, columns: int, seed: int) -> np.ndarray:
    """Random numbers of every size, denormals, and zeros of both signs."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, columns)) * 10.0 ** rng.integers(-44, 18, (rows, columns))
    values[rng.random((rows, columns)) < 0.2] = -0.0
    values[rng.random((rows, columns)) < 0.2] = 0.0
    return values.astype(np.float32)


@pytest.mark.parametrize("inner", [1, 2])
def test_products_have_the_bits_of_a_plain_product(inner):
    first, second = special_matrix(24, inner, 1), special_matrix(inner, 40, 2)
    found = np.empty((24, 40), np.float32)
    multiply_matrices(first, second, found)
    expected = np.matmul(first, second)
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


def test_transposes_have_the_bits_of_a_product_with_the_unit_matrix():
    chain = Chain()
    data, unit = sbuf(16384, K, partitions=K), sbuf(16896, K, partitions=K)
    chain.step("load_stationary", Engine.TENSOR, {"stationary": data})
    operands = {"dst": psum(0, K), "moving": unit}
    chain.step("multiply_moving", Engine.TENSOR, operands, {"is_transpose": True})
    machine = machine_of(chain, "fast")
    values = special_matrix(K, K, 3)
    machine._memory.view(data)[...] = values
    machine._memory.view(unit)[...] = np.eye(K)
    machine.run(chain.values(0)[1])
    found = machine._memory.view(psum(0, K)).copy()
    expected = np.matmul(values.T, np.eye(K, dtype=np.float32))
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))
    np.testing.assert_array_equal(found, values.T)
