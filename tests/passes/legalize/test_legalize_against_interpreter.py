"""StableHLO programs: their neuron form evaluates to what the StableHLO interpreter computes."""

from __future__ import annotations

import numpy as np
import pytest
from torch_mlir import ir
from torch_mlir._mlir_libs import _stablehlo

from axonc.context import make_context, parse_module
from axonc.dialects.attributes import dense_to_numpy, element_name, numpy_to_dense
from axonc.dialects.neuron.evaluate import evaluate_module
from axonc.pass_manager import PassManager, parse_pipeline
from axonc.passes.base import ModuleState
from axonc.passes.legalize.elementwise import DIRECT

CONTEXT = make_context()
RNG = np.random.default_rng(7)
X, B, I8 = "tensor<4x8xf32>", "tensor<4x8xi1>", "tensor<4x8xi32>"


def _values(kind: ir.Type) -> np.ndarray:
    """Random values; floats with special ones among them."""
    name, shape = element_name(kind), tuple(kind.shape)
    if name == "i1":
        return RNG.integers(0, 2, shape).astype(bool)
    if name[0] in "ui":
        return RNG.integers(0 if name[0] == "u" else -9, 10, shape).astype(np.int64)
    values = RNG.normal(0, 2, shape).astype(np.float32)
    if values.size > 20:
        values.flat[:5] = [0.0, 1.0, -1.0, 0.5, -2.5]
    return values


def check(text: str, tolerance: float = 2e-6, **given: np.ndarray) -> None:
    """Run both and compare; `given` replaces random arguments by number (a0, a1, ...)."""
    with CONTEXT, ir.Location.unknown():
        module = parse_module(text, CONTEXT)
        block = module.body.operations[0].regions[0].blocks[0]
        dense = []
        for number, argument in enumerate(block.arguments):
            array = given.get(f"a{number}", _values(argument.type))
            dense.append(numpy_to_dense(array, argument.type.element_type))
        expected = [dense_to_numpy(r) for r in _stablehlo.eval_module(module, dense)]
        passes = parse_pipeline("legalize-to-neuron,merge-views,fuse-elementwise,fuse-dot-epilogue")
        PassManager(passes).run(ModuleState(module))
        found = evaluate_module(module, [dense_to_numpy(d) for d in dense])
    for left, right in zip(found, expected, strict=True):
        assert left.dtype == right.dtype and left.shape == right.shape
        np.testing.assert_allclose(
            left.astype(np.float64), right.astype(np.float64), rtol=tolerance, atol=tolerance
        )


def body(lines: str, result: str, *arguments: str) -> str:
    listed = ", ".join(f"%a{i}: {kind}" for i, kind in enumerate(arguments))
    return f"func.func @main({listed}) -> {result} {{ {lines} return %r : {result} }}"


ON_INTEGERS = {
    "and", "not", "or", "xor", "shift_left", "shift_right_arithmetic", "shift_right_logical",
    "count_leading_zeros", "popcnt",
}  # fmt: skip
POSITIVE = {"log", "log_plus_one", "sqrt", "rsqrt", "power"}
BINARY = {"add", "and", "atan2", "divide", "maximum", "minimum", "multiply", "or", "power"} | {
    "remainder", "shift_left", "shift_right_arithmetic", "shift_right_logical", "subtract", "xor"
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(DIRECT) - {"select"}))
def test_direct_elementwise(name: str) -> None:
    kind = I8 if name in ON_INTEGERS else X
    operands = "%a0, %a1" if name in BINARY else "%a0"
    arguments = (kind, kind) if name in BINARY else (kind,)
    given = {}
    if name in POSITIVE:
        given = {"a0": np.abs(RNG.normal(1, 1, (4, 8))).astype(np.float32) + 0.01}
    check(body(f"%r = stablehlo.{name} {operands} : {kind}", kind, *arguments), **given)


INTEGER_ARITHMETIC = ("add", "subtract", "multiply", "divide", "remainder", "power", "maximum")


