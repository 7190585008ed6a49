"""Transposes, statistics and reductions in native code, against float64 and against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from executor_program_maker import TARGET, psum, sbuf

from axonc.backends.executor.memory.memory import MemorySystem
from axonc.backends.executor.native.native_code import has_wide_vectors
from axonc.backends.executor.native.native_rows import bind_finite_transpose, bind_rows
from axonc.backends.isa import instruction
from axonc.backends.numerics.dtypes import BF16, F16, F32
from axonc.backends.targets.target import Engine

pytestmark = pytest.mark.skipif(not has_wide_vectors(), reason="this CPU has no 512-bit vectors")


def finish(made, memory: MemorySystem) -> None:
    closure = bind_rows(made, memory)
    assert closure is not None
    closure()


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (16, 16), (128, 128), (5, 33), (100, 17)])
def test_transpose(dtype, rows, columns):
    rng = np.random.default_rng(rows)
    source = rng.standard_normal((rows, columns + 5)).astype(dtype.numpy)[:, 2 : columns + 2]
    source[0, 0] = -0.0
    memory = np.full((columns + 1, rows + 3), -7, np.float32)
    run = bind_finite_transpose(source, memory[:columns, 1 : rows + 1], dtype)
    assert run is not None and run()
    np.testing.assert_array_equal(memory[:columns, 1 : rows + 1], source.T.astype(np.float32))
    assert not np.signbit(memory[0, 1])
    memory[:columns, 1 : rows + 1] = -7
    assert (memory == -7).all()


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (20, 36), (7, 16)])
def test_a_value_that_is_not_finite_is_told(dtype, bad, place):
    source, target = np.ones((21, 37), dtype.numpy), np.zeros((37, 21), np.float32)
    run = bind_finite_transpose(source, target, dtype)
    assert run is not None and run()
    source[place] = bad
    assert not run()
    source[place] = 3e38
    assert run()


def test_other_types_and_layouts_are_left_to_numpy():
    target = np.zeros((8, 8), np.float32)
    assert bind_finite_transpose(np.zeros((8, 8), np.float16), target, F16) is None
    assert bind_finite_transpose(np.zeros((8, 16), np.float32)[:, ::2], target, F32) is None


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("size", [33, 48, 512])
def test_statistics(dtype, size):
    memory = MemorySystem(TARGET, ())
    source, target = sbuf(0, size, dtype=dtype), sbuf(4096, 6)
    values = np.random.default_rng(size).standard_normal((128, size)) * 2 + 5
    memory.view(source)[...] = values
    finish(instruction("bn_stats", Engine.VECTOR, {"dst": target, "src": source}), memory)
    stored = memory.view(source).astype(np.float64)
    for first in (0, 1):
        part, found = stored[:, first::2], memory.view(target)[:, 3 * first : 3 * first + 3]
        np.testing.assert_array_equal(found[:, 0], part.shape[1])
        np.testing.assert_allclose(found[:, 1], part.mean(axis=1), rtol=1e-6)
        squares = np.square(part - part.mean(axis=1, keepdims=True)).sum(axis=1)
        np.testing.assert_allclose(found[:, 2], squares, rtol=1e-5)


REFERENCES = {"add": np.sum, "max": np.max, "min": np.min}


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("op", REFERENCES)
@pytest.mark.parametrize("negate", [False, True])
@pytest.mark.parametrize(
    ("source_dims", "target_dims"),
    [
        (((1, 100),), ((1, 1),)),
        (((40, 9), (1, 37)), ((1, 9),)),
        (((24, 9), (8, 3), (1, 8)), ((5, 9),)),
    ],
)
def test_reductions(dtype, op, negate, source_dims, target_dims):
    axes = len(source_dims) - (len(source_dims) > 1)
    memory = MemorySystem(TARGET, ())
    source = psum(512, dims=source_dims, dtype=dtype)
    target = sbuf(0, dims=target_dims)
    memory.view(source)[...] = np.random.default_rng(0).standard_normal(source.shape) - 3
    memory.view(source)[3].reshape(-1)[0] = np.nan
    operands = {"dst": target, "src": source}
    fields = {"op": op, "num_axes": axes, "negate": negate}
    finish(instruction("tensor_reduce", Engine.VECTOR, operands, fields), memory)
    stored = memory.view(source).astype(np.float64)
    expected = REFERENCES[op](
        stored.reshape(128, *source.shape[1 : len(source.shape) - axes], -1), -1
    )
    expected = np.broadcast_to(-expected if negate else expected, expected.shape)
    found = memory.view(target).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_small_or_strided_rows_are_left_to_numpy():
    memory = MemorySystem(TARGET, ())

    def bound(mnemonic, source, target, fields=None):
        made = instruction(mnemonic, Engine.VECTOR, {"dst": target, "src": source}, fields or {})
        return bind_rows(made, memory)

    assert bound("bn_stats", sbuf(0, 31), sbuf(4096, 6)) is None
    assert bound("bn_stats", sbuf(0, dims=((2, 64),)), sbuf(4096, 6)) is None
    assert bound("tensor_reduce", sbuf(0, 64), sbuf(4096, 1), {"op": "multiply"}) is None
    assert bound("tensor_reduce", sbuf(0, 20, 3), sbuf(4096, 20), {"op": "add"}) is None
    assert bound("tensor_reduce", sbuf(0, 64), sbuf(4, 1), {"op": "add"}) is None
