"""How many instructions common patterns take: one tile each, so that the list is the selection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from neuron_graphs import Graph, Region, Value, check, mnemonics

SHAPE = (128, 256)
RNG = np.random.default_rng(0)


def fused_graph(
    body: Callable[[Region], Value], element: str = "f32", extras: int = 2
) -> tuple[Graph, Value]:
    """Over x and y (full), one value per row, one vector along the rows."""
    graph = Graph()
    operands = [graph.input(RNG.standard_normal(SHAPE), element) for _ in range(extras)]
    operands.append(graph.input(RNG.standard_normal(SHAPE[:1]), element))
    operands.append(graph.input(RNG.standard_normal(SHAPE[1:]), element))
    return graph, graph.fused(operands, SHAPE, body)


def affine(r: Region) -> Value:
    x = r.arguments[0]
    scaled = r.op("multiply", (x, r.constant(0.5, x.element)), x.array * 0.5)
    return r.op("add", (scaled, r.constant(1.25, x.element)), scaled.array + 1.25)


def gelu_of_affine(r: Region) -> Value:
    inner = affine(r)
    tanh = np.tanh(inner.array)
    return r.op("tanh", (inner,), tanh)


def row_scaled(r: Region) -> Value:
    """x * row + y: the row is a scalar per partition."""
    x, y, row, _ = r.arguments
    rows = r.broadcast(row, [0])
    product = r.op("multiply", (rows, x), rows.array * x.array)
    return r.op("add", (product, y), product.array + y.array)


def residual(r: Region) -> Value:
    """(x + 1) * y"""
    x, y, *_ = r.arguments
    more = r.op("add", (x, r.constant(1.0, x.element)), x.array + 1)
    return r.op("multiply", (more, y), more.array * y.array)


def bias_along_rows(r: Region) -> Value:
    x, _, _, vector = r.arguments
    bias = r.broadcast(vector, [1])
    return r.op("add", (x, bias), x.array + bias.array)


def clamped(r: Region) -> Value:
    x = r.arguments[0]
    low = r.op("maximum", (x, r.constant(-0.5, x.element)), np.maximum(x.array, -0.5))
    return r.op("minimum", (low, r.constant(0.5, x.element)), np.minimum(low.array, 0.5))


def centred(r: Region) -> Value:
    """x - 1, then tanh: the difference is ScalarE's bias."""
    x = r.arguments[0]
    less = r.op("subtract", (x, r.constant(1.0, x.element)), x.array - 1)
    return r.op("tanh", (less,), np.tanh(less.array))


def cube(r: Region) -> Value:
    x = r.arguments[0]
    three = r.constant(3.0, x.element)
    return r.op("power", (x, three), x.array**3)


def inverse_root(r: Region) -> Value:
    """1 / sqrt(x * x + eps)"""
    x = r.arguments[0]
    square = r.op("multiply", (x, x), x.array**2)
    more = r.op("add", (square, r.constant(0.01, x.element)), square.array + 0.01)
    return r.op("rsqrt", (more,), more.array**-0.5)


def finite(r: Region) -> Value:
    x = r.arguments[0]
    size = r.op("abs", (x,), np.abs(x.array))
    return r.compare("LT", size, r.constant(np.inf, x.element))


REPLICATION = ["multiply_moving", "activation|tensor_copy"]
"""A vector along the rows is repeated on all partitions once, by a matmul with ones."""

PATTERNS: dict[Callable[[Region], Value], list[str]] = {
    affine: ["tensor_scalar|activation"],
    gelu_of_affine: ["activation"],
    row_scaled: ["scalar_tensor_tensor"],
    residual: ["scalar_tensor_tensor"],
    bias_along_rows: [*REPLICATION, "tensor_tensor"],
    clamped: ["tensor_scalar"],
    centred: ["activation"],
    cube: ["scalar_tensor_tensor"],
    inverse_root: ["tensor_tensor", "tensor_scalar"],
    finite: ["tensor_scalar"],
}


def assert_selected(found: list[str], expected: list[str]) -> None:
    assert len(found) == len(expected), found
    for name, choices in zip(found, expected, strict=True):
        assert name in choices.split("|"), found


@pytest.mark.parametrize("pattern", PATTERNS)
def test_float32_patterns(pattern: Callable[[Region], Value]) -> None:
    graph, made = fused_graph(pattern)
    check(graph, made)
    assert_selected(mnemonics(graph, made), PATTERNS[pattern])


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if p is not row_scaled])
def test_bf16_patterns_are_no_longer(pattern: Callable[[Region], Value]) -> None:
    """Within one instruction values stay float32, so that bf16 chains fuse just as well."""
    graph, made = fused_graph(pattern, "bf16")
    check(graph, made)
    assert_selected(mnemonics(graph, made), PATTERNS[pattern])


def test_bf16_rows_are_widened_once() -> None:
    """Scalars per partition must be float32: one small copy."""
    graph, made = fused_graph(row_scaled, "bf16")
    found = mnemonics(graph, made)
    assert found.count("scalar_tensor_tensor") == 1
    assert len(found) == 2, found