@pytest.mark.parametrize("kind", ["i8", "i32", "ui8", "ui32"])
@pytest.mark.parametrize("name", INTEGER_ARITHMETIC)
def test_integer_arithmetic(name: str, kind: str) -> None:
    tensor = f"tensor<4x8x{kind}>"
    divisors = RNG.integers(1, 6, (4, 8))
    text = body(f"%r = stablehlo.{name} %a0, %a1 : {tensor}", tensor, tensor, tensor)
    check(text, a0=RNG.integers(0 if kind[0] == "u" else -20, 21, (4, 8)), a1=divisors)


@pytest.mark.parametrize("name", ["add", "multiply", "and", "or", "xor", "maximum", "minimum"])
def test_booleans(name: str) -> None:
    check(body(f"%r = stablehlo.{name} %a0, %a1 : {B}", B, B, B))


@pytest.mark.parametrize("direction", ["EQ", "NE", "LT", "LE", "GT", "GE"])
@pytest.mark.parametrize("kind", ["f32", "i32"])
def test_compare_with_nan_and_equal_values(direction: str, kind: str) -> None:
    tensor = f"tensor<8x{kind}>"
    line = f"%r = stablehlo.compare {direction}, %a0, %a1 : ({tensor}, {tensor}) -> tensor<8xi1>"
    a = np.array([0, 1, -1, 2, 3, 4, 5, 6], np.float32)
    b = np.array([0, 2, -1, 1, 3, 4, 5, 7], np.float32)
    if kind == "f32":
        a[3], b[4] = np.nan, np.nan
    check(body(line, "tensor<8xi1>", tensor, tensor), a0=a, a1=b)


