"""JAX programs: names, large constants, composites, locations, numbers."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import axonc
from axonc.diagnostics import UnsupportedOpError
from axonc.frontends import import_program
from axonc.imported.stablehlo_module import path_name
from axonc.weights.references import HeldArray

X = np.linspace(-3, 3, 32, dtype=np.float32).reshape(4, 8)
RNG = np.random.default_rng(0)


def _mlp(params, x, unused):
    hidden = jax.nn.gelu(x @ params["up"]["w"], approximate=False)
    return {"hidden": hidden, "out": (hidden @ params["down"][0],)}


def _params():
    return {
        "up": {"w": RNG.standard_normal((8, 16), np.float32), "never": np.ones(3, np.float32)},
        "down": [RNG.standard_normal((16, 2), np.float32)],
    }


@pytest.mark.parametrize("route", ["lowered", "exported"])
def test_names_come_from_the_pytree_and_unread_arguments_go(route, run):
    params = _params()
    traced = jax.jit(_mlp)
    source = {
        "lowered": lambda: traced.lower(params, X, X),
        "exported": lambda: jax.export.export(traced)(params, X, X),
    }[route]()
    program = import_program(source)
    assert [a.name for a in program.arguments] == ["params.down.0", "params.up.w", "x"]
    assert program.result_names == ("result.hidden", "result.out.0")
    values = {"params.down.0": params["down"][0], "params.up.w": params["up"]["w"], "x": X}
    hidden, out = run(program, values)
    expected = _mlp(params, X, X)
    np.testing.assert_allclose(hidden, expected["hidden"], atol=1e-5)
    np.testing.assert_allclose(out, expected["out"][0], atol=1e-5)


def test_path_name():
    assert path_name("p['encoder'][0].w") == "p.encoder.0.w"
    assert path_name("p['encoder.layer.0.w']") == "p.encoder.layer.0.w"


def test_erf_family_and_top_k_stay_composites(census):
    def f(x):
        return jax.lax.erf(x), jax.scipy.special.erfc(x), jax.lax.top_k(x, 2)

    counts = census(import_program(jax.jit(f).lower(X)))
    assert counts["chlo.erf"] == counts["chlo.erfc"] == counts["chlo.top_k"] == 1


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.bool_, ml_dtypes.bfloat16])
@pytest.mark.parametrize("route", ["lowered", "exported"])
def test_large_constants_become_weights(dtype, route, run):
    table = np.round(RNG.standard_normal((600, 8))).astype(dtype)  # has zeros: no splat as bool
    traced = jax.jit(lambda i: jnp.asarray(table)[i].astype(jnp.float32))
    index = np.array([3, 599, 0], np.int32)
    source = traced.lower(index) if route == "lowered" else jax.export.export(traced)(index)
    program = import_program(source)
    (weight,) = program.weights.values()
    assert list(program.weights) == ["constant.0"] and isinstance(weight.storage, HeldArray)
    np.testing.assert_array_equal(weight.load(), table)
    assert len(program.module_bytes) < 6000
    np.testing.assert_array_equal(run(program, {"i": index})[0], table[index].astype(np.float32))


def test_small_and_splat_constants_stay(census):
    small, splat = np.arange(8, dtype=np.float32), np.ones((600, 8), np.float32)
    program = import_program(jax.jit(lambda x: (x + small, splat * 2)).lower(X))
    assert not program.weights


def test_constant_used_inside_a_loop_is_hoisted_too(run):
    table = RNG.standard_normal((40, 40)).astype(np.float32)
    f = jax.jit(lambda x: jax.lax.fori_loop(0, 3, lambda _, v: jnp.tanh(v @ table), x))
    x = RNG.standard_normal((2, 40)).astype(np.float32)
    program = import_program(f.lower(x))
    assert list(program.weights) == ["constant.0"]
    np.testing.assert_allclose(run(program, {"x": x})[0], f(x), atol=1e-5)


def test_locations_name_the_scope_and_this_file(located):
    def f(x):
        with jax.named_scope("block"):
            return jnp.tanh(x)

    text = located(import_program(jax.jit(f).lower(X)))
    assert "block/tanh" in text
    assert 'test_jax_frontend.py":' in text


def test_import_leaves_the_lowered_program_usable():
    lowered = jax.jit(lambda x: jax.scipy.special.erfc(x)).lower(X)
    before = lowered.as_text()
    import_program(lowered)
    assert lowered.as_text() == before
    np.testing.assert_allclose(lowered.compile()(X), jax.scipy.special.erfc(X), rtol=1e-6)


def test_import_is_deterministic():
    params = _params()
    first, second = (import_program(jax.jit(_mlp).lower(params, X, X)) for _ in range(2))
    assert first.module_bytes == second.module_bytes


def test_program_for_several_platforms_is_refused():
    exported = jax.export.export(jax.jit(jnp.tanh), platforms=["cpu", "cuda"])(X)
    with pytest.raises(UnsupportedOpError, match="exported for 2 platforms: cpu, cuda"):
        import_program(exported)


def test_dynamic_export_is_refused():
    shape = jax.export.symbolic_shape("n, 8")
    exported = jax.export.export(jax.jit(jnp.tanh))(jax.ShapeDtypeStruct(shape, np.float32))
    with pytest.raises(UnsupportedOpError, match="dynamic type"):
        import_program(exported)


def test_importing_the_package_loads_no_framework():
    code = (
        "import sys, axonc.frontends; print(sorted({'jax', 'torch', 'jaxlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_calls_of_the_host_are_named() -> None:
    lowered = jax.jit(lambda x: jnp.linalg.cholesky(x @ x.T)).lower(np.eye(4, dtype=np.float32))
    with pytest.raises(UnsupportedOpError, match=r"custom call @lapack_\w*potrf") as caught:
        axonc.compile(lowered)
    assert "on the host" in str(caught.value)


def test_callbacks_are_refused_as_such() -> None:
    def called(x: jax.Array) -> jax.Array:
        return jax.pure_callback(lambda value: value, x, x)

    with pytest.raises(UnsupportedOpError, match="callbacks run on the host"):
        axonc.compile(jax.jit(called).lower(np.eye(4, dtype=np.float32)))
