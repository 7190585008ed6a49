"""Operations on 64-bit integers, in fast and checked mode, against Python's integers and JAX."""

from __future__ import annotations

from collections.abc import Callable
from operator import add, and_, eq, ge, gt, invert, le, lt, mul, ne, neg, or_, sub, xor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hostile_integers import (
    HOSTILE,
    exactly,
    hostile_pairs,
    quotient,
    remainder,
    shifted_left,
    shifted_logically,
    shifted_right,
)
from jax import lax

import axonc

MLIR = {"int64": "i64", "uint64": "ui64", "int32": "i32", "uint32": "ui32", "int8": "i8",
        "uint16": "ui16", "float32": "f32", "bool": "i1"}  # fmt: skip


def spelled(array: np.ndarray) -> str:
    return f"tensor<{array.size}x{MLIR[array.dtype.name]}>"


def run_both(program: object, *arrays: np.ndarray) -> list[np.ndarray]:
    """Results of fast mode, which are those of checked mode."""
    executable = axonc.compile(program)
    fast, checked = (executable.run(*arrays, checked=c) for c in (False, True))
    for a, b in zip(fast, checked, strict=True):
        np.testing.assert_array_equal(a, b)
    return fast


def check_op(op: str, arrays: list[np.ndarray], wanted: np.ndarray) -> None:
    """One StableHLO operation on arguments of the program."""
    arguments = ", ".join(f"%{n}: {spelled(a)}" for n, a in zip("ab", arrays, strict=False))
    names = ", ".join(f"%{n}" for n, _ in zip("ab", arrays, strict=False))
    types = ", ".join(map(spelled, arrays))
    (found,) = run_both(
        f"""func.func @main({arguments}) -> {spelled(wanted)} {{
          %0 = stablehlo.{op} {names} : ({types}) -> {spelled(wanted)}
          return %0 : {spelled(wanted)}
        }}""",
        *arrays,
    )
    assert found.dtype == wanted.dtype
    wrong = np.flatnonzero(found != wanted)
    assert not wrong.size, [(a[wrong[0]], found[wrong[0]], wanted[wrong[0]]) for a in arrays]


BINARY: dict[str, Callable[[int, int], int]] = {
    "add": add,
    "subtract": sub,
    "multiply": mul,
    "divide": quotient,
    "remainder": remainder,
    "maximum": max,
    "minimum": min,
    "and": and_,
    "or": or_,
    "xor": xor,
    "shift_left": shifted_left,
    "shift_right_arithmetic": shifted_right,
    "shift_right_logical": shifted_logically,
}


@pytest.mark.parametrize("op", BINARY)
def test_two_signed_operands(op: str) -> None:
    a, b = hostile_pairs()
    check_op(op, [a, b], exactly(BINARY[op], a, b))


@pytest.mark.parametrize("op", sorted(BINARY.keys() - {"shift_right_arithmetic"}))
def test_two_unsigned_operands(op: str) -> None:
    a, b = (v.view(np.uint64) for v in hostile_pairs())
    check_op(op, [a, b], exactly(BINARY[op], a, b))


@pytest.mark.parametrize("distance", [1, 31, 32, 40, 63])
def test_arithmetic_shifts_of_unsigned_numbers_repeat_their_first_bit(distance: int) -> None:
    """So a large number stays one: what is left of it does not fit in fewer bits."""
    a = np.array(HOSTILE, np.int64)
    wanted = (a >> distance).view(np.uint64)
    (found,) = run_both(
        f"""func.func @main(%a: {spelled(wanted)}) -> {spelled(wanted)} {{
          %b = stablehlo.constant dense<{distance}> : {spelled(wanted)}
          %0 = stablehlo.shift_right_arithmetic %a, %b : {spelled(wanted)}
          return %0 : {spelled(wanted)}
        }}""",
        a.view(np.uint64),
    )
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
@pytest.mark.parametrize("op", ["EQ", "NE", "LT", "LE", "GT", "GE"])
def test_comparisons(op: str, dtype: type) -> None:
    a, b = (v.view(dtype) for v in hostile_pairs())
    function = {"EQ": eq, "NE": ne, "LT": lt, "LE": le, "GT": gt, "GE": ge}[op]
    check_op(f"compare {op},", [a, b], function(a, b))


