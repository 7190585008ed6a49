"""Engines and order of issue: balance, dependences, prefetch, queues."""

import pytest

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.numerics.dtypes import BF16, F32, I32
from axonc.backends.targets import INF2
from axonc.backends.targets.target import Engine
from axonc.diagnostics import CompileError
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import Form, Pool
from axonc.kernel import Kernel
from axonc.passes.memory.allocate_memory import allocate_memory
from axonc.passes.schedule.assign_engines import assign_engines
from axonc.passes.schedule.schedule import STREAM_QUEUES, schedule
from axonc.passes.tile_level.schedule_plan import Schedule


def scheduled(kernel: KernelBuilder) -> Schedule:
    assign_engines(kernel.program)
    allocate_memory(kernel.program)
    return schedule(kernel.program)


# ---- engines ---------------------------------------------------------------------------------


def copies(dtype) -> dict[Engine, int]:
    kernel = KernelBuilder(INF2)
    source = kernel.sbuf((128, 512), dtype)
    for _ in range(20):
        kernel.copy(kernel.sbuf((128, 512), dtype), source)
    assert assign_engines(kernel.program)
    assert not assign_engines(kernel.program)  # one form is left: nothing to choose
    engines = [op.form.engine for op in kernel.program.ops]
    return {engine: engines.count(engine) for engine in set(engines)}


def test_copies_are_shared_by_speed():
    """ScalarE is faster per element than VectorE (1.4 against 1.12 GHz): it gets a little more."""
    found = copies(F32)
    assert found.keys() == {Engine.SCALAR, Engine.VECTOR}
    assert found[Engine.VECTOR] >= 7 and found[Engine.SCALAR] >= 10


def test_integers_do_not_pass_through_float32():
    kernel = KernelBuilder(INF2)
    source = kernel.sbuf((128, 512), I32)
    for _ in range(4):
        kernel.copy(kernel.sbuf((128, 512), I32), source)
    assert not assign_engines(kernel.program)
    assert {op.form.engine for op in kernel.program.ops} == {Engine.VECTOR}


# ---- order -----------------------------------------------------------------------------------


def pipeline(count: int, kernel: KernelBuilder) -> None:
    """count times: load, exp, store."""
    x = kernel.input("x", (128 * count, 2048), F32)
    y = kernel.output("y", (128 * count, 2048), F32)
    for i in range(count):
        rows = slice(128 * i, 128 * (i + 1))
        tile, result = (kernel.sbuf((128, 2048), F32) for _ in range(2))
        kernel.dma(tile, x[rows])
        kernel.emit("activation", dst=result, src=tile, func="exp")
        kernel.dma(y[rows], result)


def test_order_is_a_permutation_that_respects_dependences():
    kernel = KernelBuilder(INF2)
    pipeline(30, kernel)
    found = scheduled(kernel)
    assert sorted(n for order in found.order.values() for n in order) == list(range(90))
    position = {n: i for order in found.order.values() for i, n in enumerate(order)}
    for number in range(90):
        for other in found.graph.predecessors[number]:
            same = (
                other < 90
                and kernel.program.ops[other].form.engine is kernel.program.ops[number].form.engine
            )
            assert not same or position[other] < position[number]


def test_the_next_tile_is_loaded_before_this_one_is_done():
    kernel = KernelBuilder(INF2)
    pipeline(10, kernel)
    order = scheduled(kernel).order[Engine.GPSIMD]
    stores = [order.index(3 * i + 2) for i in range(10)]
    loads = [order.index(3 * i) for i in range(10)]
    assert all(loads[i + 1] < stores[i] for i in range(9))


def test_loads_run_beside_compute():
    """The data of load i + 1 begins to move before activation i has finished."""
    kernel = Kernel()
    pipeline(10, kernel)
    compiled = kernel.compile()
    timeline, machine = compiled.timeline(record=True), compiled.machine()
    transfers = timeline.transfers
    loads = [
        start
        for engine, index, start in zip(
            transfers.engine, transfers.index, transfers.start_ns, strict=True
        )
        if machine.instruction(engine, int(index)).operand("dst").memory is Memory.SBUF
    ]
    finished = [
        end
        for index, end in zip(
            timeline.engines[Engine.SCALAR].indices,
            timeline.engines[Engine.SCALAR].end_ns,
            strict=True,
        )
        if machine.instruction(Engine.SCALAR, int(index)).spec.mnemonic == "activation"
    ]
    assert len(loads) == len(finished) == 10
    assert all(load < end for load, end in zip(loads[1:], finished[:-1], strict=True))


