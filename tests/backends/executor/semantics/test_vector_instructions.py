"""Copies, reductions, scans, statistics and partition moves of VectorE."""

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest

from axonc.backends.executor.semantics import EngineState
from axonc.backends.isa.vector import mask_words
from axonc.backends.numerics.cast import from_float32, to_float32
from axonc.backends.numerics.dtypes import DTYPES

Execute = Callable[..., dict[str, np.ndarray]]

RNG = np.random.default_rng(23)
EDGES = np.array([[0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, 3.4028235e38, -1.5]], np.float32)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("dtype", sorted(set(DTYPES) - {"tf32"}))
def test_copy_of_equal_types_keeps_every_bit(execute: Execute, dtype: str) -> None:
    kind = DTYPES[dtype].numpy
    bits = RNG.integers(0, 256, (4, 64 * kind.itemsize), dtype=np.uint8)
    source = bits.view(kind)
    found = execute("tensor_copy", {"src": source}, {"dst": ((4, 64), dtype)})["dst"]
    assert found.tobytes() == source.tobytes()


def test_copy_between_types_goes_through_float32(execute: Execute) -> None:
    words = np.array([[2**24 + 1, 2**31 - 1, -5]], np.int32)
    found = execute("tensor_copy", {"src": words}, {"dst": ((1, 3), "u32")})["dst"]
    assert found.tolist() == [[2**24, 2**31, 0]]
    halves = execute("tensor_copy", {"src": EDGES}, {"dst": ((1, 8), "f16")})["dst"]
    expected = np.array([[0.0, -0.0, np.inf, -np.inf, np.nan, 0.0, np.inf, -1.5]], np.float16)
    assert np.array_equal(halves, expected, equal_nan=True)


@pytest.mark.parametrize("reverse", [False, True])
def test_predicated_copy(execute: Execute, reverse: bool) -> None:
    source = RNG.integers(-(2**31), 2**31, (4, 3, 2), dtype=np.int32)
    old = RNG.integers(-(2**31), 2**31, (4, 6), dtype=np.int32)
    predicate = np.array([[0, 1, 255, 0, 2, 0]] * 4, np.uint8)
    found = execute(
        "tensor_copy_predicated",
        {"dst": old, "src": source, "predicate": predicate},
        {"dst": ((4, 6), "i32")},
        reverse_predicate=reverse,
    )["dst"]
    taken = [0, 3, 5] if reverse else [1, 2, 4]
    for column in range(6):
        wanted = source.reshape(4, 6) if column in taken else old
        assert np.array_equal(found[:, column], wanted[:, column])


@pytest.mark.parametrize("with_tile", [False, True])
def test_select(execute: Execute, with_tile: bool) -> None:
    on_true = from_float32(normal(2, 5), DTYPES["bf16"])
    predicate = np.array([[1, 0, -1, 0, 2], [0, 0, 1, 1, 0]], np.int8)
    tile = np.array([[-9.0], [4.0]], np.float32)
    reads = {"on_true": on_true, "predicate": predicate} | ({"on_false": tile} if with_tile else {})
    found = execute("select_reduce", reads, {"dst": ((2, 5), "f32")}, imm_false=-3.4e38)["dst"]
    for row in range(2):
        for column in range(5):
            other = tile[row, 0] if with_tile else np.float32(-3.4e38)
            wanted = on_true[row, column] if predicate[row, column] else other
            assert found[row, column] == np.float32(wanted)


@pytest.mark.parametrize(
    ("dtype", "bits", "value"),
    [("f32", 0x3FC00000, 1.5), ("bf16", 0xFF80, -np.inf), ("i32", 2**32 - 2, -2), ("u8", 7, 7)],
)
def test_memset(execute: Execute, dtype: str, bits: int, value: float) -> None:
    found = execute("memset", {}, {"dst": ((3, 2, 4), dtype)}, value_bits=bits)["dst"]
    assert found.shape == (3, 2, 4) and (found == value).all()


def test_reciprocal_is_correctly_rounded(execute: Execute) -> None:
    x = np.concatenate((normal(1, 1000), EDGES), axis=1)
    found = execute("reciprocal", {"src": x}, {"dst": (x.shape, "f32")})["dst"]
    with np.errstate(all="ignore"):
        expected = (1 / x.astype(np.float64)).astype(np.float32)
    assert np.array_equal(found, expected, equal_nan=True)
    assert np.signbit(found[0, 1001])  # 1 / -0


