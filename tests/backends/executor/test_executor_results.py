"""Programs give the numbers numpy gives; data moves as access patterns say."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from executor_program_maker import ProgramMaker, psum, sbuf

from axonc.backends.executor.effects.transfers import common_shape, split_view
from axonc.backends.executor.machine import Machine
from axonc.backends.isa.access_pattern import HbmAccess
from axonc.backends.numerics.dtypes import BF16, F32, I32
from axonc.backends.program import TensorKind
from axonc.backends.targets.target import Engine
from axonc.diagnostics import ExecutionError

MODES = ["fast", "checked"]
RNG = np.random.default_rng(0)


def matmul_program(dtype=F32) -> ProgramMaker:
    """out = w.T @ x in two accumulated halves of 128 rows."""
    made = ProgramMaker()
    x = made.tensor("x", TensorKind.INPUT, 2, 128, 256, dtype=dtype)
    w = made.tensor("w", TensorKind.WEIGHT, 2, 128, 64, dtype=dtype)
    out = made.tensor("out", TensorKind.OUTPUT, 64, 256)
    size = dtype.size_bytes
    x_tile, w_tile = sbuf(0, 2, 256, dtype=dtype), sbuf(8192, 2, 64, dtype=dtype)
    made.copy(x_tile, HbmAccess(dtype, x.address, ((256, 128), (128 * 256, 2), (1, 256))))
    loaded = made.copy(w_tile, HbmAccess(dtype, w.address, ((64, 128), (128 * 64, 2), (1, 64))))
    result = psum(0, 256, partitions=64)
    for half in range(2):
        stationary = sbuf(8192 + half * 64 * size, 64, dtype=dtype)
        waits = [loaded] if half == 0 else []
        made.add("load_stationary", Engine.TENSOR, {"stationary": stationary}, waits=waits)
        moving = sbuf(half * 256 * size, 256, dtype=dtype)
        done = made.add(
            "multiply_moving",
            Engine.TENSOR,
            {"dst": result, "moving": moving},
            {"accumulate": half == 1},
            signal=half == 1,
        )
    copied = made.add(
        "tensor_copy",
        Engine.VECTOR,
        {"dst": sbuf(16384, 256, partitions=64), "src": result},
        waits=[done],
        signal=True,
    )
    made.store(out, sbuf(16384, 256, partitions=64), waits=[copied])
    return made


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [F32, BF16])
def test_accumulated_matmul_equals_numpy(mode, dtype):
    machine = Machine(matmul_program(dtype).program(), mode=mode)
    x = RNG.standard_normal((2, 128, 256)).astype(dtype.numpy)
    w = RNG.standard_normal((2, 128, 64)).astype(dtype.numpy)
    machine.load_weights({"w": w})
    (result,) = machine.run({"x": x}).values()
    expected = np.einsum("hkm,hkn->mn", w.astype(np.float64), x.astype(np.float64))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_weights_are_used_in_place():
    machine = Machine(matmul_program().program())
    w = np.zeros((2, 128, 64), np.float32)
    machine.load_weights({"w": w})
    x = RNG.standard_normal((2, 128, 256)).astype(np.float32)
    assert not machine.run({"x": x})["out"].any()
    w[0, 0, 0] = 1.0
    np.testing.assert_array_equal(machine.run({"x": x})["out"][0], x[0, 0])


@pytest.mark.parametrize("mode", MODES)
def test_dma_casts_through_float32(mode):
    made = ProgramMaker()
    x = made.tensor("x", TensorKind.INPUT, 128, 16, dtype=F32)
    out = made.tensor("out", TensorKind.OUTPUT, 128, 16, dtype=BF16)
    loaded = made.load(sbuf(0, 16), x)
    made.store(out, sbuf(0, 16), waits=[loaded])
    values = RNG.standard_normal((128, 16)).astype(np.float32)
    result = Machine(made.program(), mode=mode).run({"x": values})["out"]
    np.testing.assert_array_equal(result, values.astype(ml_dtypes.bfloat16))


@pytest.mark.parametrize("mode", MODES)
def test_dma_reads_by_strides(mode):
    """A load with swapped strides transposes."""
    made = ProgramMaker()
    x = made.tensor("x", TensorKind.INPUT, 16, 128)
    out = made.tensor("out", TensorKind.OUTPUT, 128, 16)
    loaded = made.copy(sbuf(0, 16), HbmAccess(F32, x.address, ((1, 128), (128, 16))))
    made.store(out, sbuf(0, 16), waits=[loaded])
    values = RNG.standard_normal((16, 128)).astype(np.float32)
    result = Machine(made.program(), mode=mode).run({"x": values})["out"]
    np.testing.assert_array_equal(result, values.T)


def gather_program(oob: str, mode_name: str = "gather") -> ProgramMaker:
    made = ProgramMaker()
    table = made.tensor("table", TensorKind.INPUT, 10, 8)
    index = made.tensor("index", TensorKind.INPUT, 4, 1, dtype=I32)
    out = made.tensor("out", TensorKind.OUTPUT, 4, 8)
    rows, numbers = sbuf(0, 8, partitions=4), sbuf(256, 1, partitions=4, dtype=I32)
    made.load(numbers, index)
    cleared = made.add("memset", Engine.VECTOR, {"dst": rows}, signal=True)
    gathered = made.add(
        "dma_copy",
        Engine.SYNC,
        {"dst": rows, "src": made.whole(table), "index": numbers},
        {"indirect": mode_name, "oob": oob, "queue": 1},
        waits=[cleared],
        signal=True,
    )
    made.streams[Engine.SYNC].insert(1, wait_instruction((5, 16)))
    made.store(out, rows, waits=[gathered])
    return made


def wait_instruction(wait: tuple[int, int]):
    from axonc.backends.isa import instruction

    fields = {"semaphore": wait[0], "value": wait[1]}
    return instruction("semaphore_wait", Engine.SYNC, fields=fields)


@pytest.mark.parametrize("mode", MODES)
def test_gather_takes_rows_by_index(mode):
    machine = Machine(gather_program("error").program(), mode=mode)
    table = RNG.standard_normal((10, 8)).astype(np.float32)
    index = np.array([[9], [0], [3], [3]], np.int32)
    result = machine.run({"table": table, "index": index})["out"]
    np.testing.assert_array_equal(result, table[index[:, 0]])


@pytest.mark.parametrize("mode", MODES)
def test_gather_skips_rows_outside_the_table(mode):
    machine = Machine(gather_program("skip").program(), mode=mode)
    table = RNG.standard_normal((10, 8)).astype(np.float32)
    index = np.array([[9], [10], [-1], [3]], np.int32)
    result = machine.run({"table": table, "index": index})["out"]
    np.testing.assert_array_equal(result[[0, 3]], table[[9, 3]])
    assert not result[[1, 2]].any()


@pytest.mark.parametrize("mode", MODES)
def test_gather_outside_the_table_is_an_error(mode):
    machine = Machine(gather_program("error").program(), mode=mode)
    index = np.array([[9], [10], [0], [3]], np.int32)
    with pytest.raises(ExecutionError, match=r"index\[1\] is 10; the table has 10 rows"):
        machine.run({"table": np.zeros((10, 8), np.float32), "index": index})


@pytest.mark.parametrize("mode", MODES)
def test_scatter_writes_rows_by_index(mode):
    made = ProgramMaker()
    x = made.tensor("x", TensorKind.INPUT, 4, 8)
    index = made.tensor("index", TensorKind.INPUT, 4, 1, dtype=I32)
    out = made.tensor("out", TensorKind.OUTPUT, 4, 8)
    rows, numbers = sbuf(0, 8, partitions=4), sbuf(256, 1, partitions=4, dtype=I32)
    made.load(rows, x)
    loaded = made.load(numbers, index)
    made.add(
        "dma_copy",
        Engine.SYNC,
        {"dst": made.whole(out), "src": rows, "index": numbers},
        {"indirect": "scatter", "queue": 1},
        waits=[loaded],
        signal=True,
    )
    values = RNG.standard_normal((4, 8)).astype(np.float32)
    order = np.array([[2], [0], [3], [1]], np.int32)
    result = Machine(made.program(), mode=mode).run({"x": values, "index": order})["out"]
    np.testing.assert_array_equal(result[order[:, 0]], values)


def loop_program(limit_from_memory: bool) -> ProgramMaker:
    """Doubles column i of a row for i < limit, in a rolled loop with the address in register 0."""
    made = ProgramMaker()
    x = made.tensor("x", TensorKind.INPUT, 128, 8)
    limit = made.tensor("limit", TensorKind.INPUT, 1, 1, dtype=I32)
    out = made.tensor("out", TensorKind.OUTPUT, 128, 8)
    made.load(sbuf(0, 8), x)
    loaded = made.load(sbuf(64, 1, partitions=1, dtype=I32), limit)
    vector = Engine.VECTOR
    made.add("register_move", vector, fields={"dst": 0, "imm": 0}, waits=[loaded])
    if limit_from_memory:
        source = sbuf(64, 1, partitions=1, dtype=I32)
        made.add("register_load", vector, {"src": source}, {"dst": 1})
    else:
        made.add("register_move", vector, fields={"dst": 1, "imm": 5})
    made.add("register_alu", vector, fields=alu("multiply", 1, 1, 4))
    column = sbuf(0, 1, register=0)
    made.add("branch", vector, fields={"compare": "is_ge", "a": 0, "b": 1, "target": 7})
    fields = {"op0": "multiply", "imm0": 2.0}
    made.add("tensor_scalar", vector, {"dst": column, "src": column}, fields)
    made.add("register_alu", vector, fields=alu("add", 0, 0, 4))
    made.add("branch", vector, fields={"target": 3})
    done = made.add("nop", vector, signal=True)
    made.store(out, sbuf(0, 8), waits=[done])
    return made


def alu(op: str, dst: int, a: int, imm: int) -> dict[str, object]:
    return {"op": op, "dst": dst, "a": a, "use_imm": True, "imm": imm}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [0, 3, 8])
def test_loop_bound_from_memory(mode, limit):
    machine = Machine(loop_program(True).program(), mode=mode)
    x = RNG.standard_normal((128, 8)).astype(np.float32)
    result = machine.run({"x": x, "limit": np.array([[limit]], np.int32)})["out"]
    expected = x.copy()
    expected[:, :limit] *= 2
    np.testing.assert_array_equal(result, expected)
    assert machine.timeline().instruction_count[Engine.VECTOR] == 5 + 4 * limit


@pytest.mark.parametrize("mode", MODES)
def test_rolled_loop_of_immediates_has_a_time_before_it_runs(mode):
    machine = Machine(loop_program(False).program(), mode=mode)
    assert machine.timeline().instruction_count[Engine.VECTOR] == 5 + 4 * 5
    x = RNG.standard_normal((128, 8)).astype(np.float32)
    result = machine.run({"x": x, "limit": np.array([[0]], np.int32)})["out"]
    np.testing.assert_array_equal(result[:, :5], x[:, :5] * 2)
    np.testing.assert_array_equal(result[:, 5:], x[:, 5:])


def test_time_that_depends_on_data_needs_a_run():
    machine = Machine(loop_program(True).program())
    with pytest.raises(ExecutionError, match="depends on its data"):
        machine.timeline()


@pytest.mark.parametrize("mode", MODES)
def test_register_store_writes_its_value(mode):
    made = ProgramMaker()
    out = made.tensor("out", TensorKind.OUTPUT, 1, 1, dtype=I32)
    word = sbuf(0, 1, partitions=1, dtype=I32)
    made.add("register_move", Engine.VECTOR, fields={"dst": 3, "imm": -7})
    done = made.add("register_store", Engine.VECTOR, {"dst": word}, {"src": 3}, signal=True)
    made.store(out, word, waits=[done])
    assert Machine(made.program(), mode=mode).run({})["out"] == -7


@pytest.mark.parametrize("mode", MODES)
def test_equal_seeds_give_equal_random_bits(mode):
    made = ProgramMaker()
    out = made.tensor("out", TensorKind.OUTPUT, 128, 4, dtype=I32)
    done = made.add("rng", Engine.VECTOR, {"dst": sbuf(0, 4, dtype=I32)}, signal=True)
    made.store(out, sbuf(0, 4, dtype=I32), waits=[done])
    program = made.program()
    machine = Machine(program, mode=mode, seed=3)
    first = machine.run({})["out"]
    np.testing.assert_array_equal(first, machine.run({})["out"])
    np.testing.assert_array_equal(first, Machine(program, mode=mode, seed=3).run({})["out"])
    assert (first != Machine(program, mode=mode, seed=4).run({})["out"]).any()


def test_wrong_host_arrays_are_named():
    machine = Machine(matmul_program().program())
    x = np.zeros((2, 128, 256), np.float32)
    with pytest.raises(ExecutionError, match="weight 'w' is not loaded"):
        machine.run({"x": x})
    with pytest.raises(ExecutionError, match="no weight 'v'"):
        machine.load_weights({"v": np.zeros(1)})
    with pytest.raises(ExecutionError, match="weight 'w' is float64"):
        machine.load_weights({"w": np.zeros((2, 128, 64))})
    machine.load_weights({"w": np.zeros((2, 128, 64), np.float32)})
    with pytest.raises(ExecutionError, match="no input 'y'"):
        machine.run({"y": x})
    with pytest.raises(ExecutionError, match="input x is missing"):
        machine.run({})
    with pytest.raises(
        ExecutionError, match=r"float32\[2, 128, 2\], expected float32\[2, 128, 256"
    ):
        machine.run({"x": x[..., :2]})


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((128, 512), (128, 4, 128), (128, 4, 128)),
        ((6, 4), (2, 12), (2, 3, 4)),
        ((2, 3), (3, 2), None),
        ((5,), (5,), (5,)),
        ((1, 4), (4, 1), (4,)),
    ],
)
def test_common_shape(first, second, expected):
    found = common_shape(first, second)
    assert found == expected or tuple(n for n in found if n > 1) == expected
    if found is not None:
        array = np.arange(np.prod(first)).reshape(first)
        np.testing.assert_array_equal(split_view(array, found).ravel(), array.ravel())