def test_matmuls_run_ahead_of_evictions():
    """PSUM banks rotate, so that the tensor engine does not wait for each eviction."""
    kernel = Kernel()
    a = kernel.sbuf((128, 512), BF16)
    kernel.dma(a, kernel.input("x", (128, 512), BF16))
    y = kernel.output("y", (128, 512), BF16)
    for _ in range(8):
        total, result = kernel.psum((128, 512), F32), kernel.sbuf((128, 512), BF16)
        for k in range(4):
            kernel.matmul(total, a[:, 128 * k : 128 * (k + 1)], a, accumulate=k > 0)
        kernel.copy(result, total)
        kernel.dma(y, result)
    timeline = kernel.compile().timeline(record=True)
    tensor = timeline.engines[Engine.TENSOR]
    span = tensor.start_ns[-1] - tensor.start_ns[0]
    assert timeline.busy_ns[Engine.TENSOR] > 0.95 * span


def test_an_independent_chain_fills_the_gaps_of_another():
    def build(chains: int) -> float:
        kernel = KernelBuilder(INF2)
        for _ in range(chains):
            tile = kernel.sbuf((128, 64), F32)
            kernel.memset(tile, 1.0)
            for engine in (Engine.VECTOR, Engine.SCALAR) * 20:
                if engine is Engine.SCALAR:
                    kernel.emit("activation", dst=tile, src=tile, func="exp")
                else:
                    kernel.emit("tensor_tensor", dst=tile, src0=tile, src1=tile, op="add")
        return scheduled(kernel).finish_ns

    assert build(2) < 1.2 * build(1)


@pytest.mark.parametrize("seed", range(3))
def test_scheduling_is_deterministic(seed):
    orders = []
    for _ in range(2):
        kernel = KernelBuilder(INF2)
        pipeline(seed + 5, kernel)
        orders.append(scheduled(kernel).order)
    assert orders[0] == orders[1]


# ---- queues ----------------------------------------------------------------------------------


def queues_of(kernel: KernelBuilder) -> list[int]:
    found = scheduled(kernel).order
    order = sorted(found[Engine.SYNC] + found[Engine.GPSIMD])
    steps = [kernel.program.ops[number].form.steps[0] for number in order]
    return [step.fields[step.spec.field_index["queue"]] for step in steps]


def test_transfers_take_queues_in_turn():
    kernel = KernelBuilder(INF2)
    pipeline(8, kernel)
    found = queues_of(kernel)
    others = INF2.dma.queues - STREAM_QUEUES
    assert sorted(found) == sorted(STREAM_QUEUES + i % others for i in range(16))


def test_streamed_weights_have_their_own_queues():
    kernel = KernelBuilder(INF2)
    x = kernel.input("x", (128, 8), F32)
    for pool in (Pool.STREAM, Pool.WORK) * 20:
        kernel.dma(kernel.sbuf((128, 8), F32, pool=pool), x)
    found = queues_of(kernel)
    assert sorted(found[0::2]) == sorted(i % STREAM_QUEUES for i in range(20))
    assert min(found[1::2]) >= STREAM_QUEUES


def test_weights_and_other_transfers_are_triggered_by_different_engines():
    kernel = KernelBuilder(INF2)
    x = kernel.input("x", (128, 8), F32)
    for pool in (Pool.STREAM, Pool.WORK, Pool.RESIDENT):
        kernel.dma(kernel.sbuf((128, 8), F32, pool=pool), x)
    engines = [op.form.engine for op in kernel.program.ops]
    assert engines == [Engine.SYNC, Engine.GPSIMD, Engine.GPSIMD]


def test_one_queue_never_counts_the_triggers_of_two_engines():
    kernel = KernelBuilder(INF2)
    pipeline(2, kernel)
    first = kernel.program.ops[0]
    first.forms = (Form(Engine.SYNC, first.form.steps),)
    with pytest.raises(CompileError, match="triggered by sync and by gpsimd"):
        scheduled(kernel)