REDUCERS = {
    "add": lambda row: math.fsum(row),
    "subtract": lambda row: row[0] - math.fsum(row[1:]),
    "multiply": lambda row: math.prod(row),
    "max": max,
    "min": min,
    "logical_and": lambda row: float(all(row)),
    "logical_or": lambda row: float(any(row)),
    "logical_xor": lambda row: float(sum(v != 0 for v in row) % 2),
}


@pytest.mark.parametrize("negate", [False, True])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("op", sorted(REDUCERS))
def test_reduce(execute: Execute, op: str, axes: int, negate: bool) -> None:
    """float32 sums of up to 60 terms: 60 * 2^-24 relative to the sum of magnitudes."""
    x = normal(4, 3, 4, 5)
    x[:, 1] = np.where(x[:, 1] > 0, x[:, 1], 0)
    kept = x.shape[: 4 - axes]
    found = execute(
        "tensor_reduce",
        {"src": x},
        {"dst": ((4, math.prod(kept[1:])), "f32")},
        op=op,
        num_axes=axes,
        negate=negate,
    )["dst"].reshape(-1)
    rows = x.astype(np.float64).reshape(math.prod(kept), -1)
    for row, value in zip(rows.tolist(), found.tolist(), strict=True):
        expected = -REDUCERS[op](row) if negate else REDUCERS[op](row)
        scale = abs(expected) if op == "multiply" else sum(map(abs, row))
        assert abs(value - expected) <= len(row) * 2.0**-24 * max(scale, abs(expected))


@pytest.mark.parametrize(
    ("op", "function"),
    [
        ("bitwise_and", lambda a, b: a & b),
        ("bitwise_or", lambda a, b: a | b),
        ("bitwise_xor", lambda a, b: a ^ b),
    ],
)
def test_reduce_bits(execute: Execute, op: str, function: Callable) -> None:
    x = RNG.integers(-(2**31), 2**31, (4, 7), dtype=np.int32) | 0x10
    found = execute("tensor_reduce", {"src": x}, {"dst": ((4, 1), "i32")}, op=op)["dst"]
    assert found.reshape(-1).tolist() == [functools.reduce(function, row) for row in x.tolist()]


def test_reduce_propagates_nan_and_infinity(execute: Execute) -> None:
    x = np.array([[1.0, np.nan], [np.inf, -np.inf], [np.inf, 1.0]], np.float32)
    for op, expected in (
        ("max", [np.nan, np.inf, np.inf]),
        ("add", [np.nan, np.nan, np.inf]),
    ):
        found = execute("tensor_reduce", {"src": x}, {"dst": ((3, 1), "f32")}, op=op)["dst"]
        assert np.array_equal(found.reshape(-1), np.array(expected, np.float32), equal_nan=True)


@pytest.mark.parametrize("with_tile", [False, True])
@pytest.mark.parametrize(
    ("op0", "op1"), [("multiply", "add"), ("max", "subtract"), ("subtract", "min")]
)
def test_scan(execute: Execute, op0: str, op1: str, with_tile: bool) -> None:
    a, b = normal(3, 2, 8), normal(3, 16)
    initial = np.array([[0.5], [-1.0], [2.0]], np.float32)
    reads = {"src0": a, "src1": b} | ({"initial": initial} if with_tile else {})
    found = execute(
        "tensor_tensor_scan", reads, {"dst": ((3, 16), "f32")}, op0=op0, op1=op1, imm_initial=1.25
    )["dst"]
    scalar = {
        "multiply": lambda x, y: x * y,
        "add": lambda x, y: x + y,
        "subtract": lambda x, y: x - y,
        "max": max,
        "min": min,
    }
    for row in range(3):
        state = float(initial[row, 0]) if with_tile else 1.25
        for column in range(16):
            left = float(a.reshape(3, 16)[row, column])
            middle = float(np.float32(scalar[op0](left, state)))
            state = float(np.float32(scalar[op1](middle, float(b[row, column]))))
            assert found[row, column] == state


@pytest.mark.parametrize("size", [1, 2, 7, 512])
def test_bn_stats_of_even_and_odd_elements(execute: Execute, size: int) -> None:
    x = normal(4, size) * 3 + 100
    found = execute("bn_stats", {"src": x}, {"dst": ((4, 6), "f32")})["dst"]
    for row in range(4):
        for first in (0, 1):
            part = x[row, first::2].astype(np.float64)
            count, mean, squares = found[row, 3 * first : 3 * first + 3].tolist()
            assert count == part.size
            if part.size:
                assert abs(mean - part.mean()) <= 1e-6 * 110
                assert abs(squares - ((part - part.mean()) ** 2).sum()) <= 1e-5 * (
                    1 + part.size * 9
                )
            else:
                assert (mean, squares) == (0.0, 0.0)


