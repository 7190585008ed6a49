"""Fast mode's transposes on the tensor engine: which are copies, with the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from executor_program_maker import ProgramMaker, psum, sbuf

from axonc.backends.executor.blocks.matmul_blocks import plan_blocks
from axonc.backends.executor.blocks.transposes import Transpose
from axonc.backends.executor.machine import Machine
from axonc.backends.executor.steps.findings import FindingError
from axonc.backends.numerics.dtypes import BF16, F32, DType
from axonc.backends.program import Program, TensorKind
from axonc.backends.targets.target import Engine

K, M = 128, 64
"""Partitions and columns of the tile that is transposed."""


def transposing(matrix: np.ndarray, kind: TensorKind, dtype: DType = F32) -> Program:
    """y [M, K] = x [K, M] transposed by `matrix` [K, K], a constant or an input."""
    maker = ProgramMaker()
    data = matrix.astype(dtype.numpy).tobytes() if kind is TensorKind.CONSTANT else None
    unit = maker.tensor("unit", kind, K, K, dtype=dtype, data=data)
    x = maker.tensor("x", TensorKind.INPUT, K, M, dtype=dtype)
    y = maker.tensor("y", TensorKind.OUTPUT, M, K)
    size = dtype.size_bytes
    tile, unit_tile = sbuf(0, M, dtype=dtype), sbuf(M * size, K, dtype=dtype)
    result, evicted = psum(0, K, partitions=M), sbuf(4096, K, partitions=M)
    loaded = [maker.load(tile, x), maker.load(unit_tile, unit)]
    for semaphore, value in loaded:
        fields = {"semaphore": semaphore, "value": value}
        maker.add("semaphore_wait", Engine.TENSOR, {}, fields)
    maker.add("load_stationary", Engine.TENSOR, {"stationary": tile})
    operands = {"dst": result, "moving": unit_tile}
    done = maker.add(
        "multiply_moving", Engine.TENSOR, operands, {"is_transpose": True}, signal=True
    )
    copied = maker.add(
        "tensor_copy", Engine.VECTOR, {"dst": evicted, "src": result}, waits=(done,), signal=True
    )
    maker.store(y, evicted, waits=(copied,))
    return maker.program()


def values(dtype: DType = F32) -> np.ndarray:
    """Numbers of many sizes, denormals, zeros of both signs."""
    rng = np.random.default_rng(3)
    made = rng.standard_normal((K, M)) * 10.0 ** rng.integers(-42, 18, (K, M))
    made[rng.random((K, M)) < 0.2] = -0.0
    return made.astype(dtype.numpy)


def transposes(machine: Machine) -> int:
    items = plan_blocks(machine._schedule().steps.prepared, machine._memory)
    return sum(isinstance(item, Transpose) for item in items)


@pytest.mark.parametrize("dtype", [F32, BF16])
def test_by_a_constant_unit_matrix_gives_the_bits_of_checked_mode(dtype):
    program = transposing(np.eye(K), TensorKind.CONSTANT, dtype)
    fast, checked = (Machine(program, mode=mode) for mode in ("fast", "checked"))
    assert transposes(fast) == 1
    for x in (values(dtype), values(dtype)[::-1].copy()):
        found, expected = (machine.run({"x": x})["y"] for machine in (fast, checked))
        np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))
        np.testing.assert_array_equal(found, x.T.astype(np.float32))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_values_that_are_not_finite_are_found_in_fast_mode(bad):
    machine = Machine(transposing(np.eye(K), TensorKind.CONSTANT))
    assert transposes(machine) == 1
    x = values()
    x[5, 7] = bad
    with pytest.raises(FindingError, match="infinities or NaN"):
        machine.run({"x": x})


def test_by_another_constant_matrix_is_a_product():
    matrix = np.roll(np.eye(K), 1, axis=1)
    machine = Machine(transposing(matrix, TensorKind.CONSTANT))
    assert transposes(machine) == 0
    x = values()
    np.testing.assert_array_equal(machine.run({"x": x})["y"], x.T @ matrix.astype(np.float32))


def test_by_a_matrix_of_the_host_is_looked_at_in_every_run():
    machine = Machine(transposing(np.eye(K), TensorKind.INPUT))
    assert transposes(machine) == 0
    x = values()
    for matrix in (np.eye(K, dtype=np.float32), np.roll(np.eye(K, dtype=np.float32), 1, axis=1)):
        found = machine.run({"x": x, "unit": matrix})["y"]
        np.testing.assert_array_equal(found, x.T @ matrix)
