"""GpSimdE: affine patterns, gathers, reductions across partitions."""

import functools
from collections.abc import Callable

import numpy as np
import pytest

from axonc.backends.numerics.cast import from_float32
from axonc.backends.numerics.dtypes import DTYPES
from axonc.backends.targets import Engine
from axonc.diagnostics import ExecutionError

Execute = Callable[..., dict[str, np.ndarray]]

RNG = np.random.default_rng(41)
SHAPE = (5, 2, 3, 4)
PATTERN = {"offset": -7, "channel_multiplier": 100, "step0": 13, "step1": -5, "step2": 2}


def affine(p: int, index: tuple[int, ...]) -> int:
    steps = (PATTERN["step0"], PATTERN["step1"], PATTERN["step2"])
    moved = sum(i * step for i, step in zip(index, steps, strict=True))
    return PATTERN["offset"] + p * PATTERN["channel_multiplier"] + moved


def expected_pattern() -> np.ndarray:
    values = [affine(index[0], index[1:]) for index in np.ndindex(*SHAPE)]
    return np.array(values, np.int64).reshape(SHAPE)


@pytest.mark.parametrize("dtype", ["i32", "f32", "bf16", "i16", "u8", "u32"])
def test_iota(execute: Execute, dtype: str) -> None:
    found = execute("iota", {}, {"dst": (SHAPE, dtype)}, engine=Engine.GPSIMD, **PATTERN)["dst"]
    expected = expected_pattern()
    if dtype in ("i32", "u32"):
        assert np.array_equal(
            found.astype(np.int64), expected % 2**32 if dtype == "u32" else expected
        )
    else:
        assert np.array_equal(found, from_float32(expected.astype(np.float32), DTYPES[dtype]))


def test_iota_wraps_and_keeps_large_integers(execute: Execute) -> None:
    found = execute(
        "iota",
        {},
        {"dst": ((2, 2), "i32")},
        engine=Engine.GPSIMD,
        offset=2**31 - 2,
        channel_multiplier=1,
        step0=1,
    )["dst"]
    assert found.tolist() == [[2**31 - 2, 2**31 - 1], [2**31 - 1, -(2**31)]]


COMPARE = {
    "is_equal": lambda v: v == 0,
    "not_equal": lambda v: v != 0,
    "is_ge": lambda v: v >= 0,
    "is_gt": lambda v: v > 0,
    "is_le": lambda v: v <= 0,
    "is_lt": lambda v: v < 0,
}


@pytest.mark.parametrize("dst", ["f32", "bf16"])
@pytest.mark.parametrize("compare", sorted(COMPARE))
def test_affine_select(execute: Execute, compare: str, dst: str) -> None:
    source = RNG.standard_normal(SHAPE).astype(np.float32)
    fields = PATTERN | {"offset": -106}  # 0 at p = 1, index (0, 0, 3): some values are equal to 0
    found = execute(
        "affine_select",
        {"src": source.reshape(5, 24)},
        {"dst": (SHAPE, dst)},
        engine=Engine.GPSIMD,
        compare=compare,
        imm=-3.0e38,
        **fields,
    )["dst"]
    chosen = COMPARE[compare](expected_pattern() - 99)
    expected = np.where(chosen, source, np.float32(-3.0e38))
    assert chosen.any() and not chosen.all()
    assert np.array_equal(found, from_float32(expected, DTYPES[dst]))


def test_affine_select_of_equal_types_keeps_bits(execute: Execute) -> None:
    words = np.array([[2**31 - 1, 2**24 + 1, 3]], np.int32)
    found = execute(
        "affine_select",
        {"src": words},
        {"dst": ((1, 3), "i32")},
        engine=Engine.GPSIMD,
        compare="is_lt",
        offset=-2,
        step0=1,
        imm=9.0,
    )["dst"]
    assert found.tolist() == [[2**31 - 1, 2**24 + 1, 9]]


@pytest.mark.parametrize("run", [1, 2, 8])
def test_local_gather(execute: Execute, run: int) -> None:
    source = RNG.integers(0, 2**16, (32, 40), dtype=np.uint16)
    indices = RNG.integers(0, 40 - run + 1, (32, 3), dtype=np.uint16)
    found = execute(
        "local_gather",
        {"src": source, "indices": indices},
        {"dst": ((32, 48 * run), "u16")},
        engine=Engine.GPSIMD,
        elements_per_index=run,
    )["dst"]
    for partition in range(32):
        core = partition // 16 * 16
        for j in range(48):
            start = indices[core + j % 16, j // 16]
            wanted = source[partition, start : start + run]
            assert np.array_equal(found[partition, j * run : (j + 1) * run], wanted)


def test_local_gather_out_of_range(execute: Execute) -> None:
    with pytest.raises(ExecutionError, match="reads element 4 of a tile with 4 elements"):
        execute(
            "local_gather",
            {"src": np.zeros((16, 4), np.uint8), "indices": np.full((16, 1), 4, np.uint16)},
            {"dst": ((16, 16), "u8")},
            engine=Engine.GPSIMD,
        )


@pytest.mark.parametrize("op", ["add", "average", "max"])
def test_partition_reduce_in_float32(execute: Execute, op: str) -> None:
    x = from_float32(RNG.standard_normal((100, 2, 3)).astype(np.float32), DTYPES["bf16"])
    found = execute(
        "partition_reduce", {"src": x}, {"dst": ((1, 6), "f32")}, engine=Engine.GPSIMD, op=op
    )
    columns = x.astype(np.float64).reshape(100, 6)
    expected = {"add": columns.sum(0), "average": columns.mean(0), "max": columns.max(0)}[op]
    assert np.allclose(found["dst"][0], expected, rtol=0, atol=1e-5)


def test_partition_reduce_of_words_is_exact(execute: Execute) -> None:
    x = RNG.integers(2**29, 2**30, (5, 4), dtype=np.int32)
    for op, expected in (
        ("add", [(sum(c) + 2**31) % 2**32 - 2**31 for c in x.T.tolist()]),
        ("max", [max(c) for c in x.T.tolist()]),
        ("bitwise_or", [functools.reduce(lambda a, b: a | b, c) for c in x.T.tolist()]),
        ("bitwise_and", [functools.reduce(lambda a, b: a & b, c) for c in x.T.tolist()]),
    ):
        found = execute(
            "partition_reduce", {"src": x}, {"dst": ((1, 4), "i32")}, engine=Engine.GPSIMD, op=op
        )
        assert found["dst"].tolist() == [expected]
