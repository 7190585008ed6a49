"""Sharded JAX functions, partitioned and run rank by rank; one line of JSON a case.

Every kind of operation under shardings that cut each of its dims, also those it needs whole.
`python sharded_cases.py` is started by test_shardy.py with four host devices.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import axonc
from axonc.frontends import import_program
from axonc.imported import stablehlo_module
from axonc.partition.shardy_passes import partition_here

sys.path.insert(0, str(Path(__file__).parent))
from ranks import run_ranks  # noqa: E402

MESH = jax.make_mesh((2, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
SPECS = (P("x", "y"), P(("x", "y")))


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def indices(limit: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, limit, size=shape).astype(np.int32)


def manual(x: Any, w: Any) -> Any:
    """The user's own collectives: a partial product, summed over y, and its rank added."""

    def body(x: Any, w: Any) -> Any:
        total = lax.psum(x @ w, "y")
        largest = lax.pmax(total, ("x", "y"))
        shifted = lax.ppermute(total, "x", [(0, 1), (1, 0)])
        return total + largest + 2 * shifted + lax.axis_index("x").astype(np.float32)

    specs = (P("x", "y"), P("y"))
    return jax.shard_map(body, mesh=MESH, in_specs=specs, out_specs=P("x"), check_vma=False)(x, w)


def half_manual(x: Any, w: Any) -> Any:
    """Collectives over y by hand; what happens along x is for the partitioner."""
    specs = (P(None, "y"), P("y"))
    product = jax.shard_map(
        lambda x, w: lax.psum(x @ w, "y"),
        mesh=MESH,
        in_specs=specs,
        out_specs=P(),
        axis_names={"y"},
        check_vma=False,
    )
    return jax.jit(product)(x, w)


def constrained(x: Any, w: Any, v: Any) -> Any:
    hidden = jnp.tanh(x @ w)
    hidden = lax.with_sharding_constraint(hidden, NamedSharding(MESH, P("x", "y")))
    return hidden @ v


def attention(x: Any, w: Any) -> Any:
    heads = jnp.einsum("td,dhk->htk", x, w)
    scores = jnp.einsum("htk,hsk->hts", heads, heads)
    scores = jnp.where(jnp.tril(jnp.ones((8, 8), bool)), scores, -1e9)
    return jnp.einsum("hts,hsk->thk", jax.nn.softmax(scores), heads).reshape(8, 16)


A = floats(8, 16)
CASES: dict[str, tuple[Callable[..., Any], list[np.ndarray]]] = {
    "argmax": (lambda a: jnp.argmax(a, 1), [A]),
    "attention": (attention, [A, floats(16, 4, 4)]),
    "branch": (lambda a: lax.cond(a[0, 0] > 0, jnp.tanh, jnp.exp, a), [A]),
    "concatenate": (lambda a, b: jnp.concatenate([a, b], 1), [A, floats(8, 16) + 1]),
    "constrained": (constrained, [A, floats(16, 32), floats(32, 16)]),
    "convolution": (
        lambda a, w: lax.conv_general_dilated(a, w, (1, 1), "SAME"),
        [floats(4, 8, 8, 8), floats(16, 8, 3, 3)],
    ),
    "cumulative": (lambda a: jnp.cumsum(a, 0), [A]),
    "dot": (lambda a, b: a @ b, [A, floats(16, 32)]),
    "elementwise": (lambda a, b: jnp.where(a > b, lax.erf(a), jnp.clip(b, -1, 1)), [A, -A]),
    "gather": (lambda t, i: jnp.take(t, i, axis=0, mode="clip"), [A, indices(8, 4, 8)]),
    "half_manual": (half_manual, [A, floats(16, 32)]),
    "iota": (lambda a: a * jnp.arange(16.0) + jnp.arange(8.0)[:, None], [A]),
    "loop": (lambda a: lax.fori_loop(0, 3, lambda i, v: jnp.tanh(v @ v.T @ v * 0.02), a), [A]),
    "manual": (manual, [A, floats(16, 32)]),
    "maximum": (lambda a: a.max(0).sum() + a.min(1), [A]),
    "mean": (lambda a: a.mean(), [A]),
    "merge": (lambda a: a.reshape(4, 2, 2, 8).transpose(0, 2, 1, 3).reshape(8, 16), [A]),
    "pad": (lambda a: jnp.pad(a, ((1, 1), (0, 4))), [A]),
    "pool": (lambda a: lax.reduce_window(a, 0.0, lax.add, (2, 2), (2, 2), "VALID"), [A]),
    "product": (lambda a: a.prod(1), [A]),
    "reverse": (lambda a: a[::-1, ::-1], [A]),
    "scan": (lambda a: lax.scan(lambda c, r: (c + r, jnp.tanh(c)), a[0], a)[1], [A]),
    "scatter": (lambda a: jnp.asarray(a).at[jnp.array([1, 3])].add(1.0), [A]),
    "slice": (lambda a: a[1:5, 3:11] @ jnp.ones((8, 4)), [A]),
    "softmax": (jax.nn.softmax, [A]),
    "sort": (lambda a: jnp.sort(a, 1), [A]),
    "take_at": (lambda a: lax.dynamic_slice(a, (a[0, 0].astype(int) + 2, 3), (4, 8)), [A]),
    "top": (lambda a: lax.top_k(a, 3)[0], [A]),
    "uneven": (lambda a: (a[:, :15] * 2).sum(1), [A]),
    "update": (lambda a, b: lax.dynamic_update_slice(a, b, (2, 4)), [A, floats(4, 8)]),
}


def errors_of(name: str, spec: P) -> tuple[float, float | str]:
    """Largest differences from the function run by JAX, relative to its largest value: run by XLA
    rank by rank, and compiled and run on the executor's cores (or why it cannot be compiled)."""
    function, arrays = CASES[name]
    layouts = [NamedSharding(MESH, P(*tuple(spec)[: a.ndim])) for a in arrays]
    lowered = jax.jit(function, in_shardings=layouts).lower(*arrays)
    program = import_program(lowered)
    inputs = {a.name: v for a, v in zip(program.inputs, arrays, strict=True)}
    expected = np.asarray(jax.jit(function)(*arrays))
    by_ranks = _error(run_ranks(program, inputs)[0], expected)
    try:
        executable = axonc.compile(program)
    except axonc.UnsupportedOpError as unsupported:
        return by_ranks, unsupported.message
    return by_ranks, _error(executable.run(inputs, checked=True)[0], expected)


def _error(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))


def main() -> None:
    # Shardy's end of the process would be this one's, and so seen.
    stablehlo_module.partition = partition_here
    for name in CASES:
        for spec in SPECS:
            print(json.dumps([name, str(spec), *errors_of(name, spec)]), flush=True)


if __name__ == "__main__":
    main()
