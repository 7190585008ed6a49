"""The choice of what is cut over cores, and whole programs on them against one core."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import axonc
from axonc.diagnostics import CompileError, UsageError
from axonc.frontends import ImportedProgram, import_program
from axonc.partition.data_parallel import shard_by_batch
from axonc.partition.tensor_parallel import shard_by_tensor
from axonc.project_paths import project_path
from axonc.weights.references import WeightRef

TOKENS, WIDTH, HEADS, HIDDEN = 16, 32, 8, 64
SHAPES = {
    "qkv": (WIDTH, 3 * WIDTH),
    "qkv_bias": (3 * WIDTH,),
    "out": (WIDTH, WIDTH),
    "up": (WIDTH, HIDDEN),
    "up_bias": (HIDDEN,),
    "down": (HIDDEN, WIDTH),
    "gamma": (WIDTH,),
}

HERE_IN_PROJECT = project_path(__file__)


def weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {n: random.normal(size=s, scale=0.2).astype(np.float32) for n, s in SHAPES.items()}


def layer(w: dict[str, Any], x: Any) -> Any:
    """A transformer layer, queries, keys and values of one weight; x [batch, tokens, width]."""
    fused = _norm(x, w["gamma"]) @ w["qkv"] + w["qkv_bias"]
    query, key, value = (_heads(part) for part in jnp.split(fused, 3, axis=-1))
    scores = jnp.einsum("bhtd,bhsd->bhts", query, key) / np.sqrt(WIDTH // HEADS)
    mask = jnp.tril(jnp.ones((TOKENS, TOKENS), bool))
    shares = jax.nn.softmax(jnp.where(mask, scores, -1e9), axis=-1)
    mixed = jnp.einsum("bhts,bhsd->bthd", shares, value).reshape(x.shape)
    x = x + mixed @ w["out"]
    hidden = jax.nn.gelu(_norm(x, w["gamma"]) @ w["up"] + w["up_bias"], approximate=False)
    return x + hidden @ w["down"]


def _heads(x: Any) -> Any:
    return x.reshape(*x.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)


def _norm(x: Any, gamma: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gamma


@pytest.fixture(scope="module")
def program() -> ImportedProgram:
    types = {n: jax.ShapeDtypeStruct(s, np.float32) for n, s in SHAPES.items()}
    x = jax.ShapeDtypeStruct((4, TOKENS, WIDTH), np.float32)
    return import_program(jax.jit(layer).lower(types, x), weights=weights())


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, TOKENS, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(program: ImportedProgram, inputs: np.ndarray) -> np.ndarray:
    return axonc.compile(program).run(inputs)[0]


def error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_columns_then_rows_and_heads(
    program: ImportedProgram, census: Callable[[ImportedProgram], Any]
) -> None:
    sharded = shard_by_tensor(program, 4)
    cuts = {a.name.removeprefix("w."): str(a.sharding) for a in sharded.arguments}
    assert cuts == {
        "down": "[tp, -]",
        "gamma": "[-]",
        "out": "[tp, -]",
        "qkv": "[-, -, tp]",
        "qkv_bias": "[-, tp]",
        "up": "[-, tp]",
        "up_bias": "[tp]",
        "x": "[-, -, -]",
    }
    counts = census(sharded)
    assert counts["stablehlo.all_reduce"] == 2
    assert not any(counts[f"stablehlo.{n}"] for n in ("all_gather", "all_to_all", "dynamic_slice"))


@pytest.mark.parametrize("cores", [2, 4, 8])
def test_tensor_parallel_equals_one_core(
    program: ImportedProgram, inputs: np.ndarray, expected: np.ndarray, cores: int
) -> None:
    executable = axonc.compile(program, cores=cores, parallel="tensor")
    assert error(executable.run(inputs, checked=True)[0], expected) < 1e-5
    assert any("w.up: cut [-, tp]" in line for line in executable.compiled.shardings)


def test_data_parallel_equals_one_core(
    program: ImportedProgram, inputs: np.ndarray, expected: np.ndarray, census: Any
) -> None:
    counts = census(shard_by_batch(program, 2))
    assert not any(counts[f"stablehlo.{n}"] for n in ("all_reduce", "all_gather"))
    executable = axonc.compile(program, cores=4, parallel="data")
    assert error(executable.run(inputs, checked=True)[0], expected) < 1e-5


def test_heads_that_do_not_divide_stay_whole(program: ImportedProgram) -> None:
    notes = _notes(shard_by_tensor(program, 3))
    assert "whole on every core: 32 does not divide by 3" in notes["qkv"]
    assert HERE_IN_PROJECT in notes["qkv"]


def test_more_cores_than_heads_share_them(program: ImportedProgram) -> None:
    notes = _notes(shard_by_tensor(program, 16))
    assert "cut [-, -, tp]" in notes["qkv"]
    assert "cut [-, tp.tp_group]" in notes["up"]


def _notes(sharded: ImportedProgram) -> dict[str, str]:
    return {n.split(":")[0].removeprefix("w."): n for n in sharded.sharding_notes}


@pytest.mark.parametrize(("key_heads", "cores"), [(2, 4), (2, 8), (4, 8)])
def test_cores_share_heads_of_keys_and_divide_their_queries(key_heads: int, cores: int) -> None:
    """Grouped queries, with a cache of keys: more cores than heads of keys."""
    size = WIDTH // HEADS
    shapes = {"q": (WIDTH, WIDTH), "k": (WIDTH, key_heads * size), "out": (WIDTH, WIDTH)}

    def attention(w: dict[str, Any], x: Any, cache: Any) -> Any:
        normed = _norm(x, 1.0)
        query = (normed @ w["q"]).reshape(TOKENS, key_heads, HEADS // key_heads, size)
        keys = jnp.concatenate([cache, (normed @ w["k"]).reshape(TOKENS, key_heads, size)])
        shares = jax.nn.softmax(jnp.einsum("tkgd,skd->kgts", query, keys), axis=-1)
        mixed = jnp.einsum("kgts,skd->tkgd", shares, keys)
        return _norm(x + mixed.reshape(TOKENS, WIDTH) @ w["out"], 1.0)

    rng = np.random.default_rng(0)
    params = {n: rng.normal(size=s, scale=0.2).astype(np.float32) for n, s in shapes.items()}
    arrays = [
        rng.normal(size=s).astype(np.float32) for s in ((TOKENS, WIDTH), (8, key_heads, size))
    ]
    lowered = jax.jit(attention).lower(params, *arrays)
    program = shard_by_tensor(import_program(lowered, weights=params), cores)
    report = dict(line.split(": ", 1) for line in program.sharding_notes)
    assert report["w.q"] == "cut [-, tp.tp_group]"
    assert report["w.k"] == "cut [-, tp]"
    (found,) = axonc.compile(lowered, weights=params, parallel="tensor", cores=cores).run(*arrays)
    assert error(found, np.asarray(jax.jit(attention)(params, *arrays))) < 1e-5


def test_a_batch_that_is_mixed_or_does_not_divide_is_refused(program: ImportedProgram) -> None:
    with pytest.raises(UsageError, match=r"batch of 4 does not divide into 3[\s\S]*batch of 6"):
        shard_by_batch(program, 3)
    x = jax.ShapeDtypeStruct((4, 8), np.float32)
    mixing = import_program(jax.jit(lambda x: x - x.mean(0)).lower(x))
    with pytest.raises(CompileError, match="reduce reduces over it") as caught:
        shard_by_batch(mixing, 2)
    assert caught.value.location.file == HERE_IN_PROJECT


def test_cores_without_a_way_to_use_them_are_refused(program: ImportedProgram) -> None:
    with pytest.raises(UsageError, match="--tensor-parallel or --data-parallel"):
        axonc.compile(program, cores=2)
    with pytest.raises(UsageError, match="sharded already|sharded over"):
        axonc.compile(shard_by_tensor(program, 2), cores=2, parallel="tensor")
    with pytest.raises(UsageError, match="did you mean 'tensor'"):
        axonc.compile(program, cores=2, parallel="tensr")


def test_a_split_weight_in_a_file_is_found_again(
    program: ImportedProgram, inputs: np.ndarray, expected: np.ndarray, tmp_path: Path
) -> None:
    from safetensors.numpy import save_file

    from axonc.frontends import bind_arrays
    from axonc.weights.references import open_weight_file

    save_file(weights(), tmp_path / "w.safetensors")
    stored: dict[str, WeightRef] = open_weight_file(tmp_path / "w.safetensors")
    executable = axonc.compile(bind_arrays(program, stored), cores=2, parallel="tensor")
    executable.save(tmp_path / "layer.axon")
    again = axonc.load(tmp_path / "layer.axon")
    assert error(again.run(inputs)[0], expected) < 1e-5
    assert again.compiled.shardings == executable.compiled.shardings
