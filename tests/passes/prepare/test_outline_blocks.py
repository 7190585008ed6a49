"""outline-blocks finds the layers of a network, and what it makes computes what was there."""

from __future__ import annotations

import re

import numpy as np
import pytest
from call_count import calls_in
from torch_mlir import ir

from axonc.context import make_context, parse_module
from axonc.diagnostics import CompileError
from axonc.dialects.attributes import NUMPY_DTYPES, element_name
from axonc.dialects.neuron.evaluate import evaluate_module
from axonc.dialects.neuron.repeat import Repeat, repeats_in
from axonc.driver.pipeline import TensorOptions, tensor_pipeline
from axonc.options import CompileOptions
from axonc.pass_manager import PassManager, parse_pipeline
from axonc.passes.base import ModuleState
from axonc.passes.graph.module import main_function

FLAT = "inline-calls,simplify,narrow-integers,legalize-to-neuron"
OUTLINED = "inline-calls,outline-blocks,simplify,narrow-integers,legalize-to-neuron"
ROUND_TRIP = "inline-calls,outline-blocks,inline-blocks,simplify,narrow-integers,legalize-to-neuron"

_HEAD = """func.func private @act_{k}(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {{
  %0 = stablehlo.tanh %x : tensor<4x4xf32>
  return %0 : tensor<4x4xf32>
}}
"""
_LAYER = """
  %a{k} = stablehlo.dot_general {x}, %w{k}, contracting_dims = [1] x [0] : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  %b{k} = stablehlo.broadcast_in_dim %v{k}, dims = [1] : (tensor<4xf32>) -> tensor<4x4xf32>
  %c{k} = stablehlo.add %a{k}, %b{k} : tensor<4x4xf32>
  %d{k} = stablehlo.composite "axonc.gelu" %c{k} {{composite_attributes = {{approximate = "none"}}, decomposition = @act_{k}}} : (tensor<4x4xf32>) -> tensor<4x4xf32>
  %h{k} = stablehlo.broadcast_in_dim %half, dims = [] : (tensor<f32>) -> tensor<4x4xf32>
  %e{k} = stablehlo.multiply %d{k}, %h{k} : tensor<4x4xf32>
  %f{k} = stablehlo.transpose %e{k}, dims = [1, 0] : (tensor<4x4xf32>) -> tensor<4x4xf32>
  %g{k} = stablehlo.add %f{k}, %mask : tensor<4x4xf32>
  %i{k} = stablehlo.subtract %g{k}, {x} : tensor<4x4xf32>
  %j{k} = stablehlo.negate %i{k} : tensor<4x4xf32>
  %k{k} = stablehlo.tanh %j{k} : tensor<4x4xf32>
  %l{k} = stablehlo.maximum %k{k}, %e{k} : tensor<4x4xf32>
  %x{k} = stablehlo.add %l{k}, {x} : tensor<4x4xf32>"""  # noqa: E501  MLIR text


def network(layers: int) -> str:
    """Layers with weights of their own, a mask for all, and constants; returns each %e too."""
    arguments = ["%x: tensor<4x4xf32>", "%m: tensor<4x4xf32>"]
    for k in range(layers):
        arguments += [f"%w{k}: tensor<4x4xf32>", f"%v{k}: tensor<4xf32>"]
    body = "".join(
        _LAYER.format(k=k, x="%start" if k == 0 else f"%x{k - 1}") for k in range(layers)
    )
    results = [f"%e{k}" for k in range(layers)] + [f"%x{layers - 1}"]
    kinds = ", ".join(["tensor<4x4xf32>"] * len(results))
    return (
        "".join(_HEAD.format(k=k) for k in range(layers))
        + f"""func.func @main({", ".join(arguments)}) -> ({kinds}) {{
  %half = stablehlo.constant dense<0.5> : tensor<f32>
  %mask = stablehlo.exponential %m : tensor<4x4xf32>
  %start = stablehlo.sine %x : tensor<4x4xf32>{body}
  return {", ".join(results)} : {kinds}
}}"""
    )


def lowered(text: str, pipeline: str) -> ir.Module:
    state = ModuleState(parse_module(text, make_context()))
    PassManager(parse_pipeline(pipeline)).run(state)
    return state.module


def repeats(text: str) -> list[Repeat]:
    module = lowered(text, "inline-calls,outline-blocks")
    return [Repeat.of(op) for op in repeats_in(main_function(module.operation))]


def random_inputs(module: ir.Module) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    arguments = main_function(module.operation).regions[0].blocks[0].arguments
    kinds = [(tuple(a.type.shape), NUMPY_DTYPES[element_name(a.type)]) for a in arguments]
    return [
        rng.integers(0, 2, s).astype(d) if d.kind in "iub" else rng.normal(0, 0.3, s).astype(d)
        for s, d in kinds
    ]


