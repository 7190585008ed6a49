"""Biases and residuals before an all_reduce: the same result, also in layers that repeat."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import axonc
from axonc.dialects.neuron.evaluate import evaluate_module
from axonc.dialects.neuron.evaluate_cores import evaluate_on_cores
from axonc.driver.driver import compile_imported
from axonc.driver.pipeline import TensorOptions
from axonc.frontends import bind_arrays, import_program
from axonc.imported.program import ImportedProgram
from axonc.options import CompileOptions
from axonc.partition.tensor_parallel import shard_by_tensor
from axonc.run.executable import Executable
from tests.support.neuron_modules import lower_to_neuron

jax = pytest.importorskip("jax")
jnp = jax.numpy

LAYERS, WIDTH, WIDE = 3, 16, 48


def network(x: Any, layers: Any) -> Any:
    """Layers with a norm behind the residual, whose scale every core has."""
    for p in layers:
        hidden = jax.nn.relu(x @ p["up"] + p["up_bias"])
        x = x + hidden @ p["down"] + p["down_bias"]
        mean = x.mean(-1, keepdims=True)
        x = p["gain"] * (x - mean) / jnp.sqrt(jnp.square(x - mean).mean(-1, keepdims=True) + 1e-5)
    return x


def program() -> tuple[ImportedProgram, list[np.ndarray]]:
    """The network with its weights, and its arguments in order."""
    rng = np.random.default_rng(5)

    def made(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32) * np.float32(0.3)

    shapes = {"up": (WIDTH, WIDE), "up_bias": (WIDE,), "down": (WIDE, WIDTH)}
    shapes |= {"down_bias": (WIDTH,), "gain": (WIDTH,)}
    layers = [{name: made(*shape) for name, shape in shapes.items()} for _ in range(LAYERS)]
    x = made(4, WIDTH)
    imported = import_program(jax.jit(network).lower(x, layers))
    arrays = [x, *jax.tree.leaves(layers)]
    names = [a.name for a in imported.arguments[1:]]
    return bind_arrays(imported, dict(zip(names, arrays[1:], strict=True))), arrays


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("cores", [2, 3, 4])
def test_the_reference_interpreter_agrees_on_one_and_on_many_cores(
    cores: int, repeat: bool
) -> None:
    imported, arrays = program()
    options = TensorOptions(CompileOptions(optlevel=2 if repeat else 3))
    (wanted,) = evaluate_module(lower_to_neuron(imported, options), arrays, f64=True)
    sharded = shard_by_tensor(imported, cores)
    module = lower_to_neuron(sharded, options)
    assert ("neuron.repeat" in str(module)) == repeat
    assert str(module).count("neuron.all_reduce") == (1 if repeat else LAYERS)
    parts = [
        [
            array if a.sharding is None else array[a.sharding.index_of(rank, array.shape)]
            for a, array in zip(sharded.arguments, arrays, strict=True)
        ]
        for rank in range(cores)
    ]
    error = 1e-12 if cores != 3 else 1e-6  # a third is rounded
    for (found,) in evaluate_on_cores(module, parts, f64=True):
        np.testing.assert_allclose(found, wanted, rtol=error, atol=error)


def test_addends_ride_in_the_product() -> None:
    imported, _ = program()
    module = lower_to_neuron(shard_by_tensor(imported, 2), TensorOptions())
    sums = [line for line in str(module).splitlines() if "neuron.all_reduce" in line]
    for line in sums:
        result = line.split()[0]
        users = [other for other in str(module).splitlines() if f"{result}," in other]
        assert not any("neuron.fused" in user for user in users), "an addition behind the sum"


def test_repeated_layers_on_cores_equal_one_core() -> None:
    imported, arrays = program()
    (wanted,) = Executable(compile_imported(imported, CompileOptions())).run(arrays[0])
    for optlevel in (2, 3):  # one loop; every layer by itself
        options = CompileOptions(cores=2, parallel="tensor", optlevel=optlevel)
        executable = Executable(compile_imported(imported, options))
        (found,) = executable.run(arrays[0], checked=True)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_a_residual_of_each_core_its_own_is_left_behind_the_sum() -> None:
    mesh = jax.sharding.AbstractMesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec

    def local(x: Any, w: Any, r: Any) -> Any:
        return jax.lax.psum(x @ w, "x") + r

    function = jax.jit(
        jax.shard_map(
            local, mesh=mesh, in_specs=(spec(None, "x"), spec("x"), spec("x")), out_specs=spec("x")
        )
    )
    rng = np.random.default_rng(2)
    x, w, r = (rng.standard_normal(s).astype(np.float32) for s in ((4, 8), (8, 6), (8, 6)))
    lowered = function.trace(x, w, r).lower(lowering_platforms=("cpu",))
    (found,) = axonc.compile(lowered).run(x, w, r, checked=True)
    np.testing.assert_allclose(found, np.tile(x @ w, (2, 1)) + r, rtol=1e-5, atol=1e-5)


def test_parts_number_what_ranks_hold() -> None:
    imported, _ = program()
    sharded = shard_by_tensor(imported, 3)
    cut = {a.name: a.sharding.parts for a in sharded.arguments if a.sharding is not None}
    assert cut["layers.0.up"] == (0, 1, 2)
    assert cut["layers.0.gain"] == cut["x"] == (0, 0, 0)
