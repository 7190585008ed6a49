"""Elementwise instructions in native code: the bits of numpy, in every layout it takes."""

from __future__ import annotations

import numpy as np
import pytest
from executor_program_maker import TARGET, psum, sbuf

from axonc.backends.executor.effects.bind import bind
from axonc.backends.executor.effects.bindings import Bindings
from axonc.backends.executor.memory.memory import MemorySystem
from axonc.backends.executor.native.native_code import has_wide_vectors
from axonc.backends.executor.native.native_elementwise import bind_elementwise
from axonc.backends.executor.semantics import EngineState
from axonc.backends.isa import instruction
from axonc.backends.isa.access_pattern import Memory
from axonc.backends.numerics.dtypes import BF16, F16, F32
from axonc.backends.targets.target import Engine

pytestmark = pytest.mark.skipif(not has_wide_vectors(), reason="this CPU has no 512-bit vectors")

ROW = 4096
"""Bytes of SBUF and PSUM per partition that the tests look at."""

A, B, C = sbuf(0, 45), sbuf(256, 45), sbuf(1024, 45)
COLUMN, OTHER = sbuf(2048, 1), sbuf(2052, 1)
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, -3e38, 3.4e38, 1.00390625, 1.01171875]


def some_memory() -> MemorySystem:
    """float32 numbers of every kind in SBUF and PSUM; bf16 operands see their halves."""
    memory = MemorySystem(TARGET, ())
    rng = np.random.default_rng(5)
    for array in memory.on_chip.values():
        values = rng.standard_normal((128, ROW // 4)).astype(np.float32)
        places = rng.integers(0, values.size, (len(SPECIAL), 300))
        for special, place in zip(SPECIAL, places, strict=True):
            values.reshape(-1)[place] = special
        array[:, :ROW] = values.view(np.uint8)
    return memory


def memory_after(made, allow_native: bool) -> np.ndarray:
    """SBUF and PSUM after the instruction."""
    memory = some_memory()
    states = {engine: EngineState() for engine in Engine}
    bindings = Bindings(TARGET, memory, states, allow_native=allow_native)
    with np.errstate(all="ignore"):
        bind(made, bindings)()
    return np.concatenate([memory.on_chip[m][:, :ROW] for m in (Memory.SBUF, Memory.PSUM)])


def is_native(made) -> bool:
    return bind_elementwise(made, some_memory()) is not None


def assert_same(made, dtype=np.float32) -> None:
    """Native code does it and gives numpy's values, zeros' signs aside, all NaN alike."""
    assert is_native(made)
    found, expected = (memory_after(made, native).view(dtype) for native in (True, False))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(found.astype(np.float64), expected.astype(np.float64))


def tensor_tensor(destination, first, second, op="add"):
    operands = {"dst": destination, "src0": first, "src1": second}
    return instruction("tensor_tensor", Engine.VECTOR, operands, {"op": op})


@pytest.mark.parametrize("op", ["add", "subtract", "multiply", "divide", "max", "min"])
@pytest.mark.parametrize("destination", [C, A, B])
def test_tensor_tensor(op, destination):
    assert_same(tensor_tensor(destination, A, B, op))


def test_numpy_takes_what_native_code_does_not():
    shifted = sbuf(4, 45)
    assert not is_native(tensor_tensor(shifted, A, B))  # results would be read again
    assert not is_native(tensor_tensor(C, A, B, "pow"))
    half = sbuf(1024, 45, dtype=F16)
    assert not is_native(tensor_tensor(half, A, B))
    small = [sbuf(offset, 45, partitions=32) for offset in (0, 256, 1024)]
    assert not is_native(tensor_tensor(*small))
    every_second = sbuf(1024, 45, dims=((2, 45),))
    assert not is_native(tensor_tensor(every_second, A, B))


@pytest.mark.parametrize("narrow", [(0,), (1,), (2,), (0, 1, 2)])
def test_bf16_operands(narrow):
    tiles = [
        sbuf(offset, 45, dtype=BF16 if n in narrow else F32)
        for n, offset in enumerate((1024, 0, 256))
    ]
    assert_same(tensor_tensor(*tiles), BF16.numpy if 0 in narrow else np.float32)


@pytest.mark.parametrize(
    ("destination", "source"),
    [
        (sbuf(1024, 5, 9), psum(0, 5, 9, dims=((16, 5), (1, 9)))),
        (psum(1024, 45), sbuf(0, 5, 9, dims=((9, 5), (1, 9)))),
        (sbuf(1024, 5, 9, dims=((20, 5), (1, 9))), psum(128, 45)),
        (sbuf(1024, 300, partitions=14, start=3), sbuf(1024 + 1200, 300, partitions=14, start=3)),
        (sbuf(1024, 45, 1, partitions=96, start=32), psum(64, 1, 45, partitions=96)),
    ],
)
def test_layouts(destination, source):
    made = instruction("tensor_copy", Engine.VECTOR, {"dst": destination, "src": source})
    scaled = instruction(
        "activation", Engine.SCALAR, {"dst": destination, "src": source}, {"scale": -1.5}
    )
    assert_same(made)
    assert_same(scaled)


@pytest.mark.parametrize(
    "each",
    [
        sbuf(2048, dims=((1, 5), (0, 9))),
        sbuf(2048, dims=((3, 5), (0, 9))),
        sbuf(2048, dims=((0, 45),)),
    ],
)
@pytest.mark.parametrize("destination", [sbuf(1024, 5, 9), sbuf(1024, dims=((16, 5), (1, 9)))])
def test_one_element_for_many(each, destination):
    source = psum(128, dims=((12, 5), (1, 9)))
    assert_same(tensor_tensor(destination, source, each, "subtract"))
    assert_same(tensor_tensor(destination, each, source, "subtract"))
    assert not is_native(tensor_tensor(sbuf(1024, dims=((1, 5), (0, 9))), source, source))
    narrow = sbuf(2048, dims=((1, 5), (0, 9)), dtype=BF16)
    assert not is_native(tensor_tensor(destination, source, narrow))


@pytest.mark.parametrize("op0", ["subtract", "multiply", "relu"])
@pytest.mark.parametrize("op1", ["bypass", "add", "divide"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("scalars", [{}, {"scalar0": COLUMN, "scalar1": OTHER}])
def test_tensor_scalar(op0, op1, reverse, scalars):
    fields = {"op0": op0, "op1": op1, "imm0": 0.3, "imm1": -1.5}
    fields |= {"reverse0": reverse, "reverse1": not reverse}
    assert_same(
        instruction("tensor_scalar", Engine.VECTOR, {"dst": C, "src": A, **scalars}, fields)
    )


@pytest.mark.parametrize("scalar", [{}, {"scalar": COLUMN}])
@pytest.mark.parametrize("reverse", [False, True])
def test_scalar_tensor_tensor(scalar, reverse):
    fields = {"op0": "subtract", "op1": "divide", "imm": 0.7}
    fields |= {"reverse0": reverse, "reverse1": not reverse}
    operands = {"dst": B, "src0": A, "src1": B, **scalar}
    assert_same(instruction("scalar_tensor_tensor", Engine.VECTOR, operands, fields))


def test_a_scalar_inside_of_the_destination_is_left_to_numpy():
    operands = {"dst": C, "src": A, "scalar0": sbuf(1028, 1)}
    fields = {"op0": "add", "op1": "bypass"}
    assert not is_native(instruction("tensor_scalar", Engine.VECTOR, operands, fields))


@pytest.mark.parametrize("func", ["copy", "exp", "gelu"])
def test_activation_with_row_sums(func):
    rng = np.random.default_rng(0)
    source, bias = rng.standard_normal((128, 150)), rng.standard_normal((128, 1))
    operands = {"dst": C, "src": sbuf(0, 150), "bias": COLUMN, "accumulate": OTHER}
    operands["dst"] = sbuf(1024, 150)
    made = instruction("activation", Engine.SCALAR, operands, {"func": func, "scale": 0.5})
    results = []
    for allow_native in (True, False):
        memory = some_memory()
        for access, values in ((operands["src"], source), (COLUMN, bias)):
            memory.view(access)[...] = values
        states = {engine: EngineState() for engine in Engine}
        bind(made, Bindings(TARGET, memory, states, allow_native=allow_native))()
        results.append([memory.view(operands[name]).copy() for name in ("dst", "accumulate")])
    assert is_native(made)
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=2e-5)
    np.testing.assert_allclose(
        results[0][1][:, 0], results[0][0].astype(np.float64).sum(axis=1), rtol=1e-6, atol=1e-5
    )


@pytest.mark.parametrize("threads", [2, 3])
def test_pieces_of_a_large_tile(threads):
    """Also in place, with scalars and sums of rows, and with few rows."""
    fields = {"func": "gelu", "scale": 0.5}
    for rows, size in ((128, 300), (5, 9000)):
        source = sbuf(8192, size, partitions=rows)
        columns = {
            name: sbuf(4 * n, 1, partitions=rows) for n, name in enumerate(("bias", "accumulate"))
        }
        operands = {"dst": source, "src": source, **columns}
        made = instruction("activation", Engine.SCALAR, operands, fields)
        results = []
        for count in (1, threads):
            memory = some_memory()
            memory.view(source)[...] = np.random.default_rng(1).standard_normal(source.shape)
            closure = bind_elementwise(made, memory, count)
            assert closure is not None
            closure()
            results.append(memory.on_chip[Memory.SBUF][:, : 4 * size + 8192])
        np.testing.assert_array_equal(*results)


def test_scale_tile_and_bias():
    operands = {"dst": C, "src": A, "scale_tile": COLUMN, "bias": OTHER}
    assert_same(instruction("activation", Engine.SCALAR, operands, {"func": "relu"}))