def assert_same_results(text: str) -> None:
    """Flat, outlined, and outlined and inlined again compute the same bits."""
    flat = lowered(text, FLAT)
    inputs = random_inputs(flat)
    expected = evaluate_module(flat, inputs)
    for pipeline in (OUTLINED, ROUND_TRIP):
        for found, wanted in zip(
            evaluate_module(lowered(text, pipeline), inputs), expected, strict=True
        ):
            np.testing.assert_array_equal(found, wanted)


def test_roles_of_what_layers_read_and_return() -> None:
    (found,) = repeats(network(4))
    assert (found.count, len(found.carried), len(found.invariant)) == (4, 1, 1)
    assert [len(v) for v in found.varying] == [2] * 4
    assert [len(v) for v in found.collected] == [1] * 4


@pytest.mark.parametrize("layers", [3, 5])
def test_outlining_changes_no_result(layers: int) -> None:
    assert_same_results(network(layers))


@pytest.mark.parametrize("cast", ["none", "matmult", "all"])
def test_the_tensor_pipeline_takes_functions_as_it_takes_main(cast: str) -> None:
    flat, outlined = (
        ModuleState(lowered(network(3), f"inline-calls{more}")) for more in ("", ",outline-blocks")
    )
    for state in (flat, outlined):
        PassManager(tensor_pipeline(TensorOptions(CompileOptions(auto_cast=cast, optlevel=3)))).run(
            state
        )
    assert repeats_in(main_function(outlined.module.operation))
    inputs = random_inputs(flat.module)
    pairs = zip(
        evaluate_module(outlined.module, inputs), evaluate_module(flat.module, inputs), strict=True
    )
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.02 if cast == "all" else 0)


def test_a_callee_of_other_types_is_refused() -> None:
    text = str(lowered(network(3), "inline-calls,outline-blocks"))
    assert "@block_0(%arg0: tensor<4x4xf32>" in text
    renamed = text.replace("callee = @block_0", "callee = @act_0")
    with pytest.raises(CompileError, match=r"\(C5\) @act_0 is .* expected"):
        parse_module(renamed, make_context())


def test_fewer_than_three_layers_stay() -> None:
    assert repeats(network(2)) == []


def test_decompositions_that_differ_stay() -> None:
    text = network(4).replace("stablehlo.tanh %x :", "stablehlo.sine %x :", 1)
    (found,) = repeats(text)
    assert found.count == 3  # the first layer has another activation
    assert_same_results(text)


def test_constants_that_differ_stay() -> None:
    text = network(4).replace(
        "%half = stablehlo.constant dense<0.5> : tensor<f32>",
        "%half = stablehlo.constant dense<0.5> : tensor<f32>\n"
        "  %other = stablehlo.constant dense<0.25> : tensor<f32>",
    )
    text = text.replace(
        "%h3 = stablehlo.broadcast_in_dim %half", "%h3 = stablehlo.broadcast_in_dim %other"
    )  # noqa: E501
    (found,) = repeats(text)
    assert found.count == 3
    assert_same_results(text)


def test_a_value_read_two_layers_later_prevents_it() -> None:
    assert repeats(re.sub(r"subtract %g3, %x2", "subtract %g3, %x1", network(4))) == []


def test_a_value_of_an_inner_layer_read_by_others_prevents_it() -> None:
    text = network(3).replace(
        "return %e0,", "%z = stablehlo.negate %e1 : tensor<4x4xf32>\n  return %z,"
    )  # noqa: E501
    assert repeats(text) == []


def test_weights_that_are_computed_stay() -> None:
    text = network(3).replace(
        "= stablehlo.dot_general %x0, %w1,", "= stablehlo.dot_general %x0, %mask,"
    )  # noqa: E501
    assert repeats(text) == []


def test_shared_weights_are_invariant() -> None:
    text = re.sub(
        r", %w\d,", ", %w0,", re.sub(r"broadcast_in_dim %v\d", "broadcast_in_dim %v0", network(4))
    )  # noqa: E501
    (found,) = repeats(text)
    assert len(found.invariant) == 3
    assert found.varying == ((),) * 4
    assert_same_results(text)


def test_work_grows_with_the_operations() -> None:
    work = []
    for layers in (50, 200):
        state = ModuleState(parse_module(network(layers), make_context()))
        (outline,) = parse_pipeline("outline-blocks")
        work.append(calls_in(outline.run_on, state))
        assert len(repeats_in(main_function(state.module.operation))) == 1
    assert work[1] < 4.5 * work[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "carried", "invariant", "varying", "collected"),
    [("gpt2-decode", 1, 2, 14, 2), ("albert-base", 1, 17, 0, 0)],
)
def test_layers_of_a_model(
    name: str, carried: int, invariant: int, varying: int, collected: int
) -> None:
    pytest.importorskip("transformers")
    from axonc.driver.pipeline import load_module
    from axonc.tools.models.registry import build

    module = load_module(build(name, layers=4, small=True).imported())
    text = str(module)
    (found,) = repeats(text)
    sizes = (len(found.carried), len(found.invariant), len(found.varying[0]))
    assert (found.count, *sizes) == (4, carried, invariant, varying)
    assert len(found.collected[0]) == collected
    assert_same_results(text)