@pytest.mark.parametrize("sizes", [[512], [512, 512, 300], [1], [3, 1]])
def test_bn_aggr_merges(execute: Execute, sizes: list[int]) -> None:
    parts = [normal(4, size) * (i + 1) + 5 * i for i, size in enumerate(sizes)]
    stats = [execute("bn_stats", {"src": p}, {"dst": ((4, 6), "f32")})["dst"] for p in parts]
    triples = np.concatenate(stats, axis=1)
    found = execute("bn_aggr", {"src": triples}, {"dst": ((4, 2), "f32")})["dst"]
    whole = np.concatenate(parts, axis=1).astype(np.float64)
    assert np.allclose(found[:, 0], whole.mean(axis=1), rtol=1e-5, atol=1e-6)
    assert np.allclose(found[:, 1], whole.var(axis=1), rtol=1e-5, atol=1e-6)


def test_transpose_of_one_block_and_of_many(execute: Execute) -> None:
    small = from_float32(normal(20, 7), DTYPES["bf16"])
    found = execute("vector_transpose", {"src": small}, {"dst": ((7, 20), "bf16")})["dst"]
    assert np.array_equal(found, small.T)
    large = RNG.integers(0, 2**16, (64, 96), dtype=np.uint16)
    found = execute("vector_transpose", {"src": large}, {"dst": ((64, 96), "u16")})["dst"]
    for row in range(0, 64, 32):
        for column in range(0, 96, 32):
            block = (slice(row, row + 32), slice(column, column + 32))
            assert np.array_equal(found[block], large[block].T)


def test_shuffle_permutes_broadcasts_and_keeps(execute: Execute) -> None:
    mask = [31 - i for i in range(32)]
    mask[3], mask[7] = 255, 0
    source = RNG.integers(0, 256, (64, 2, 3), dtype=np.uint8)
    old = RNG.integers(0, 256, (64, 6), dtype=np.uint8)
    found = execute(
        "stream_shuffle",
        {"dst": old, "src": source},
        {"dst": ((64, 6), "u8")},
        **mask_words(mask),
    )["dst"]
    for partition in range(64):
        quadrant, place = divmod(partition, 32)
        wanted = old[partition]
        if mask[place] != 255:
            wanted = source.reshape(64, 6)[32 * quadrant + mask[place]]
        assert np.array_equal(found[partition], wanted)


def test_shuffle_of_fewer_than_32_partitions(execute: Execute) -> None:
    source, old = normal(4, 3), normal(4, 3)
    mask = [1, 0, 3, 2] + [255] * 28
    found = execute(
        "stream_shuffle", {"dst": old, "src": source}, {"dst": ((4, 3), "f32")}, **mask_words(mask)
    )["dst"]
    assert np.array_equal(found, source[[1, 0, 3, 2]])


def test_random_bits_depend_on_the_seed_only(execute: Execute) -> None:
    def draw(seed: int, dtype: str) -> np.ndarray:
        state = EngineState()
        seeds = {"src": np.array([[seed]], np.uint32)}
        assert execute("set_rng_seed", seeds, {}, state=state) == {}
        return execute("rng", {}, {"dst": ((128, 64), dtype)}, state=state)["dst"]

    first = draw(1, "u32")
    assert np.array_equal(first, draw(1, "u32"))
    assert not np.array_equal(first, draw(2, "u32"))
    assert np.array_equal(draw(1, "u16"), (first & 0xFFFF).astype(np.uint16))
    assert np.array_equal(draw(1, "i8").view(np.uint8), (first & 0xFF).astype(np.uint8))
    means = [((first >> bit) & 1).mean() for bit in range(32)]  # 8192 draws: deviation 0.0055
    assert max(abs(mean - 0.5) for mean in means) < 0.03


def test_random_bits_continue(execute: Execute) -> None:
    state = EngineState()
    one, two = (execute("rng", {}, {"dst": ((2, 8), "u32")}, state=state)["dst"] for _ in "ab")
    assert not np.array_equal(one, two)


def test_float8_survives_the_vector_engine(execute: Execute) -> None:
    """Doubling and halving a value of every 8-bit format gives it back."""
    for name in ("f8e5m2", "f8e4m3", "f8e3m4"):
        stored = from_float32(np.array([[0.5, -1.5, 3.0]], np.float32), DTYPES[name])
        found = execute(
            "tensor_scalar",
            {"src": stored},
            {"dst": ((1, 3), name)},
            op0="multiply",
            imm0=2.0,
            op1="multiply",
            imm1=0.5,
        )["dst"]
        assert to_float32(found, DTYPES[name]).tolist() == [[0.5, -1.5, 3.0]]
