"""Small JAX programs: the module after every pass evaluates to JAX's numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_mlir import ir

from axonc.dialects.locations import source_location
from axonc.dialects.neuron.evaluate import evaluate_module
from axonc.driver.pipeline import TensorOptions, load_module, tensor_pipeline
from axonc.frontends.jax_frontend import import_lowered
from axonc.options import CompileOptions
from axonc.pass_manager import ManagerOptions, PassManager
from axonc.passes.base import ModuleState
from axonc.passes.cast.cast_report import CastRow
from tests.support.neuron_modules import lower_to_neuron

RNG = np.random.default_rng(3)


def array(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


def op_counts(module: ir.Module) -> Counter[str]:
    """How often each operation is in the module, regions included."""
    counts: Counter[str] = Counter()

    def visit(op: ir.Operation) -> ir.WalkResult:
        counts[op.name] += 1
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    return counts


def lowered(function: Callable[..., object], arguments: Sequence[np.ndarray]) -> ir.Module:
    return lower_to_neuron(import_lowered(jax.jit(function).lower(*arguments)))


def check(
    function: Callable[..., object], *arguments: np.ndarray, tolerance: float = 2e-5
) -> ir.Module:
    """Evaluate after every pass from legalisation on; the module after the last one."""
    expected = jax.tree.leaves(jax.jit(function)(*arguments))
    module = load_module(import_lowered(jax.jit(function).lower(*arguments)))
    state = ModuleState(module)
    passes = tensor_pipeline()
    first = next(i for i, p in enumerate(passes) if p.name == "legalize-to-neuron")
    PassManager(passes[: first + 1]).run(state)
    compare(module, arguments, expected, tolerance)
    for item in passes[first + 1 :]:
        PassManager([item]).run(state)
        compare(module, arguments, expected, tolerance)
    return module


def compare(
    module: ir.Module, arguments: Sequence[np.ndarray], expected: Sequence[object], tolerance: float
) -> None:
    for found, wanted in zip(evaluate_module(module, arguments), expected, strict=True):
        np.testing.assert_allclose(
            found.astype(np.float64), np.asarray(wanted, np.float64), rtol=tolerance, atol=tolerance
        )


# ---- programs ---------------------------------------------------------------------------------


def mlp(x, w1, b1, w2, b2):  # type: ignore[no-untyped-def]
    return jax.nn.gelu(x @ w1 + b1, approximate=False) @ w2 + b2


def layer_norm(x, gamma, beta):  # type: ignore[no-untyped-def]
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-5) * gamma + beta


def attention(x, wq, wk, wv, wo, bias, mask):  # type: ignore[no-untyped-def]
    batch, length, width = x.shape
    heads = 4

    def split(y):  # type: ignore[no-untyped-def]
        return y.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)

    q, k, v = split(x @ wq + bias), split(x @ wk), split(x @ wv)
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) / np.sqrt(width // heads).astype(np.float32)
    p = jax.nn.softmax(scores + jnp.where(mask[:, None, None, :] > 0, 0.0, -1e9), axis=-1)
    context = (
        jnp.einsum("bhqk,bhkd->bhqd", p, v).transpose(0, 2, 1, 3).reshape(batch, length, width)
    )
    return x + context @ wo


def test_mlp_is_two_dots_with_epilogues() -> None:
    module = check(mlp, array(6, 16), array(16, 32), array(32), array(32, 8), array(8))
    counts = op_counts(module)
    assert counts["neuron.dot"] == 2 and counts["neuron.gelu"] == 1 and not counts["neuron.fused"]


def test_attention_block() -> None:
    mask = np.ones((2, 8), np.int32)
    mask[1, 5:] = 0
    weights = [array(16, 16) * np.float32(0.3) for _ in range(4)]
    module = check(attention, array(2, 8, 16), *weights, array(16), mask)
    counts = op_counts(module)
    assert counts["neuron.dot"] == 6 and counts["neuron.softmax"] == 1
    assert counts["neuron.transpose"] <= 1, "head transposes are dot dims"


NORMS: dict[str, Callable[..., object]] = {
    "two_pass": layer_norm,
    "divides_by_sqrt": lambda x, g, b: (
        (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5) * g + b
    ),
    "one_pass_gamma_first": lambda x, g, b: (
        (x - x.mean(-1, keepdims=True))
        * (jax.lax.rsqrt(jnp.maximum(0, jnp.square(x).mean(-1, keepdims=True)
                                     - jnp.square(x.mean(-1, keepdims=True))) + 1e-5) * g)
        + b
    ),
    "beta_first": lambda x, g, b: b + g * (
        (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", NORMS)
def test_layer_norm_forms(form: str) -> None:
    module = check(NORMS[form], array(3, 4, 24), array(24), array(24), tolerance=1e-4)
    counts = op_counts(module)
    assert counts["neuron.layer_norm"] == 1 and not counts["neuron.reduce"], counts


@pytest.mark.parametrize("with_gamma", [True, False])
def test_rms_norm(with_gamma: bool) -> None:
    def rms(x, g):  # type: ignore[no-untyped-def]
        y = x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)
        return y * g if with_gamma else y + 0 * g.sum()

    counts = op_counts(check(rms, array(4, 24), array(24)))
    assert counts["neuron.rms_norm"] == 1, counts


def test_layer_norm_without_gamma_and_beta() -> None:
    def norm(x):  # type: ignore[no-untyped-def]
        return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-3)

    assert op_counts(check(norm, array(4, 24)))["neuron.layer_norm"] == 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax(axis: int) -> None:
    module = check(lambda x: jax.nn.softmax(x, axis=axis), array(3, 4, 5))
    assert op_counts(module)["neuron.softmax"] == 1


ACTIVATIONS: dict[str, tuple[Callable[..., object], str]] = {
    "gelu": (lambda x: jax.nn.gelu(x, approximate=False), "neuron.gelu"),
    "gelu_tanh": (lambda x: jax.nn.gelu(x, approximate=True), "neuron.gelu_tanh"),
    "gelu_erf": (lambda x: 0.5 * x * (1 + jax.lax.erf(x * 0.70710678)), "neuron.gelu"),
    "gelu_cubed_by_power": (
        lambda x: 0.5 * x * (1 + jnp.tanh(0.7978845608 * (x + 0.044715 * x**3))),
        "neuron.gelu_tanh",
    ),
    "silu": (jax.nn.silu, "neuron.silu"),
    "sigmoid": (jax.nn.sigmoid, "neuron.logistic"),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_becomes_one_operation(name: str) -> None:
    function, op = ACTIVATIONS[name]
    counts = op_counts(check(function, array(4, 16) * np.float32(3)))
    assert counts[op] == 1 and counts["neuron.yield"] == 1, counts
    assert sum(n for op_name, n in counts.items() if op_name.startswith("neuron.")) == 3


LIKE_GELU: dict[str, Callable[..., object]] = {
    "scaled": lambda x: 0.5 * x * (1 + jax.lax.erf(x * 0.70)),
    "half_missing": lambda x: x * (1 + jax.lax.erf(x * 0.70710678)),
    "quick": lambda x: x * jax.nn.sigmoid(1.702 * x),
}


@pytest.mark.parametrize("name", LIKE_GELU)
def test_near_misses_are_not_gelu(name: str) -> None:
    counts = op_counts(check(LIKE_GELU[name], array(4, 16)))
    assert not counts["neuron.gelu"] and not counts["neuron.gelu_tanh"]


def test_erfc_outside_gelu_keeps_its_precision() -> None:
    x = np.linspace(2, 8, 32, dtype=np.float32).reshape(4, 8)
    module = lowered(jax.scipy.special.erfc, [x])
    expected = np.asarray(jax.jit(jax.scipy.special.erfc)(x))
    np.testing.assert_allclose(evaluate_module(module, [x])[0], expected, rtol=1e-4)


def test_embedding_lookup_and_positions() -> None:
    def embed(table, ids):  # type: ignore[no-untyped-def]
        return jnp.take(table, ids, axis=0, mode="clip") * jnp.arange(5.0)[:, None]

    module = check(embed, array(10, 6), np.array([3, -1, 42, 9, 0], np.int32))
    assert op_counts(module)["neuron.gather_rows"] == 1


# ---- auto-cast, speed, locations --------------------------------------------------------------

BOUNDS = {("matmult", "bf16"): 4e-2, ("matmult", "fp16"): 5e-3, ("matmult", "tf32"): 5e-3,
          ("all", "bf16"): 1e-1, ("all", "fp16"): 1e-2}  # fmt: skip


@pytest.mark.parametrize(("mode", "kind"), BOUNDS)
def test_auto_cast_stays_close_and_is_exact_in_float64(mode: str, kind: str) -> None:
    arguments = [array(6, 16), array(16, 32) / 4, array(32), array(32, 8) / 6, array(8)]
    arguments = [a.astype(np.float32) for a in arguments]
    expected = np.asarray(jax.jit(mlp)(*arguments))
    program = import_lowered(jax.jit(mlp).lower(*arguments))
    module = lower_to_neuron(
        program, TensorOptions(CompileOptions(auto_cast=mode, auto_cast_type=kind, optlevel=3))
    )
    found = evaluate_module(module, arguments)[0]
    assert found.dtype == np.float32
    error = np.abs(found - expected).max()
    assert 0 < error < BOUNDS[mode, kind]
    exact = evaluate_module(module, arguments, f64=True)[0]
    assert np.abs(exact - expected).max() < 1e-5, "casts are the only difference"


def test_auto_cast_reports_every_dot() -> None:
    arguments = [array(6, 16), array(16, 32), array(32), array(32, 8), array(8)]
    module = load_module(import_lowered(jax.jit(mlp).lower(*arguments)))
    passes = tensor_pipeline(TensorOptions(CompileOptions(auto_cast="matmult", optlevel=3)))
    state = ModuleState(module)
    PassManager(passes).run(state)
    report = [row for row in state.reports if isinstance(row, CastRow)]
    assert [(row.op, row.source, row.target) for row in report] == [
        ("neuron.dot", "f32", "bf16")
    ] * 2
    assert all(row.location.file.endswith(".py") for row in report)


def test_arguments_are_named_and_operations_know_their_line() -> None:
    module = lowered(lambda x, w: jnp.tanh(x @ w), [array(4, 8), array(8, 8)])
    main = module.body.operations[0]
    names = [a["neuron.name"].value for a in main.attributes["arg_attrs"]]
    assert names == ["x", "w"]
    dot = main.regions[0].blocks[0].operations[0]
    assert source_location(dot).file.endswith("test_tensor_pipeline.py")


def test_pipeline_is_nearly_linear() -> None:
    def deep(x, w):  # type: ignore[no-untyped-def]
        for _ in range(48):
            x = jax.nn.gelu(layer_norm(x @ w, w[0], w[1]), approximate=True)
        return x

    program = import_lowered(jax.jit(deep).lower(array(4, 16), array(16, 16)))
    manager = PassManager(tensor_pipeline(), ManagerOptions())
    manager.run(ModuleState(load_module(program)))
    assert sum(t.seconds for t in manager.timings) < 5


def test_a_pass_that_ran_before_tells_the_same_again() -> None:
    arguments = [array(6, 16), array(16, 32), array(32), array(32, 8), array(8)]
    passes = tensor_pipeline(TensorOptions(CompileOptions(auto_cast="matmult", optlevel=3)))
    told = []
    for _ in range(2):
        state = ModuleState(load_module(import_lowered(jax.jit(mlp).lower(*arguments))))
        PassManager(passes).run(state)
        told.append(state.reports)
    assert told[0] and told[0] == told[1]
