"""Elementwise chains of any length compile: they are made in pieces of bounded depth."""

from __future__ import annotations

import numpy as np
import pytest

import axonc
from axonc.backends.numerics.dtypes import F32
from axonc.passes.tile.elementwise.expression_nodes import (
    Expression,
    add,
    constant,
    multiply,
    resting_places,
)

COLUMN = "%a = stablehlo.broadcast_in_dim %x, dims = [0] : (tensor<4xf32>) -> tensor<4x3xf32>"


def chain(length: int, kind: str) -> str:
    """x_n+1 = x_n / 2 + x_n-1 / 4, line by line, in `kind`, from %a on."""
    lines = [f"%h = stablehlo.constant dense<0.5> : {kind}"]
    lines += [f"%q = stablehlo.constant dense<0.25> : {kind}"]
    before, last = "a", "a"
    for i in range(length):
        lines += [f"%u{i} = stablehlo.multiply %{last}, %h : {kind}"]
        lines += [f"%v{i} = stablehlo.multiply %{before}, %q : {kind}"]
        lines += [f"%w{i} = stablehlo.add %u{i}, %v{i} : {kind}"]
        before, last = last, f"w{i}"
    return "\n".join([*lines, f"return %{last} : {kind}"])


def oracle(x: np.ndarray, length: int) -> np.ndarray:
    before, last = x, x
    for _ in range(length):
        before, last = last, last * np.float32(0.5) + before * np.float32(0.25)
    return last


@pytest.mark.parametrize("is_column", [False, True])
def test_a_chain_of_hundreds_of_operations(is_column: bool) -> None:
    x = np.random.default_rng(0).normal(size=4 if is_column else (4, 3)).astype(np.float32)
    kind = "tensor<4x3xf32>"
    given = "%x: tensor<4xf32>" if is_column else f"%a: {kind}"
    body = (COLUMN + "\n" if is_column else "") + chain(400, kind)
    (found,) = axonc.compile(f"func.func @main({given}) -> {kind} {{\n{body}\n}}").run(
        x, checked=True
    )
    wanted = np.repeat(x[:, None], 3, axis=1) if is_column else x
    np.testing.assert_allclose(found, oracle(wanted, 400), rtol=2e-5)


def test_powers_of_64_bit_integers() -> None:
    kind = "tensor<5xi64>"
    text = f"""func.func @main(%a: {kind}, %n: {kind}) -> {kind} {{
      %0 = stablehlo.power %a, %n : {kind}
      return %0 : {kind}
    }}"""
    base, exponent = np.array([3, -2, 7, 10, -1]), np.array([39, 62, 0, 18, 63])
    (found,) = axonc.compile(text).run(base, exponent, checked=True)
    assert found.tolist() == [int(b) ** int(n) for b, n in zip(base, exponent, strict=True)]


def levels(e: Expression, made: set[int]) -> int:
    """The longest way from `e` down to a leaf or to what is made."""
    return max((0 if id(a) in made else 1 + levels(a, made) for a in e.args), default=0)


def test_resting_places_bound_the_depth_between_them() -> None:
    x = Expression("leaf", (), F32)
    e = x
    for i in range(100):
        e = add(e, multiply(x, float(i))) if i % 3 else multiply(e, e)
    made: set[int] = set()
    for part in resting_places(e, 7):
        assert levels(part, made) <= 7
        made.add(id(part))
    assert levels(e, made) <= 7
    assert 100 // 7 <= len(made) <= 100 // 5
    assert resting_places(constant(1.0), 7) == []
