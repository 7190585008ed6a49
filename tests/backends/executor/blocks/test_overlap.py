"""Fast mode's steps beside large products: which they are, and the same results as one by one."""

from __future__ import annotations

import numpy as np
import pytest
from executor_program_maker import sbuf
from matmul_chains import RESULTS, Chain, K, N, machine_of, random_chain

from axonc.backends.executor.blocks import matmul_products
from axonc.backends.executor.blocks import overlap as overlap_module
from axonc.backends.executor.blocks.matmul_blocks import plan_blocks
from axonc.backends.executor.blocks.overlap import OverlappedBlock, overlap
from axonc.backends.executor.native.workers import Workers
from axonc.backends.executor.steps.findings import FindingError
from axonc.backends.isa.access_pattern import HbmAccess, TileAccess
from axonc.backends.numerics.dtypes import F32, I32
from axonc.backends.targets.target import Engine


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(overlap_module, "MIN_REGION_BYTES", 1)
    monkeypatch.setattr(matmul_products, "MIN_PART_TERMS", 1)
    monkeypatch.setattr(matmul_products, "MIN_NATIVE_PART_TERMS", 1)


def besides(chain: Chain) -> list[list[str]]:
    """Mnemonics of the steps beside a block, block by block."""
    machine = machine_of(chain, "fast")
    steps = machine._schedule().steps.prepared
    items = overlap(plan_blocks(steps, machine._memory), steps)
    return [
        [steps[step].mnemonic for step in item.steps if isinstance(step, int)]
        for item in items
        if isinstance(item, OverlappedBlock)
    ]


def two_products(chain: Chain) -> None:
    """A result is evicted; then the next product."""
    chain.load_slot(0, 0)
    chain.matmul(0, 0, 0, 0, False)
    chain.evict(0)
    chain.matmul(1, 0, 4, 1, False)
    chain.evict(1)
    chain.finish()


def test_an_eviction_runs_beside_the_next_product():
    chain = Chain()
    two_products(chain)
    assert besides(chain)[-1] == ["tensor_copy"]


def copy(chain: Chain, target: TileAccess, source: TileAccess) -> None:
    chain.step("tensor_copy", Engine.VECTOR, {"dst": target, "src": source})


def test_a_step_that_writes_an_operand_of_the_product_runs_before_it():
    chain = Chain()
    chain.load_slot(0, 0)
    chain.matmul(0, 0, 0, 0, False)
    chain.evict(0)
    copy(chain, chain.moving(1), chain.moving(0))
    chain.matmul(1, 0, 4, 1, False)
    chain.evict(1)
    chain.finish()
    assert "tensor_copy" not in sum(besides(chain), [])


def test_a_step_that_reads_the_place_of_the_result_runs_before_it():
    chain = Chain()
    chain.load_slot(0, 0)
    chain.matmul(0, 0, 0, 0, False)
    chain.evict(0)
    chain.matmul(0, 0, 4, 1, False)
    chain.evict(0)
    chain.finish()
    assert "tensor_copy" not in sum(besides(chain), [])


def test_an_error_of_a_step_beside_a_product_names_the_step():
    chain = Chain()
    chain.load_slot(0, 0)
    chain.matmul(0, 0, 0, 0, False)
    chain.evict(0)
    index = sbuf(RESULTS + 512, 1, dtype=I32)
    chain.step("memset", Engine.VECTOR, {"dst": index}, {"value_bits": 1 << 20})
    source = HbmAccess(F32, chain.x.address, ((4 * N, K), (1, 4 * N)))
    operands = {"dst": sbuf(RESULTS + 1024, 4 * N), "src": source, "index": index}
    chain.step("dma_copy", Engine.GPSIMD, operands, {"indirect": "gather", "queue": 1})
    chain.matmul(1, 0, 4, 1, False)
    chain.evict(1)
    chain.finish()
    assert "dma_copy" in besides(chain)[-1]
    machine = machine_of(chain, "fast")
    machine._bindings.workers = Workers(2)
    with pytest.raises(FindingError, match="dma_copy"):
        machine.run(chain.values(0)[1])


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_give_the_results_of_checked_mode(seed):
    chain = random_chain(seed)
    inputs = chain.values(seed)[1]
    expected = machine_of(chain, "checked", seed).run(inputs)["y"]
    fast = machine_of(chain, "fast", seed)
    fast._bindings.workers = Workers(3)
    for _ in range(5):
        np.testing.assert_allclose(fast.run(inputs)["y"], expected, rtol=1e-4, atol=1e-3)


def test_random_programs_have_steps_beside_products():
    assert sum(len(besides(random_chain(seed))) for seed in range(12)) > 10
