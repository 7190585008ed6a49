"""Loops on data on two cores, with collectives in them, against numpy: every core branches by its
own register, all of them alike."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

import axonc

MESH = AbstractMesh((2,), ("d",), axis_types=(AxisType.Auto,))
X = np.linspace(0.1, 1, 32, dtype=np.float32).reshape(4, 8)


def lowered(body: Callable[..., object], *arguments: object) -> jax.stages.Lowered:
    """All arrays are cut along their first dim, scalars are everywhere."""
    specs = tuple(P("d") if np.ndim(a) else P() for a in arguments)
    function = jax.shard_map(body, mesh=MESH, in_specs=specs, out_specs=P("d"), check_vma=False)
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cpu",))


def compiled(body: Callable[..., object], *arguments: object) -> axonc.Executable:
    return axonc.compile(lowered(body, *arguments))


def test_a_sum_over_cores_in_the_body() -> None:
    def body(n: jax.Array, x: jax.Array) -> jax.Array:
        return lax.fori_loop(0, n, lambda i, s: s * 0.5 + lax.psum(s, "d"), x)

    executable = compiled(body, np.int32(1), X)
    for n in (0, 3):
        wanted = X
        for _ in range(n):
            wanted = wanted * 0.5 + np.tile(wanted[:2] + wanted[2:], (2, 1))
        for checked in (True, False):
            (found,) = executable.run(np.int32(n), X, checked=checked)
            np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_a_sum_over_cores_decides() -> None:
    executable = compiled(
        lambda x: lax.while_loop(lambda s: lax.psum(s.sum(), "d") < 300, lambda s: s * 2, x), X
    )
    wanted = X
    while wanted.sum() < 300:
        wanted = wanted * 2
    for checked in (True, False):
        np.testing.assert_allclose(executable.run(X, checked=checked)[0], wanted, rtol=1e-5)


def test_cores_may_differ_where_there_are_no_collectives() -> None:
    executable = compiled(
        lambda x: (
            lax.psum(lax.while_loop(lambda s: s.sum() < 100, lambda s: s * 2, x), "d")
            * jnp.ones((2, 1))
        ),
        X,
    )
    halves = [X[:2], X[2:]]
    for n in range(2):
        while halves[n].sum() < 100:
            halves[n] = halves[n] * 2
    assert halves[0][0, 0] / X[0, 0] != halves[1][0, 0] / X[2, 0]
    for checked in (True, False):
        (found,) = executable.run(X, checked=checked)
        np.testing.assert_allclose(found, np.tile(halves[0] + halves[1], (2, 1)), rtol=1e-5)


def test_a_collective_that_cores_may_come_to_differently_is_refused() -> None:
    def body(x: jax.Array) -> jax.Array:
        return lax.while_loop(lambda s: s.sum() < 100, lambda s: s + lax.psum(s, "d"), x)

    with pytest.raises(axonc.UnsupportedOpError, match=r"stablehlo\.while: a collective in it"):
        compiled(body, X)
    assert [finding.op for finding in axonc.check(lowered(body, X))] == ["stablehlo.while"]
