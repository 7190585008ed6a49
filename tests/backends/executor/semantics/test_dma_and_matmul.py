"""dma_copy's data path and the tensor engine's product."""

from collections.abc import Callable

import numpy as np
import pytest

from axonc.backends.executor.semantics import matmul
from axonc.backends.numerics.cast import from_float32, to_float32
from axonc.backends.numerics.dtypes import DTYPES
from axonc.backends.targets import Engine

Execute = Callable[..., dict[str, np.ndarray]]

RNG = np.random.default_rng(53)


def test_dma_between_equal_types_keeps_bits_and_order(execute: Execute) -> None:
    source = RNG.integers(0, 2**32, (4, 6), dtype=np.uint32)
    found = execute("dma_copy", {"src": source}, {"dst": ((2, 3, 4), "u32")}, engine=Engine.SYNC)
    assert np.array_equal(found["dst"].reshape(-1), source.reshape(-1))
    nan = np.array([[0x7FA00001]], np.uint32).view(np.float32)
    found = execute("dma_copy", {"src": nan}, {"dst": ((1, 1), "f32")}, engine=Engine.SYNC)["dst"]
    assert found.view(np.uint32).tolist() == [[0x7FA00001]]


@pytest.mark.parametrize("dst", ["bf16", "f16", "f8e4m3", "i8", "u32"])
@pytest.mark.parametrize("src", ["f32", "bf16", "i32"])
def test_dma_casts_through_float32(execute: Execute, src: str, dst: str) -> None:
    source = from_float32((RNG.standard_normal((8, 5)) * 50).astype(np.float32), DTYPES[src])
    found = execute("dma_copy", {"src": source}, {"dst": ((8, 5), dst)}, engine=Engine.SYNC)["dst"]
    assert np.array_equal(found, from_float32(source.astype(np.float32), DTYPES[dst]))


@pytest.mark.parametrize(
    ("op", "function"), [("add", np.add), ("max", np.maximum), ("min", np.minimum)]
)
def test_dma_combines_in_float32(execute: Execute, op: str, function: Callable) -> None:
    old = from_float32(RNG.standard_normal((3, 8)).astype(np.float32), DTYPES["bf16"])
    source = RNG.standard_normal((4, 6)).astype(np.float32)
    found = execute(
        "dma_copy",
        {"dst": old, "src": source},
        {"dst": ((3, 8), "bf16")},
        engine=Engine.SYNC,
        op=op,
    )["dst"]
    wide = function(old.astype(np.float64), source.reshape(3, 8).astype(np.float64))
    assert np.array_equal(found, from_float32(wide.astype(np.float32), DTYPES["bf16"]))


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f8e4m3", "f8e5m2", "tf32", "f32"])
def test_matmul_error_bound(dtype: str) -> None:
    """float32 sums of K = 128 products: at most K * 2^-24 of the sum of magnitudes."""
    kind = DTYPES[dtype]
    a = to_float32(from_float32(RNG.standard_normal((128, 96)).astype(np.float32), kind), kind)
    b = to_float32(from_float32(RNG.standard_normal((128, 4, 70)).astype(np.float32), kind), kind)
    found = matmul(a, b)
    assert found.shape == (96, 4, 70) and found.dtype == np.float32
    wide_a, wide_b = a.astype(np.float64).T, b.astype(np.float64).reshape(128, -1)
    bound = 128 * 2.0**-24 * (np.abs(wide_a) @ np.abs(wide_b))
    assert (np.abs(found.reshape(96, -1) - wide_a @ wide_b) <= bound).all()


def test_matmul_of_small_integers_is_exact() -> None:
    a = RNG.integers(-8, 9, (128, 32)).astype(np.float32)
    b = RNG.integers(-8, 9, (128, 64)).astype(np.float32)
    assert np.array_equal(matmul(a, b), a.astype(np.int64).T @ b.astype(np.int64))


def test_transpose_by_identity_is_exact_for_finite_values_and_polluted_by_others() -> None:
    x = RNG.standard_normal((128, 64)).astype(np.float32)
    identity = np.eye(128, dtype=np.float32)
    assert np.array_equal(matmul(x, identity), x.T)
    x[3, 5] = np.inf
    with np.errstate(invalid="ignore"):
        polluted = matmul(x, identity)
    assert np.isnan(polluted[5]).sum() == 127 and polluted[5, 3] == np.inf
    assert np.array_equal(np.delete(polluted, 5, axis=0), np.delete(x, 5, axis=1).T)
