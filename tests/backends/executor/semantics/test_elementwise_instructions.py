"""tensor_tensor, tensor_scalar and scalar_tensor_tensor: casts, scalars, order, integers."""

from collections.abc import Callable

import numpy as np
import pytest

from axonc.backends.isa.alu import ALU_OPS, AluKind
from axonc.backends.numerics.cast import from_float32, to_float32
from axonc.backends.numerics.dtypes import DTYPES
from axonc.backends.targets import Engine
from axonc.diagnostics import ExecutionError

Execute = Callable[..., dict[str, np.ndarray]]

RNG = np.random.default_rng(17)
SHAPE = (4, 6)
BINARY = [op.name for op in ALU_OPS if op.kind is not AluKind.BITVEC and op.arity == 2]


def values(dtype: str, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return from_float32((RNG.standard_normal(shape) * 6).astype(np.float32), DTYPES[dtype])


def as64(array: np.ndarray) -> np.ndarray:
    return np.asarray(array).astype(np.float64)


def down(array: np.ndarray, dtype: str) -> np.ndarray:
    """float64 -> float32 -> dtype: what one float32 operation and the store do."""
    return from_float32(array.astype(np.float32), DTYPES[dtype])


@pytest.mark.parametrize("dst", ["f32", "bf16", "f16", "f8e4m3", "i32", "u8"])
@pytest.mark.parametrize(
    "sources", [("f32", "f32"), ("bf16", "f16"), ("i8", "f32"), ("u16", "i16")]
)
def test_tensor_tensor_computes_in_float32_and_casts_once(
    execute: Execute, sources: tuple[str, str], dst: str
) -> None:
    a, b = values(sources[0]), values(sources[1])
    for op, expected in (
        ("add", as64(a) + as64(b)),
        ("multiply", as64(a) * as64(b)),
        ("is_lt", (as64(a) < as64(b)).astype(np.float64)),
    ):
        found = execute("tensor_tensor", {"src0": a, "src1": b}, {"dst": (SHAPE, dst)}, op=op)
        assert np.array_equal(found["dst"], down(expected, dst))


def test_tensor_tensor_free_dims_may_be_split_differently(execute: Execute) -> None:
    a, b = values("f32", (4, 2, 3)), values("f32", (4, 6))
    found = execute("tensor_tensor", {"src0": a, "src1": b}, {"dst": ((4, 3, 2), "f32")}, op="add")
    assert np.array_equal(found["dst"].reshape(4, 6), a.reshape(4, 6) + b)


def test_vector_engine_loses_integers_above_2_to_24_and_gpsimd_does_not(execute: Execute) -> None:
    a = np.array([[2**24 + 1, 2**31 - 1]], np.int32)
    b = np.array([[2, 1]], np.int32)
    reads, writes = {"src0": a, "src1": b}, {"dst": ((1, 2), "i32")}
    vector = execute("tensor_tensor", reads, writes, op="add")["dst"]
    assert vector.tolist() == [[2**24 + 2, 2**31 - 1]]  # rounded to even; saturated
    exact = execute("tensor_tensor", reads, writes, op="add", engine=Engine.GPSIMD)["dst"]
    assert exact.tolist() == [[2**24 + 3, -(2**31)]]
    product = execute("tensor_tensor", reads, writes, op="multiply", engine=Engine.GPSIMD)["dst"]
    assert product.tolist() == [[2 * (2**24 + 1), 2**31 - 1]]


def test_gpsimd_needs_words_everywhere_to_be_exact(execute: Execute) -> None:
    a = np.array([[2**24 + 1]], np.int32)
    writes = {"dst": ((1, 1), "f32")}
    found = execute(
        "tensor_tensor", {"src0": a, "src1": a}, writes, op="subtract", engine=Engine.GPSIMD
    )
    assert found["dst"].tolist() == [[0.0]]
    smaller = {"src0": a, "src1": np.array([[2**24]], np.int32)}
    found = execute("tensor_tensor", smaller, writes, op="is_equal", engine=Engine.GPSIMD)
    assert found["dst"].tolist() == [[1.0]]  # both round to 2^24


def test_gpsimd_unsigned_words(execute: Execute) -> None:
    a = np.array([[2**32 - 1, 5]], np.uint32)
    b = np.array([[2, 7]], np.uint32)
    for op, expected in (
        ("add", [1, 12]),
        ("subtract", [2**32 - 3, 2**32 - 2]),
        ("max", [2**32 - 1, 7]),
    ):
        found = execute(
            "tensor_tensor",
            {"src0": a, "src1": b},
            {"dst": ((1, 2), "u32")},
            op=op,
            engine=Engine.GPSIMD,
        )
        assert found["dst"].tolist() == [expected]


def test_bit_operators_keep_storage(execute: Execute) -> None:
    a = np.array([[-1, 2**31 - 1, 0x12345678]], np.int32)
    b = np.array([[4, 8, 33]], np.int32)
    writes = {"dst": ((1, 3), "i32")}
    reads = {"src0": a, "src1": b}
    shifted = execute("tensor_tensor", reads, writes, op="logical_shift_right")["dst"]
    assert shifted.tolist() == [[(2**32 - 1) >> 4, (2**31 - 1) >> 8, 0]]
    left = execute("tensor_tensor", reads, writes, op="logical_shift_left")["dst"]
    assert left.tolist() == [[-16, -256, 0]]
    mixed = execute("tensor_tensor", reads, writes, op="bitwise_xor")["dst"]
    assert mixed.tolist() == [[-5, 2**31 - 1 - 8, 0x12345678 ^ 33]]


@pytest.mark.parametrize("op0", BINARY)
@pytest.mark.parametrize("reverse0", [False, True])
def test_tensor_scalar_operators_and_order(execute: Execute, op0: str, reverse0: bool) -> None:
    x = np.abs(values("f32")) + 0.5
    scalar = np.array([[0.5], [-1.5], [2.0], [3.25]], np.float32)
    found = execute(
        "tensor_scalar",
        {"src": x, "scalar0": scalar},
        {"dst": (SHAPE, "f32")},
        op0=op0,
        reverse0=reverse0,
    )["dst"]
    spread = np.broadcast_to(scalar, SHAPE).copy()
    pair = {"src0": spread, "src1": x} if reverse0 else {"src0": x, "src1": spread}
    expected = execute("tensor_tensor", pair, {"dst": (SHAPE, "f32")}, op=op0)["dst"]
    assert np.array_equal(found, expected, equal_nan=True)


def test_tensor_scalar_two_operators_round_between(execute: Execute) -> None:
    x = values("bf16", (4, 2, 3))
    scalar = np.array([[1.1], [2.2], [-3.3], [4.4]], np.float32)
    found = execute(
        "tensor_scalar",
        {"src": x, "scalar1": scalar},
        {"dst": ((4, 2, 3), "bf16")},
        op0="subtract",
        imm0=0.3,
        reverse0=True,
        op1="divide",
        reverse1=True,
    )["dst"]
    first = (as64(np.float32(0.3)) - as64(x)).astype(np.float32)
    with np.errstate(divide="ignore"):
        second = as64(scalar.reshape(4, 1, 1)) / as64(first)
    assert np.array_equal(found, down(second, "bf16"))


@pytest.mark.parametrize(
    ("op", "expected"), [("abs", [2.5, 4.0]), ("relu", [0.0, 4.0]), ("square", [6.25, 16.0])]
)
def test_unary_operators_ignore_scalar_and_order(
    execute: Execute, op: str, expected: list[float]
) -> None:
    x = np.array([[-2.5, 4.0]], np.float32)
    for reverse in (False, True):
        found = execute(
            "tensor_scalar",
            {"src": x},
            {"dst": ((1, 2), "f32")},
            op0=op,
            imm0=9.0,
            reverse0=reverse,
            op1="bypass",
            imm1=3.0,
            reverse1=reverse,
        )
        assert found["dst"].tolist() == [expected]


def test_tensor_scalar_copies_when_both_operators_bypass(execute: Execute) -> None:
    x = values("f32")
    found = execute("tensor_scalar", {"src": x}, {"dst": (SHAPE, "f16")}, op0="bypass")
    assert np.array_equal(found["dst"], from_float32(x, DTYPES["f16"]))


def test_tensor_scalar_bits(execute: Execute) -> None:
    x = np.array([[0xF0F0, 0x1234]], np.uint16)
    found = execute(
        "tensor_scalar",
        {"src": x},
        {"dst": ((1, 2), "u16")},
        op0="logical_shift_right",
        imm0=4.0,
        op1="bitwise_and",
        imm1=255.0,
    )
    assert found["dst"].tolist() == [[0x0F, 0x23]]
    reverse = execute(
        "tensor_scalar",
        {"src": np.array([[3, 16]], np.uint16)},
        {"dst": ((1, 2), "u16")},
        op0="logical_shift_left",
        imm0=1.0,
        reverse0=True,
    )
    assert reverse["dst"].tolist() == [[8, 0]]
    tile = execute(
        "tensor_scalar",
        {"src": np.array([[-1], [6]], np.int32), "scalar0": np.array([[255], [3]], np.int32)},
        {"dst": ((2, 1), "i32")},
        op0="bitwise_and",
    )
    assert tile["dst"].tolist() == [[255], [2]]
    negative = execute(
        "tensor_scalar",
        {"src": np.array([[5]], np.int32)},
        {"dst": ((1, 1), "i32")},
        op0="bitwise_xor",
        imm0=-1.0,
    )
    assert negative["dst"].tolist() == [[-6]]


def test_bit_immediates_must_be_whole(execute: Execute) -> None:
    with pytest.raises(ExecutionError, match="immediate 1.5 of bitwise_and is not an integer"):
        execute(
            "tensor_scalar",
            {"src": np.array([[5]], np.int32)},
            {"dst": ((1, 1), "i32")},
            op0="bitwise_and",
            imm0=1.5,
        )


def test_tensor_scalar_exact_on_gpsimd(execute: Execute) -> None:
    x = np.array([[2**24 + 1], [-7]], np.int32)
    scalar = np.array([[3], [2]], np.int32)
    found = execute(
        "tensor_scalar",
        {"src": x, "scalar0": scalar},
        {"dst": ((2, 1), "i32")},
        op0="multiply",
        op1="subtract",
        imm1=1.0,
        reverse1=True,
        engine=Engine.GPSIMD,
    )
    assert found["dst"].tolist() == [[1 - 3 * (2**24 + 1)], [15]]
    halves = execute(
        "tensor_scalar",
        {"src": x},
        {"dst": ((2, 1), "i32")},
        op0="multiply",
        imm0=0.5,
        engine=Engine.GPSIMD,
    )
    assert halves["dst"].tolist() == [[2**23], [-4]]  # -3.5 to even


@pytest.mark.parametrize("reverse0", [False, True])
@pytest.mark.parametrize("reverse1", [False, True])
@pytest.mark.parametrize("with_tile", [False, True])
def test_scalar_tensor_tensor(
    execute: Execute, reverse0: bool, reverse1: bool, with_tile: bool
) -> None:
    a, b = values("bf16"), values("f16")
    scalar = np.array([[0.5], [-1.5], [2.0], [3.25]], np.float32)
    reads = {"src0": a, "src1": b} | ({"scalar": scalar} if with_tile else {})
    found = execute(
        "scalar_tensor_tensor",
        reads,
        {"dst": (SHAPE, "f32")},
        op0="subtract",
        imm=1.7,
        reverse0=reverse0,
        op1="subtract",
        reverse1=reverse1,
    )["dst"]
    s = as64(scalar) if with_tile else as64(np.float32(1.7))
    first = (s - as64(a)) if reverse0 else (as64(a) - s)
    first = as64(first.astype(np.float32))
    expected = (as64(b) - first) if reverse1 else (first - as64(b))
    assert np.array_equal(found, expected.astype(np.float32))


def test_scalar_operand_of_another_type_is_cast_up(execute: Execute) -> None:
    found = execute(
        "tensor_scalar",
        {"src": np.array([[1.0]], np.float32), "scalar0": np.array([[3]], np.int32)},
        {"dst": ((1, 1), "f32")},
        op0="add",
    )
    assert found["dst"].tolist() == [[4.0]]
    assert to_float32(np.array([[3]], np.int32), DTYPES["i32"]).tolist() == [[3.0]]
