"""An argmax, and any reduction, of a dim that is cut over cores: every core reduces its part."""

from __future__ import annotations

import numpy as np
import pytest

from axonc.context import make_context, parse_module
from axonc.dialects.neuron.evaluate_cores import evaluate_on_cores
from axonc.driver.pipeline import tensor_pipeline
from axonc.pass_manager import PassManager
from axonc.passes.base import ModuleState

GATHER = (
    "<{all_gather_dim = 1 : i64, replica_groups = dense<[[0, 1]]> : tensor<1x2xi64>, "
    "channel_handle = #stablehlo.channel_handle<handle = %d, type = 1>, use_global_device_ids}>"
)
TEXT = f"""module attributes {{mhlo.num_partitions = 2 : i32}} {{
func.func @main(%x: tensor<3x8xf32>, %s: tensor<i32>) -> (tensor<3xf32>, tensor<3xi32>) {{
  %n = stablehlo.iota dim = 1 : tensor<3x8xi32>
  %w = stablehlo.broadcast_in_dim %s, dims = [] : (tensor<i32>) -> tensor<3x8xi32>
  %p = stablehlo.add %n, %w : tensor<3x8xi32>
  %v = "stablehlo.all_gather"(%x) {GATHER % 1} : (tensor<3x8xf32>) -> tensor<3x16xf32>
  %q = "stablehlo.all_gather"(%p) {GATHER % 2} : (tensor<3x8xi32>) -> tensor<3x16xi32>
  %low = stablehlo.constant dense<0xFF800000> : tensor<f32>
  %c = stablehlo.constant dense<0> : tensor<i32>
  %r:2 = "stablehlo.reduce"(%v, %q, %low, %c) <{{dimensions = array<i64: 1>}}> ({{
  ^b(%a: tensor<f32>, %i: tensor<i32>, %b: tensor<f32>, %j: tensor<i32>):
    %gt = stablehlo.compare GT, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>
    %nan = stablehlo.compare NE, %a, %a : (tensor<f32>, tensor<f32>) -> tensor<i1>
    %better = stablehlo.or %gt, %nan : tensor<i1>
    %eq = stablehlo.compare EQ, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>
    %lt = stablehlo.compare LT, %i, %j : (tensor<i32>, tensor<i32>) -> tensor<i1>
    %tie = stablehlo.and %eq, %lt : tensor<i1>
    %first = stablehlo.or %better, %tie : tensor<i1>
    %m = stablehlo.select %better, %a, %b : tensor<i1>, tensor<f32>
    %k = stablehlo.select %first, %i, %j : tensor<i1>, tensor<i32>
    stablehlo.return %m, %k : tensor<f32>, tensor<i32>
  }}) : (tensor<3x16xf32>, tensor<3x16xi32>, tensor<f32>, tensor<i32>) -> (tensor<3xf32>, tensor<3xi32>)
  return %r#0, %r#1 : tensor<3xf32>, tensor<3xi32>
}}
}}"""  # noqa: E501
LAST_OF_EQUAL = ("stablehlo.compare LT, %i, %j", "stablehlo.compare GT, %i, %j")


def evaluated(text: str, x: np.ndarray) -> tuple[list[np.ndarray], str]:
    """Of core 0, and the neuron module; `x` is cut into halves of columns."""
    state = ModuleState(parse_module(text, make_context()))
    PassManager(tensor_pipeline()).run(state)
    starts = [np.array(0, np.int32), np.array(8, np.int32)]
    inputs = [list(pair) for pair in zip(np.split(x, 2, 1), starts, strict=True)]
    return evaluate_on_cores(state.module, inputs)[0], str(state.module)


def ties() -> np.ndarray:
    x = np.random.default_rng(9).integers(-2, 3, (3, 16)).astype(np.float32)
    x[1, 5], x[1, 12] = np.nan, np.nan
    x[2] = -np.inf
    return x


def test_an_argmax_over_cores() -> None:
    x = ties()
    (extreme, place), module = evaluated(TEXT, x)
    np.testing.assert_array_equal(extreme, [x[0].max(), np.nan, -np.inf])
    np.testing.assert_array_equal(place, np.argmax(x, 1))
    assert "tensor<3x16x" not in module


@pytest.mark.parametrize("is_read_alone", [True, False])
def test_what_is_gathered_for_others_too_stays_whole(is_read_alone: bool) -> None:
    text = TEXT.replace(*LAST_OF_EQUAL)
    if not is_read_alone:
        text = text.replace("-> (tensor<3xf32>, tensor<3xi32>) {\n", f"-> {WHOLE} {{\n")
        text = text.replace(
            "return %r#0, %r#1 : tensor<3xf32>", "return %v, %r#1 : tensor<3x16xf32>"
        )
    x = ties()
    (_, place), module = evaluated(text, x)
    assert [place[0], place[2]] == [15 - np.argmax(x[0, ::-1]), 15]
    assert ("tensor<3x16xf32>" not in module) == is_read_alone


WHOLE = "(tensor<3x16xf32>, tensor<3xi32>)"