CONVERSIONS = [
    ("f32", "i32"), ("f32", "i1"), ("i32", "f32"), ("i1", "f32"), ("f32", "bf16"),
    ("f32", "f16"), ("bf16", "f32"), ("i32", "i8"), ("i8", "i32"), ("i32", "i1"), ("f32", "f8E4M3"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target"), CONVERSIONS)
def test_convert(source: str, target: str) -> None:
    a, b = f"tensor<4x8x{source}>", f"tensor<4x8x{target}>"
    check(body(f"%r = stablehlo.convert %a0 : ({a}) -> {b}", b, a))


LINES: dict[str, tuple[str, ...]] = {
    "clamp_scalars": ("%r = stablehlo.clamp %a0, %a1, %a2 : (tensor<f32>, tensor<4x8xf32>, "
                      "tensor<f32>) -> tensor<4x8xf32>", X, "tensor<f32>", X, "tensor<f32>"),
    "select_scalar": ("%r = stablehlo.select %a0, %a1, %a2 : tensor<i1>, tensor<4x8xf32>",
                      X, "tensor<i1>", X, X),
    "select": ("%r = stablehlo.select %a0, %a1, %a2 : tensor<4x8xi1>, tensor<4x8xf32>", X, B, X, X),
    "is_finite": (f"%r = stablehlo.is_finite %a0 : ({X}) -> {B}", B, X),
    "round_nearest_afz": (f"%r = stablehlo.round_nearest_afz %a0 : {X}", X, X),
    "tan": (f"%r = stablehlo.tan %a0 : {X}", X, X),
    "reduce_precision": (f"%r = stablehlo.reduce_precision %a0, format = e8m7 : {X}", X, X),
    "transpose": (f"%r = stablehlo.transpose %a0, dims = [1, 0] : ({X}) -> tensor<8x4xf32>",
                  "tensor<8x4xf32>", X),
    "slice": (f"%r = stablehlo.slice %a0 [1:4:2, 2:8:3] : ({X}) -> tensor<2x2xf32>",
              "tensor<2x2xf32>", X),
    "reverse": (f"%r = stablehlo.reverse %a0, dims = [1] : {X}", X, X),
    "concatenate": (f"%r = stablehlo.concatenate %a0, %a1, dim = 1 : ({X}, tensor<4x2xf32>) "
                    "-> tensor<4x10xf32>", "tensor<4x10xf32>", X, "tensor<4x2xf32>"),
    "pad": (f"%r = stablehlo.pad %a0, %a1, low = [1, -2], high = [0, 3], interior = [2, 0] : "
            f"({X}, tensor<f32>) -> tensor<11x9xf32>", "tensor<11x9xf32>", X, "tensor<f32>"),
    "iota": ("%r = stablehlo.iota dim = 1 : tensor<3x5xi32>", "tensor<3x5xi32>"),
    "broadcast": ("%r = stablehlo.broadcast_in_dim %a0, dims = [2, 0] : (tensor<3x1xf32>) "
                  "-> tensor<2x4x3xf32>", "tensor<2x4x3xf32>", "tensor<3x1xf32>"),
    "dot_batched": ("%r = stablehlo.dot_general %a0, %a1, batching_dims = [1] x [0], "
                    "contracting_dims = [0, 3] x [2, 1] : (tensor<2x3x4x5xf32>, "
                    "tensor<3x5x2x6xf32>) -> tensor<3x4x6xf32>",
                    "tensor<3x4x6xf32>", "tensor<2x3x4x5xf32>", "tensor<3x5x2x6xf32>"),
    "dot_integers": ("%r = stablehlo.dot_general %a0, %a1, contracting_dims = [1] x [0] : "
                     "(tensor<4x8xi8>, tensor<8x3xi8>) -> tensor<4x3xi32>",
                     "tensor<4x3xi32>", "tensor<4x8xi8>", "tensor<8x3xi8>"),
    "dynamic_slice_row": (
        "%z = stablehlo.constant dense<2> : tensor<i32> "
        "%r = stablehlo.dynamic_slice %a0, %z, %a1, sizes = [2, 1] : "
        f"({X}, tensor<i32>, tensor<i32>) -> tensor<2x1xf32>",
        "tensor<2x1xf32>", X, "tensor<i32>"),
    "dynamic_slice_clamped": (
        "%z = stablehlo.constant dense<7> : tensor<i32> "
        f"%r = stablehlo.dynamic_slice %a0, %z, %z, sizes = [2, 3] : ({X}, tensor<i32>, "
        "tensor<i32>) -> tensor<2x3xf32>", "tensor<2x3xf32>", X),
    "dynamic_update_slice": (
        "%z = stablehlo.constant dense<1> : tensor<i32> "
        f"%r = stablehlo.dynamic_update_slice %a0, %a1, %z, %z : ({X}, tensor<2x3xf32>, "
        f"tensor<i32>, tensor<i32>) -> {X}", X, X, "tensor<2x3xf32>"),
    "dynamic_slice_computed": (
        f"%r = stablehlo.dynamic_slice %a0, %a1, %a2, sizes = [2, 3] : ({X}, tensor<i32>, "
        "tensor<i32>) -> tensor<2x3xf32>", "tensor<2x3xf32>", X, "tensor<i32>", "tensor<i32>"),
    "dynamic_update_slice_computed": (
        f"%r = stablehlo.dynamic_update_slice %a0, %a1, %a2, %a3 : ({X}, tensor<2x3xf32>, "
        f"tensor<i32>, tensor<i32>) -> {X}",
        X, X, "tensor<2x3xf32>", "tensor<i32>", "tensor<i32>"),
    "gather_one_window": (
        '%r = "stablehlo.gather"(%a0, %a1) {dimension_numbers = #stablehlo.gather<offset_dims = '
        "[1, 2], start_index_map = [1, 0], index_vector_dim = 1>, indices_are_sorted = false, "
        f"slice_sizes = array<i64: 3, 2>}} : ({X}, tensor<1x2xi32>) -> tensor<1x3x2xf32>",
        "tensor<1x3x2xf32>", X, "tensor<1x2xi32>"),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_program(name: str) -> None:
    lines, result, *arguments = LINES[name]
    check(body(lines, result, *arguments))


def test_scatter_of_one_window() -> None:
    """Inside: windows that reach outside are dropped whole by XLA, in part by the interpreter."""
    scatter = (
        '%r = "stablehlo.scatter"(%a0, %a1, %a2) <{indices_are_sorted = false, unique_indices = '
        "false, scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = [0], "
        "inserted_window_dims = [1], scatter_dims_to_operand_dims = [1, 0]>}> ({ "
        "^bb0(%x: tensor<f32>, %y: tensor<f32>): stablehlo.return %y : tensor<f32> }) : "
        f"({X}, tensor<2xi32>, tensor<3xf32>) -> {X}"
    )
    for place in ([0, 0], [7, 1], [3, 1]):
        starts = np.array(place, np.int64)
        check(body(scatter, X, X, "tensor<2xi32>", "tensor<3xf32>"), a1=starts)


REDUCERS = [
    ("add", "0.0", "f32"), ("add", "1.5", "f32"), ("maximum", "0xFF800000", "f32"),
    ("maximum", "0.25", "f32"), ("minimum", "0x7F800000", "f32"), ("multiply", "1.0", "f32"),
    ("add", "0", "i32"), ("maximum", "-2147483648", "i32"), ("minimum", "3", "i32"),
    ("and", "true", "i1"), ("or", "false", "i1"), ("or", "true", "i1"), ("and", "-1", "i32"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "initial", "element"), REDUCERS)
def test_reduce(op: str, initial: str, element: str) -> None:
    source, result = f"tensor<4x8x{element}>", f"tensor<4x{element}>"
    check(body(
        f"%i = stablehlo.constant dense<{initial}> : tensor<{element}> "
        f"%r = stablehlo.reduce(%a0 init: %i) applies stablehlo.{op} across dimensions = [1] : "
        f"({source}, tensor<{element}>) -> {result}", result, source,
    ))  # fmt: skip


def _gather(offset: str, collapsed: str, start: str, vector: int, sizes: str) -> str:
    return (
        f"dimension_numbers = #stablehlo.gather<offset_dims = {offset}, collapsed_slice_dims = "
        f"{collapsed}, start_index_map = {start}, index_vector_dim = {vector}>, "
        f"slice_sizes = array<i64: {sizes}>"
    )


GATHERS = {
    "rows": (_gather("[2]", "[0]", "[0]", 2, "1, 7"), "tensor<5x7xf32>", "tensor<2x3x1xi32>",
             "tensor<2x3x7xf32>"),
    "columns": (_gather("[0]", "[1]", "[1]", 1, "5, 1"), "tensor<5x7xf32>", "tensor<3x1xi32>",
                "tensor<5x3xf32>"),
    "without_vector_dim": (_gather("[1]", "[0]", "[0]", 1, "1, 7"), "tensor<5x7xf32>",
                           "tensor<3xi32>", "tensor<3x7xf32>"),
    "elements": (_gather("[]", "[0, 1]", "[1, 0]", 1, "1, 1"), "tensor<5x7xf32>",
                 "tensor<4x2xi32>", "tensor<4xf32>"),
    "vector_first": (_gather("[1]", "[0, 2]", "[0, 2]", 0, "1, 3, 1"), "tensor<5x3x7xf32>",
                     "tensor<2x4xi32>", "tensor<4x3xf32>"),
}  # fmt: skip


@pytest.mark.parametrize("name", GATHERS)
def test_gather_with_indices_out_of_range(name: str) -> None:
    attributes, table, indices, result = GATHERS[name]
    line = (
        f'%r = "stablehlo.gather"(%a0, %a1) <{{{attributes}}}> : ({table}, {indices}) -> {result}'
    )
    shape = tuple(int(n) for n in indices[len("tensor<") :].split("x")[:-1])
    check(body(line, result, table, indices), a1=RNG.integers(-3, 12, shape))


def test_integers_at_their_limits() -> None:
    kind = "tensor<4xi32>"
    extreme = np.array([2**31 - 1, -(2**31), -1, 5])
    check(body(f"%r = stablehlo.add %a0, %a0 : {kind}", kind, kind), a0=extreme)
    text = body(f"%r = stablehlo.shift_right_logical %a0, %a1 : {kind}", kind, kind, kind)
    check(text, a0=extreme, a1=np.array([1, 31, 32, 0]))


CONVOLUTIONS = {
    "two groups of the batch": (
        "[b, f, 0]x[o, i, 0]->[b, f, 0], window = {stride = [2], pad = [[1, 2]], reverse = [true]}",
        "batch_group_count = 2 : i64, feature_group_count = 1 : i64",
        ("tensor<4x3x9xf32>", "tensor<6x3x3xf32>", "tensor<2x6x5xf32>"),
    ),
    "groups of features, features last": (
        "[b, 0, f]x[0, i, o]->[0, b, f], window = {lhs_dilate = [2], pad = [[-1, 3]]}",
        "batch_group_count = 1 : i64, feature_group_count = 3 : i64",
        ("tensor<2x5x6xf32>", "tensor<2x2x9xf32>", "tensor<10x2x9xf32>"),
    ),
    "small integers": (
        "[b, f, 0]x[o, i, 0]->[b, f, 0], window = {rhs_dilate = [2]}",
        "batch_group_count = 1 : i64, feature_group_count = 1 : i64",
        ("tensor<1x3x9xi8>", "tensor<4x3x3xi8>", "tensor<1x4x5xi32>"),
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str) -> None:
    numbers, counts, (image, kernel, result) = CONVOLUTIONS[name]
    line = (
        f"%r = stablehlo.convolution(%a0, %a1) dim_numbers = {numbers} {{{counts}}} :"
        f" ({image}, {kernel}) -> {result}"
    )
    check(body(line, result, image, kernel), 1e-5)


@pytest.mark.parametrize("initial", ["0.0", "2.5"])
def test_a_window_over_padding_reads_the_initial_value(initial: str) -> None:
    text = body(
        f"""%i = stablehlo.constant dense<{initial}> : tensor<f32>
      %r = "stablehlo.reduce_window"(%a0, %i) <{{window_dimensions = array<i64: 1, 3>,
        window_strides = array<i64: 1, 2>, base_dilations = array<i64: 1, 2>,
        window_dilations = array<i64: 1, 2>, padding = dense<[[0, 0], [3, 1]]> : tensor<2x2xi64>}}>
        ({{ ^bb0(%p: tensor<f32>, %q: tensor<f32>):
          %s = stablehlo.add %p, %q : tensor<f32>
          stablehlo.return %s : tensor<f32> }}) : ({X}, tensor<f32>) -> tensor<4x8xf32>""",
        "tensor<4x8xf32>",
        X,
    )
    check(text)


def test_batch_norm() -> None:
    """Against its definition: the interpreter does not have it."""
    vectors = ["tensor<8xf32>"] * 4
    line = f"""%r = "stablehlo.batch_norm_inference"(%a0, %a1, %a2, %a3, %a4) <{{epsilon =
      1.0e-03 : f32, feature_index = 1 : i64}}> : ({X}, {", ".join(vectors)}) -> {X}"""
    module = parse_module(body(line, X, X, *vectors), CONTEXT)
    PassManager(parse_pipeline("legalize-to-neuron")).run(ModuleState(module))
    x, scale, offset, mean, variance = (RNG.uniform(0.5, 2, s) for s in ((4, 8), 8, 8, 8, 8))
    (found,) = evaluate_module(module, [x, scale, offset, mean, variance], f64=True)
    expected = (x - mean) / np.sqrt(variance + np.float32(1e-3)) * scale + offset
    np.testing.assert_allclose(found, expected, rtol=1e-12)
