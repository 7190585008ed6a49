"""Reductions, windows and maps with regions of their own: what `expand-regions` makes of them is
what the reference interpreter computes of them as they are written; and that as instructions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from stablehlo_interpreter import expanded_and_run, interpreted

import axonc

MATRIX_PRODUCT = """
  %p = stablehlo.multiply %a0, %b0 : tensor<i32>
  %q = stablehlo.multiply %a0, %b1 : tensor<i32>
  %s = stablehlo.add %q, %a1 : tensor<i32>
  stablehlo.return %p, %s : tensor<i32>, tensor<i32>"""
"""(x0 x + x1) after (y0 x + y1): associative, but not commutative."""


def affine_reduce(shape: Sequence[int], dims: Sequence[int]) -> str:
    kind = f"tensor<{'x'.join(map(str, shape))}xi32>"
    kept = "".join(f"{n}x" for d, n in enumerate(shape) if d not in dims)
    listed = f"array<i64: {str(list(dims))[1:-1]}>" if dims else "array<i64>"
    return f"""func.func @main(%x: {kind}, %y: {kind}, %i: tensor<i32>, %j: tensor<i32>)
      -> (tensor<{kept}i32>, tensor<{kept}i32>) {{
  %r:2 = "stablehlo.reduce"(%x, %y, %i, %j) <{{dimensions = {listed}}}> ({{
  ^b(%a0: tensor<i32>, %a1: tensor<i32>, %b0: tensor<i32>, %b1: tensor<i32>):{MATRIX_PRODUCT}
  }}) : ({kind}, {kind}, tensor<i32>, tensor<i32>) -> (tensor<{kept}i32>, tensor<{kept}i32>)
  return %r#0, %r#1 : tensor<{kept}i32>, tensor<{kept}i32>
}}"""  # noqa: E501


def integers(*shapes: Sequence[int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(-3, 4, shape).astype(np.int32) for shape in shapes]


@pytest.mark.parametrize(
    "shape, dims",
    [
        ((1,), [0]), ((2,), [0]), ((7,), [0]), ((4, 5), [0]), ((4, 5), [1]), ((3, 4, 5), [0, 2]),
        ((3, 4, 6), [0, 1, 2]), ((3, 4), []), ((2, 13, 3), [1]),
    ],
)  # fmt: skip
def test_elements_stay_in_order(shape: Sequence[int], dims: Sequence[int]) -> None:
    text, arrays = affine_reduce(shape, dims), integers(shape, shape, (), ())
    found, made = expanded_and_run(text, arrays)
    assert "stablehlo.reduce" not in made
    for left, right in zip(found, interpreted(text, arrays), strict=True):
        np.testing.assert_array_equal(left, right)


def affine_windows(shape: Sequence[int], attributes: str, result: Sequence[int]) -> str:
    kind, made = (f"tensor<{'x'.join(map(str, s))}xi32>" for s in (shape, result))
    return f"""func.func @main(%x: {kind}, %y: {kind}, %i: tensor<i32>, %j: tensor<i32>)
      -> ({made}, {made}) {{
  %r:2 = "stablehlo.reduce_window"(%x, %y, %i, %j) <{{{attributes}}}> ({{
  ^b(%a0: tensor<i32>, %a1: tensor<i32>, %b0: tensor<i32>, %b1: tensor<i32>):{MATRIX_PRODUCT}
  }}) : ({kind}, {kind}, tensor<i32>, tensor<i32>) -> ({made}, {made})
  return %r#0, %r#1 : {made}, {made}
}}"""


WINDOWS = list(
    itertools.product((1, 2, 3, 5, 8), (1, 2, 3, 6), (1, 2), (1, 3), ((0, 0), (2, 1), (-1, -2)))
)


@pytest.mark.parametrize("length", [9, 16])
def test_windows_of_every_form(length: int) -> None:
    """Sizes, strides, distances within a window, gaps between elements, padding that cuts off."""
    arrays = integers((3, length), (3, length), (), ())
    for size, stride, distance, base, (low, high) in WINDOWS:
        reach, padded = (size - 1) * distance + 1, (length - 1) * base + 1 + low + high
        if reach > padded:
            continue
        text = affine_windows(
            (3, length),
            f"window_dimensions = array<i64: 2, {size}>, window_strides = array<i64: 1, {stride}>, "
            f"window_dilations = array<i64: 1, {distance}>, "
            f"base_dilations = array<i64: 1, {base}>, "
            f"padding = dense<[[0, 0], [{low}, {high}]]> : tensor<2x2xi64>",
            (2, (padded - reach) // stride + 1),
        )
        found, made = expanded_and_run(text, arrays)
        assert "reduce_window" not in made
        for left, right in zip(found, interpreted(text, arrays), strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("length", [33, 40, 300])
@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("first", [(1, 0), (1, 2), (0, 0)])
def test_cumulative_windows_are_scans(
    length: int, is_reversed: bool, first: tuple[int, int]
) -> None:
    """From what changes nothing, what is not itself when combined with itself, what is."""
    padding = f"[0, {length - 1}]" if is_reversed else f"[{length - 1}, 0]"
    text = affine_windows(
        (2, length),
        f"window_dimensions = array<i64: 1, {length}>, "
        f"padding = dense<[[0, 0], {padding}]> : tensor<2x2xi64>",
        (2, length),
    )
    for name, number in zip("ij", first, strict=True):
        text = text.replace(f", %{name}: tensor<i32>", "")
        constant = f"%{name} = stablehlo.constant dense<{number}> : tensor<i32>"
        text = text.replace("%r:2 =", f"{constant}\n  %r:2 =")
    arrays = integers((2, length), (2, length))
    made = interpreted(text, arrays, "scan-windows,expand-regions")
    for left, right in zip(made, interpreted(text, arrays), strict=True):
        np.testing.assert_array_equal(left, right)


# ---- as instructions, beside JAX -----------------------------------------------------------------


def compare(function: object, *arrays: np.ndarray, tolerance: float = 1e-5) -> None:
    lowered = jax.jit(function).lower(*arrays)
    found = axonc.compile(lowered).run(*arrays, checked=True)
    for left, right in zip(found, jax.tree.leaves(jax.jit(function)(*arrays)), strict=True):
        assert left.dtype == right.dtype and left.shape == right.shape
        wide = np.asarray(right).astype(np.float64)
        np.testing.assert_allclose(left.astype(np.float64), wide, rtol=tolerance, atol=tolerance)


def floats(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(jnp.dtype(dtype))


@pytest.mark.parametrize("shape, axis", [((5, 33), 1), ((130, 7), 0), ((3, 4, 5), 1), ((300,), 0)])
def test_log_of_a_sum_of_exponentials(shape: tuple[int, ...], axis: int) -> None:
    compare(lambda x: lax.reduce(x, -jnp.inf, jnp.logaddexp, (axis,)), floats(*shape))


def test_sum_and_sum_of_squares_in_one() -> None:
    def both(x: jax.Array) -> list[jax.Array]:
        first = (np.float32(0), np.float32(0))
        return lax.reduce((x, x * x), first, lambda a, b: (a[0] + b[0], a[1] + b[1]), (0, 1))

    compare(both, floats(6, 50))


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("bfloat16", 3e-2)])
def test_a_complex_product(dtype: str, tolerance: float) -> None:
    def product(x: jax.Array, y: jax.Array) -> list[jax.Array]:
        def step(a: list[jax.Array], b: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
            return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]

        return lax.reduce((x, y), (jnp.ones((), dtype), jnp.zeros((), dtype)), step, (1,))

    compare(product, floats(4, 9, dtype=dtype), floats(9, 4, dtype=dtype).T, tolerance=tolerance)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "bool", "float16"])
def test_the_most_frequent_of_types(dtype: str) -> None:
    """The larger of two and how often it stands there."""

    def step(a: list[jax.Array], b: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
        count = jnp.where(a[0] == b[0], a[1] + b[1], jnp.where(a[0] > b[0], a[1], b[1]))
        return jnp.maximum(a[0], b[0]), count

    def largest(x: jax.Array) -> list[jax.Array]:
        ones = jnp.ones(x.shape, jnp.int32)
        return lax.reduce((x, ones), (jnp.zeros((), x.dtype), np.int32(0)), step, (1,))

    numbers = np.random.default_rng(3).integers(0, 5, (6, 21))
    compare(largest, numbers > 2 if dtype == "bool" else numbers.astype(dtype))


def test_exclusive_or() -> None:
    x = np.random.default_rng(4).integers(-(2**31), 2**31, (5, 19), dtype=np.int32)
    compare(lambda x: lax.reduce(x, np.int32(7), lax.bitwise_xor, (1,)), x)


@pytest.mark.parametrize("shape, axis", [((3, 50), 1), ((70, 3), 0), ((1500,), 0)])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_cumulative_log_of_sums(shape: tuple[int, ...], axis: int, is_reversed: bool) -> None:
    compare(lambda x: lax.cumlogsumexp(x, axis, reverse=is_reversed), floats(*shape))


def test_the_tangent_of_a_max_pool() -> None:
    def pool(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")

    x = floats(2, 9, 8, 3)
    compare(lambda x, t: jax.jvp(pool, (x,), (t,)), x, np.ones_like(x))


def test_a_map_of_scalars() -> None:
    text = """func.func @main(%x: tensor<3x5xf32>, %y: tensor<3x5xf32>) -> tensor<3x5xf32> {
  %r = "stablehlo.map"(%x, %y) <{dimensions = array<i64: 0, 1>}> ({
  ^b(%a: tensor<f32>, %b: tensor<f32>):
    %c = stablehlo.constant dense<2.0> : tensor<f32>
    %d = stablehlo.multiply %a, %c : tensor<f32>
    %e = stablehlo.subtract %d, %b : tensor<f32>
    stablehlo.return %e : tensor<f32>
  }) : (tensor<3x5xf32>, tensor<3x5xf32>) -> tensor<3x5xf32>
  return %r : tensor<3x5xf32>
}"""
    x, y = floats(3, 5), floats(5, 3).T
    (found,) = axonc.compile(text).run(x, y, checked=True)
    np.testing.assert_allclose(found, 2 * x - y, rtol=1e-6, atol=1e-6)


def test_several_values_pass_a_barrier() -> None:
    compare(lambda x, y: lax.optimization_barrier((x, y)), floats(3), floats(4, 2))


def test_a_region_that_is_no_function_of_scalars_is_named() -> None:
    text = affine_reduce((4,), [0]).replace(
        "%p = stablehlo.multiply %a0, %b0",
        "%z = stablehlo.constant dense<9> : tensor<i32>\n"
        '  %w = "stablehlo.custom_call"(%z) <{call_target_name = "f"}> : (tensor<i32>) '
        "-> tensor<i32>\n  %p = stablehlo.multiply %w, %b0",
    )
    with pytest.raises(
        axonc.UnsupportedOpError, match=r"reduction by a region with stablehlo\.custom_call"
    ):
        axonc.compile(text)
    assert [f.op for f in axonc.check(text)] == ["stablehlo.reduce"]