@pytest.mark.parametrize(
    ("op", "function"),
    [("negate", neg), ("abs", abs), ("not", invert), ("sign", lambda x: (x > 0) - (x < 0))],
)
def test_one_operand(op: str, function: Callable[[int], int]) -> None:
    a = np.array(HOSTILE, np.int64)
    check_op(op, [a], exactly(function, a))


@pytest.mark.parametrize("divisor", [1, -1, 7, -7, 65535, -65536, 2**31, 10**9 + 7, -(2**63), 0])
@pytest.mark.parametrize("op", ["divide", "remainder"])
def test_constant_divisors(op: str, divisor: int) -> None:
    a = np.array(HOSTILE, np.int64)
    b = np.full_like(a, divisor)
    (found,) = run_both(
        f"""func.func @main(%a: {spelled(a)}) -> {spelled(a)} {{
          %b = stablehlo.constant dense<{divisor}> : {spelled(a)}
          %0 = stablehlo.{op} %a, %b : {spelled(a)}
          return %0 : {spelled(a)}
        }}""",
        a,
    )
    np.testing.assert_array_equal(found, exactly(BINARY[op], a, b))


def with_ties() -> np.ndarray:
    """Hostile numbers, random ones, and ones half-way between two float32 or next to it."""
    rng = np.random.default_rng(0)
    odd = rng.integers(1, 2**24, 400) * 2 + 1 << rng.integers(0, 38, 400)
    spread = rng.integers(-(2**63), 2**63 - 1, 400)
    near = odd + rng.integers(-1, 2, 400)
    return np.concatenate([np.array(HOSTILE, np.int64), odd, near, spread])


@pytest.mark.parametrize("source", [np.int64, np.uint64])
@pytest.mark.parametrize(
    "target", [np.float32, np.int32, np.uint32, np.int8, np.uint16, np.bool_, np.int64, np.uint64]
)
def test_conversions_of_64_bits(source: type, target: type) -> None:
    if source is not target:
        x = with_ties().view(source)
        check_op("convert", [x], x.astype(target))


@pytest.mark.parametrize("target", [np.int64, np.uint64])
@pytest.mark.parametrize(
    "source",
    [
        np.array([0, 1, 3_000_000_000, 2**32 - 1], np.uint32),
        np.array([0, -1, 2**31 - 1, -(2**31)], np.int32),
        np.array([0, -1, 127, -128], np.int8),
        np.array([False, True]),
    ],
    ids=lambda a: a.dtype.name,
)
def test_conversions_to_64_bits(source: np.ndarray, target: type) -> None:
    check_op("convert", [source], source.astype(target))


@pytest.mark.parametrize("target", [np.int64, np.uint64])
def test_floats_are_cut_off_and_saturate(target: type) -> None:
    numbers = [0.0, 0.5, -0.9, 1, -1, 2**31, -(2**31), 2**32, 2**53, 2**62, 2**63, -(2**63), 1e18,
               -1e18, 1.5e19, 2**64, 1e20, -1e20, np.nan, np.inf, -np.inf]  # fmt: skip
    x = np.array(numbers, np.float32)
    limits = np.iinfo(target)
    whole = [0 if n != n else max(min(float(n), 2.0**65), -(2.0**65)) for n in x]
    wanted = [max(min(int(n), limits.max), limits.min) for n in whole]
    check_op("convert", [x], np.array(wanted, target))


# ---- movement, reductions, products --------------------------------------------------------------

RNG = np.random.default_rng(1)


def hostile(*shape: int) -> np.ndarray:
    return RNG.choice(np.array(HOSTILE, np.int64), shape)