def masked_scores(r: Region) -> Value:
    """x + (1 - mask) * -10000 with an integer mask, as BERT has it."""
    x, mask = r.arguments
    number = r.op("convert", (mask,), mask.array * 1.0, element="f32")
    off = r.op("subtract", (r.constant(1.0), number), 1 - number.array)
    low = r.op("multiply", (off, r.constant(-10000.0)), off.array * -10000)
    return r.op("add", (x, low), x.array + low.array)


def test_an_integer_mask_is_read_as_it_is() -> None:
    graph = Graph()
    x = graph.input(RNG.standard_normal(SHAPE))
    mask = graph.input(RNG.integers(0, 2, SHAPE), "i32")
    made = graph.fused([x, mask], SHAPE, masked_scores)
    check(graph, made)
    assert_selected(mnemonics(graph, made), ["tensor_scalar|activation", "scalar_tensor_tensor"])


def test_select_of_a_constant_is_one_instruction() -> None:
    graph = Graph()
    mask = graph.input(RNG.random(SHAPE) < 0.5, "i1")
    x = graph.input(RNG.standard_normal(SHAPE))

    def body(r: Region) -> Value:
        m, a = r.arguments
        low = r.constant(-1e9)
        return r.op("select", (m, a, low), np.where(m.array, a.array, -1e9), element="f32")

    made = graph.fused([mask, x], SHAPE, body)
    check(graph, made)
    assert mnemonics(graph, made) == ["select_reduce"]


def test_softplus_needs_no_care_for_the_range_of_the_logarithm() -> None:
    """log1p(exp(-|x|)): 1 + e^-|x| lies between 1 and 2, where the table is valid."""
    graph = Graph()
    x = graph.input(RNG.standard_normal(SHAPE))

    def body(r: Region) -> Value:
        a = r.arguments[0]
        size = r.op("abs", (a,), np.abs(a.array))
        less = r.op("negate", (size,), -size.array)
        raised = r.op("exp", (less,), np.exp(less.array))
        return r.op("log1p", (raised,), np.log1p(raised.array))

    made = graph.fused([x], SHAPE, body)
    check(graph, made)
    found = mnemonics(graph, made)
    assert "tensor_copy_predicated" not in found
    assert len(found) <= 8, found


def dot_graph(epilogue: Callable[[Region], Value], element: str) -> tuple[Graph, Value]:
    """x @ w with an epilogue over the float32 accumulator and a bias along the columns."""
    graph = Graph()
    x = graph.input(RNG.standard_normal((128, 128)), element)
    w = graph.input(RNG.standard_normal((128, 128)) / 8, element, weight=True)
    bias = graph.input(RNG.standard_normal(128), "f32")
    product = x.array @ w.array
    region = Region([Value("", product, "f32"), bias], (128, 128), "e")
    result = epilogue(region)
    text = "lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]"
    made = graph.op(
        "dot",
        (x, w, bias),
        result.array,
        text,
        region=region.text(result),
        element=result.element,
    )
    return graph, made


def gelu_epilogue(r: Region) -> Value:
    accumulator, bias = r.arguments
    columns = r.broadcast(bias, [1])
    total = r.op("add", (accumulator, columns), accumulator.array + columns.array)
    return r.op("tanh", (total,), np.tanh(total.array))


def scaled_epilogue(r: Region) -> Value:
    accumulator = r.arguments[0]
    return r.op("multiply", (accumulator, r.constant(0.125)), accumulator.array * 0.125)


@pytest.mark.parametrize("epilogue, most", [(gelu_epilogue, 2), (scaled_epilogue, 1)])
def test_epilogues_are_the_eviction(epilogue: Callable[[Region], Value], most: int) -> None:
    """Nothing copies the accumulator out of PSUM first; bias and activation are one instruction if
    the bias lies along the partitions, else two."""
    graph, made = dot_graph(epilogue, "f32")
    check(graph, made)
    found = mnemonics(graph, made)
    after = found[len(found) - found[::-1].index("multiply_moving") :]
    assert 1 <= len(after) <= most, found


def test_a_root_of_the_accumulator_leaves_psum_first() -> None:
    """GpSimdE has the power, and cannot read PSUM."""

    def root(r: Region) -> Value:
        accumulator = r.arguments[0]
        square = r.op("square", (accumulator,), accumulator.array**2)
        return r.op("sqrt", (square,), np.abs(accumulator.array))

    graph, made = dot_graph(root, "f32")
    check(graph, made)


def test_columns_are_made_once_for_all_tiles() -> None:
    """1 / sqrt(row) is one value per partition, whatever the number of tiles beside it."""
    graph = Graph()
    shape = (128, 3, 2048)
    x = graph.input(RNG.standard_normal(shape))
    row = graph.input(RNG.random(128) + 1)

    def body(r: Region) -> Value:
        a, b = r.arguments
        rows = r.broadcast(b, [0])
        inverse = r.op("rsqrt", (rows,), rows.array**-0.5)
        return r.op("multiply", (a, inverse), a.array * inverse.array)

    made = graph.fused([x, row], shape, body)
    check(graph, made)
    found = mnemonics(graph, made)
    assert len(found) == 1 + 3, found
