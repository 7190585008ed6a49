"""The neuron evaluator: rounding, special values, regions; against numpy and math, not itself."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from axonc.context import make_context, parse_module
from axonc.diagnostics import UsageError
from axonc.dialects.attributes import dense_to_numpy, numpy_to_dense
from axonc.dialects.neuron.evaluate import EVALUATED_OPS, evaluate_module
from axonc.dialects.neuron.evaluate_cores import CORE_OPS
from axonc.dialects.neuron.ops import Neuron

CONTEXT = make_context()
BF16 = ml_dtypes.bfloat16


def run(lines: str, result: str, *inputs: tuple[str, np.ndarray], f64: bool = False) -> np.ndarray:
    arguments = ", ".join(f"%a{i}: {kind}" for i, (kind, _) in enumerate(inputs))
    text = f"func.func @main({arguments}) -> {result} {{ {lines} return %r : {result} }}"
    return evaluate_module(parse_module(text, CONTEXT), [a for _, a in inputs], f64)[0]


def unary(name: str, values: list[float], kind: str = "f32", f64: bool = False) -> np.ndarray:
    tensor = f"tensor<{len(values)}x{kind}>"
    line = f'%r = "neuron.{name}"(%a0) : ({tensor}) -> {tensor}'
    return run(line, tensor, (tensor, np.array(values)), f64=f64)


def test_every_operation_evaluates() -> None:
    names = {op.OPERATION_NAME for op in Neuron.operations}
    assert names - EVALUATED_OPS - CORE_OPS == {"neuron.yield"}


def test_gelu_against_its_definition() -> None:
    xs = [-9.0, -3.0, -0.5, 0.0, 1e-4, 0.7, 4.0, 9.0]
    expected = [0.5 * x * math.erfc(-x / math.sqrt(2)) for x in xs]
    np.testing.assert_allclose(unary("gelu", xs, f64=True), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(unary("gelu", xs), expected, rtol=1e-5, atol=5e-7)


def test_limits_of_activations_at_infinity() -> None:
    for name in ("gelu", "gelu_tanh", "silu"):
        assert list(unary(name, [-np.inf, np.inf])) == [0.0, np.inf]
        assert np.isnan(unary(name, [np.nan])[0])
    assert list(unary("logistic", [-1e4, 1e4])) == [0.0, 1.0]


def test_maximum_passes_nan_on() -> None:
    kind = "tensor<2xf32>"
    line = f'%r = "neuron.maximum"(%a0, %a1) : ({kind}, {kind}) -> {kind}'
    found = run(line, kind, (kind, np.array([np.nan, 1.0])), (kind, np.array([1.0, np.nan])))
    assert np.isnan(found).all()


def test_bf16_rounds_once_per_operation_and_f64_never() -> None:
    kind = "tensor<1xbf16>"
    lines = f"""%0 = "neuron.add"(%a0, %a1) : ({kind}, {kind}) -> {kind}
                %r = "neuron.subtract"(%0, %a0) : ({kind}, {kind}) -> {kind}"""
    inputs = ((kind, np.array([256.0], BF16)), (kind, np.array([1.0], BF16)))
    assert run(lines, kind, *inputs)[0] == 0.0, "257 is no bf16: it rounds to 256"
    assert run(lines, kind, *inputs, f64=True)[0] == 1.0


def test_tf32_keeps_ten_mantissa_bits_ties_to_even() -> None:
    source, kind = "tensor<5xf32>", "tensor<5xtf32>"
    line = f'%r = "neuron.convert"(%a0) : ({source}) -> {kind}'
    step = 2.0**-10
    values = np.array([1 + step / 2, 1 + 3 * step / 2, 1 + step / 4, np.inf, -3.4e38], np.float32)
    found = run(line, kind, (source, values))
    assert list(found[:4]) == [1.0, 1 + 2 * step, 1.0, np.inf]
    assert found.dtype == np.float32 and not (found[:3].view(np.uint32) & 0x1FFF).any()


def test_convert_to_integers_truncates_and_saturates() -> None:
    source, kind = "tensor<5xf32>", "tensor<5xi8>"
    line = f'%r = "neuron.convert"(%a0) : ({source}) -> {kind}'
    found = run(line, kind, (source, np.array([1.9, -1.9, 300.0, -300.0, np.nan])))
    assert list(found) == [1, -1, 127, -128, 0]


def test_integer_division_and_shifts_at_their_edges() -> None:
    kind = "tensor<4xi32>"
    a, b = np.array([7, -7, 5, -8]), np.array([2, 2, 0, -1])
    for name, expected in {"divide": [3, -3, -1, 8], "remainder": [1, -1, 5, 0]}.items():
        line = f'%r = "neuron.{name}"(%a0, %a1) : ({kind}, {kind}) -> {kind}'
        assert list(run(line, kind, (kind, a), (kind, b))) == expected
    for name, expected in {
        "shift_left": [14, 0, 0, 0],
        "shift_right_logical": [3, 0, 0, 0],
        "shift_right_arithmetic": [3, -1, 0, -1],
    }.items():
        line = f'%r = "neuron.{name}"(%a0, %a1) : ({kind}, {kind}) -> {kind}'
        assert list(run(line, kind, (kind, a), (kind, np.array([1, 32, 40, 99])))) == expected


def test_dot_epilogue_reads_the_float32_accumulator() -> None:
    lines = """%r = "neuron.dot"(%a0, %a1, %a2) ({
      ^bb0(%p: tensor<1x1xf32>, %q: tensor<1xf32>):
        %b = "neuron.broadcast"(%q) {dims = [1]} : (tensor<1xf32>) -> tensor<1x1xf32>
        %s = "neuron.subtract"(%p, %b) : (tensor<1x1xf32>, tensor<1x1xf32>) -> tensor<1x1xf32>
        %c = "neuron.convert"(%s) : (tensor<1x1xf32>) -> tensor<1x1xbf16>
        "neuron.yield"(%c) : (tensor<1x1xbf16>) -> ()
      }) {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]}
      : (tensor<1x2xbf16>, tensor<2x1xbf16>, tensor<1xf32>) -> tensor<1x1xbf16>"""
    found = run(
        lines,
        "tensor<1x1xbf16>",
        ("tensor<1x2xbf16>", np.array([[256.0, 1.0]], BF16)),
        ("tensor<2x1xbf16>", np.ones((2, 1), BF16)),
        ("tensor<1xf32>", np.array([256.0])),
    )
    assert found[0, 0] == 1.0 and found.dtype == BF16


def test_convolution_and_windows_against_loops() -> None:
    """A strided, padded, dilated convolution of groups with a turned kernel, and a maximum, element
    by element from their definitions."""
    rng = np.random.default_rng(5)
    image, kernel = rng.standard_normal((1, 4, 7)), rng.standard_normal((6, 2, 3))
    line = """%r = "neuron.convolution"(%a0, %a1) ({}) {groups = 2 : i64, lhs_dims = [0, 1, 2],
      rhs_dims = [0, 1, 2], result_dims = [0, 2, 1], strides = [2], low = [2], high = [-1],
      lhs_dilation = [2], rhs_dilation = [3], reversal = [1]}
      : (tensor<1x4x7xf32>, tensor<6x2x3xf32>) -> tensor<1x4x6xf32>"""
    inputs = ("tensor<1x4x7xf32>", image), ("tensor<6x2x3xf32>", kernel)
    found = run(line, "tensor<1x4x6xf32>", *inputs, f64=True)
    expected = np.zeros((1, 4, 6))
    for place, output, channel, tap in np.ndindex(4, 6, 2, 3):
        position, left = divmod(2 * place + 3 * tap - 2, 2)
        if not left and 0 <= position < 7 and 2 * position + 2 <= 13:
            seen = image[0, 2 * (output // 3) + channel, position]
            expected[0, place, output] += seen * kernel[output, channel, 2 - tap]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    line = """%r = "neuron.reduce_window"(%a0) {kind = "max", window = [1, 1, 2],
      strides = [1, 2, 3], low = [0, 0, 1], high = [0, 0, 2], dilation = [1, 1, 2]}
      : (tensor<1x4x7xf32>) -> tensor<1x2x3xf32>"""
    found = run(line, "tensor<1x2x3xf32>", inputs[0], f64=True)
    starts = range(-1, 8, 3)
    seen = [[max(image[0, c, i] for i in (s, s + 2) if 0 <= i < 7) for s in starts] for c in (0, 2)]
    np.testing.assert_array_equal(found, [seen])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("set", [5, 2, 7]), ("add", [7, 2, 10]), ("max", [5, 2, 7]), ("min", [1, 2, 3])],
)
def test_scatter_rows_goes_in_order_and_drops_what_is_outside(
    kind: str, expected: list[int]
) -> None:
    line = (
        f'%r = "neuron.scatter_rows"(%a0, %a1, %a2) {{kind = "{kind}"}} : (tensor<3xf32>, '
        "tensor<5xi32>, tensor<5xf32>) -> tensor<3xf32>"
    )
    table, rows = np.array([1.0, 2.0, 3.0]), np.array([1.0, 9.0, 7.0, 9.0, 5.0])
    places = np.array([0, -1, 2, 3, 0])
    found = run(line, "tensor<3xf32>", ("tensor<3xf32>", table), ("tensor<5xi32>", places),
                ("tensor<5xf32>", rows))  # fmt: skip
    assert list(found) == expected


@pytest.mark.parametrize(("number", "expected"), [(0, [3, 2]), (1, [20, 10]), (2, [1, 0])])
def test_sort_takes_the_first_of_each_row(number: int, expected: list[int]) -> None:
    """In descending order; of equal elements the first."""
    kinds = {0: "f32", 1: "f32", 2: "i32"}
    line = f"""%r = "neuron.sort"(%a0, %a1) ({{
      ^bb0(%p: tensor<f32>, %q: tensor<f32>, %s: tensor<f32>, %t: tensor<f32>):
        %c = "neuron.compare"(%p, %q) {{direction = "GT"}} : (tensor<f32>, tensor<f32>)
          -> tensor<i1>
        "neuron.yield"(%c) : (tensor<i1>) -> ()
    }}) {{count = 2 : i64, number = {number} : i64}} : (tensor<1x4xf32>, tensor<1x4xf32>)
      -> tensor<1x2x{kinds[number]}>"""
    keys, others = np.array([[2.0, 3.0, 1.0, 2.0]]), np.array([[10.0, 20.0, 30.0, 40.0]])
    found = run(line, f"tensor<1x2x{kinds[number]}>", ("tensor<1x4xf32>", keys),
                ("tensor<1x4xf32>", others))  # fmt: skip
    assert found.tolist() == [expected]


def test_gather_rows_clamps() -> None:
    line = '%r = "neuron.gather_rows"(%a0, %a1) : (tensor<3xf32>, tensor<4xi32>) -> tensor<4xf32>'
    table = ("tensor<3xf32>", np.array([10.0, 20.0, 30.0]))
    found = run(line, "tensor<4xf32>", table, ("tensor<4xi32>", np.array([-5, 1, 2, 99])))
    assert list(found) == [10, 20, 30, 30]


def test_norms_and_softmax_in_float64() -> None:
    x = np.random.default_rng(0).normal(3, 2, (2, 8))
    g, b = np.arange(8.0), np.ones(8)
    kinds = "(tensor<2x8xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<2x8xf32>"
    line = f'%r = "neuron.layer_norm"(%a0, %a1, %a2) {{epsilon = 0.1 : f64}} : {kinds}'
    found = run(line, "tensor<2x8xf32>", ("tensor<2x8xf32>", x), ("tensor<8xf32>", g),
                ("tensor<8xf32>", b), f64=True)  # fmt: skip
    expected = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 0.1) * g + b
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    line = '%r = "neuron.softmax"(%a0) {axis = 0 : i64} : (tensor<2x8xf32>) -> tensor<2x8xf32>'
    found = run(line, "tensor<2x8xf32>", ("tensor<2x8xf32>", x + 1000), f64=True)
    np.testing.assert_allclose(found.sum(0), 1, rtol=1e-12)
    np.testing.assert_allclose(found[0] / found[1], np.exp(x[0] - x[1]), rtol=1e-9)


def test_wrong_inputs_are_the_users_mistake() -> None:
    kind = "tensor<2xf32>"
    line = f'%r = "neuron.exp"(%a0) : ({kind}) -> {kind}'
    with pytest.raises(UsageError, match="argument 0 has shape"):
        run(line, kind, (kind, np.ones(3)))


ARRAYS = {
    "f32": np.array([[1.5, np.inf], [np.nan, -0.0]], np.float32),
    "f16": np.arange(4, dtype=np.float16),
    "bf16": np.array([1.5, np.nan, -np.inf], BF16),
    "bf16 long": np.arange(200).reshape(10, 20).astype(BF16),
    "f8E4M3": np.array([1, 2.5], ml_dtypes.float8_e4m3),
    "i1": np.array([True, False, True] * 5),
    "i1 splat": np.ones((2, 3), bool),
    "i8": np.array([-128, 127], np.int8),
    "ui32": np.array([0, 2**32 - 1], np.uint32),
    "f32 splat": np.full((3, 5), -np.inf, np.float32),
    "f32 scalar": np.array(2.5, np.float32),
    "i32 empty": np.zeros((0, 3), np.int32),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_dense_attributes_round_trip(name: str) -> None:
    from torch_mlir import ir

    expected = ARRAYS[name]
    with CONTEXT, ir.Location.unknown():
        dense = numpy_to_dense(expected, ir.Type.parse(name.split()[0]))
        assert dense.is_splat == ("splat" in name or "scalar" in name)
        found = dense_to_numpy(dense)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()