def scattered(x: jax.Array, i: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    return x.at[i].set(u), x.at[i].add(u)


PLACES = np.array([0, 9, 4, 0, 0], np.int64)

PROGRAMS: dict[str, tuple[Callable[..., object], tuple[np.ndarray, ...]]] = {
    "sums": (lambda x: (x.sum(), x.sum(0), x.sum(-1)), (hostile(7, 33),)),
    "sum of many": (lambda x: x.sum(), (hostile(300, 300),)),
    "products": (lambda x: (x.prod(-1), x.prod()), (hostile(4, 7),)),
    "extremes": (lambda x: (x.max(), x.min(0), x.max(-1)), (hostile(7, 33),)),
    "extreme places": (lambda x: (x.argmax(-1), x.argmin(0)), (hostile(7, 33),)),
    "unsigned extremes": (lambda x: (x.max(-1), x.argmin(0)), (hostile(7, 33).view(np.uint64),)),
    "bits": (
        lambda x: (jnp.bitwise_or.reduce(x, 0), jnp.bitwise_and.reduce(x, 1)),
        (hostile(5, 4),),
    ),
    "cumulative": (
        lambda x: (jnp.cumsum(x, 1), lax.cummax(x, 1), lax.cumprod(x, 1, reverse=True)),
        (hostile(3, 40),),
    ),
    "long cumulative": (lambda x: jnp.cumsum(x), (hostile(700),)),
    "window sums": (
        lambda x: lax.reduce_window(x, 0, lax.add, (3,), (2,), [(1, 2)]),
        (hostile(20),),
    ),
    "sort": (lambda x: (jnp.sort(x, 1), jnp.argsort(x, 1)), (hostile(4, 20),)),
    "sort by floats": (
        lambda k, v: lax.sort((k, v), num_keys=1),
        (RNG.permutation(30).astype(np.float32), hostile(30)),
    ),
    "sort by two keys": (
        lambda k, v: lax.sort((k, v), num_keys=2),
        (RNG.integers(0, 3, 30), hostile(30)),
    ),
    "top k": (lambda x: lax.top_k(x, 3), (hostile(4, 20),)),
    "where": (
        lambda c, x, y: jnp.where(c > 0, x, y),
        (RNG.standard_normal(5), hostile(5), hostile(5)),
    ),
    "rows": (lambda x, i: x[i], (hostile(10, 3), np.array([0, 9, -1, 4]))),
    "rows or a filling": (lambda x, i: x.at[i].get(mode="fill"), (hostile(10), np.array([0, 30]))),
    "scatter": (scattered, (hostile(10), PLACES[:3], hostile(3))),
    "scatter to one place": (lambda x, i, u: x.at[i].add(u), (hostile(10), PLACES, hostile(5))),
    "count": (lambda i: jnp.zeros(10, int).at[i].add(1), (PLACES,)),
    "pad": (lambda x: jnp.pad(x, (2, 3), constant_values=2**40), (hostile(4),)),
    "moved": (lambda x: (x[::-1].T, x[1:3, ::2], jnp.concatenate([x, x], 1)), (hostile(6, 5),)),
    "update": (
        lambda x, u, p: lax.dynamic_update_slice(x, u, (p,)),
        (hostile(10), hostile(3), np.array(4)),
    ),
    "slice": (lambda x, p: lax.dynamic_slice(x, (p,), (3,)), (hostile(10), np.array(2**40))),
    "matrices": (lambda x, y: x @ y, (hostile(5, 9), hostile(9, 4))),
    "batches": (
        lambda x, y: jnp.einsum("bij,bjk->bik", x, y),
        (hostile(2, 3, 4), hostile(2, 4, 5)),
    ),
    "mask and vector": (
        lambda m, y: (m > 0).astype(int) @ y,
        (RNG.standard_normal((5, 9)), hostile(9)),
    ),
    "convolution": (
        lambda x, w: lax.conv_general_dilated(
            x, w, (2,), [(1, 2)], lhs_dilation=(2,), rhs_dilation=(3,)
        ),
        (hostile(2, 3, 11), hostile(4, 3, 3)),
    ),
    "convolution of groups": (
        lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "SAME", feature_group_count=2),
        (hostile(1, 4, 5, 6).view(np.uint64), hostile(6, 2, 3, 2).view(np.uint64)),
    ),
    "convolution of many terms": (
        lambda x, w: lax.conv(x, w, (1,), "VALID"),
        (hostile(1, 130, 5), hostile(2, 130, 3)),
    ),
    "powers": (lambda x: (x**0, x**2, x**3), (hostile(20),)),
    "computed powers": (
        jnp.power,
        (np.array([0, 1, -1, 2, -2, 3, 10]), np.array([5, 9, 9, 62, 63, 39, 0])),
    ),
    "floor": (lambda x, y: (x // y, x % y), (hostile(60), RNG.choice(np.array(HOSTILE)[1:], 60))),
    "clip": (lambda x: jnp.clip(x, -5, 2**35), (hostile(30),)),
    "known shifts": (lambda x: (x >> 3, x << 5, x >> 40, x << 33), (hostile(30),)),
    "hash": (lambda x: (x * 6364136223846793005 + 1442695040888963407) % 1000, (hostile(30),)),
    "row by hash": (
        lambda x, t: t[(x * 2654435761) % 50],
        (hostile(30), np.arange(50, dtype=np.float32)),
    ),
    "compared": (lambda x: (x > 0, x == 2**40, x < -(2**31), x >= 2**31 - 1), (hostile(30),)),
    "constants": (lambda x: (x + 2_000_000_000, x - 1, x * 3), (hostile(30),)),
    "scalars": (lambda x, y: (x + y, x * y, x // 3, x), (np.array(2**40), np.array(-(2**33)))),
    "loop": (
        lambda x: lax.fori_loop(0, 4, lambda _, v: v * 6364136223846793005 + 1, x),
        (hostile(6),),
    ),
    "positions": (lambda m, t: t[jnp.cumsum(m) - 1], (np.array([0, 1, 1, 0, 1]), np.arange(9.0))),
    "lengths": (lambda x: ((x > 0).sum(), (x > 0).sum(-1) - 1), (RNG.standard_normal((3, 30)),)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_give_what_jax_gives(name: str) -> None:
    function, given = PROGRAMS[name]
    arrays = [a.astype(np.float32) if a.dtype == np.float64 else a for a in given]
    with jax.enable_x64(True):
        jitted = jax.jit(function, keep_unused=True)
        wanted = [np.asarray(v) for v in jax.tree.leaves(jitted(*arrays))]
        lowered = jitted.lower(*arrays)
    for found, right in zip(run_both(lowered, *arrays), wanted, strict=True):
        assert found.dtype == right.dtype
        np.testing.assert_array_equal(found, right)


def test_a_scatter_follows_the_places_that_are_made_for_it() -> None:
    """They are words of two because the program returns them, too."""
    (found, places) = run_both(
        """func.func @main(%x: tensor<5xf32>, %i: tensor<2xi64>, %u: tensor<2xf32>)
            -> (tensor<5xf32>, tensor<2xi64>) {
          %0 = "stablehlo.scatter"(%x, %i, %u) ({
            ^bb0(%a: tensor<f32>, %b: tensor<f32>):
              %c = stablehlo.minimum %a, %b : tensor<f32>
              stablehlo.return %c : tensor<f32>
          }) {scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = [],
                inserted_window_dims = [0], scatter_dims_to_operand_dims = [0],
                index_vector_dim = 1>}
            : (tensor<5xf32>, tensor<2xi64>, tensor<2xf32>) -> tensor<5xf32>
          return %0, %i : tensor<5xf32>, tensor<2xi64>
        }""",
        np.zeros(5, np.float32),
        np.array([3, 2**40], np.int64),
        np.array([-1, -2], np.float32),
    )
    np.testing.assert_array_equal(found, [0, 0, 0, -1, 0])
    np.testing.assert_array_equal(places, [3, 2**40])
