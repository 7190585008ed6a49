"""Which dims choose-layouts puts on partitions: laws that hold for every op, and choices that cost
much when they are wrong."""

from __future__ import annotations

import random

import numpy as np
import pytest
from neuron_graphs import Graph, Value
from torch_mlir import ir

from axonc.backends.targets import TARGETS
from axonc.context import make_context, parse_module
from axonc.dialects.attributes import integers
from axonc.dialects.neuron.ops import LayerNormOp, RmsNormOp, SoftmaxOp, isa, short_name
from axonc.passes.graph.shapes import normalised, shape_of
from axonc.passes.layout.choose_layouts import choose_layouts
from axonc.passes.layout.layout_dims import default_rows, reduced_dims

RNG = np.random.default_rng(0)
DOT = "lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [0]"


def chosen_rows(graph: Graph, *results: Value) -> list[tuple[str, tuple[int, ...]]]:
    """(op, rows) of every op, in order."""
    with make_context() as context, ir.Location.unknown():
        module = parse_module(graph.text(results), context)
        function = module.body.operations[0].operation
        choose_layouts(function, TARGETS["inf2"])
        ops = list(function.regions[0].blocks[0].operations)
        found = []
        for op in ops:
            if len(op.results):
                rows = normalised(integers(op.attributes["layout.rows"]), shape_of(op.results[0]))
                _check_rows(op, rows)
                found.append((short_name(op), rows))
    return found


def _check_rows(op: ir.Operation, rows: tuple[int, ...]) -> None:
    """Rows are distinct dims of the result; what is reduced along stays free."""
    assert len(set(rows)) == len(rows)
    assert all(0 <= d < len(shape_of(op.results[0])) for d in rows)
    if isa(op, SoftmaxOp, LayerNormOp, RmsNormOp):
        assert not set(rows) & set(reduced_dims(op))


def dot(graph: Graph, a: Value, b: Value) -> Value:
    return graph.op("dot", (a, b), a.array @ b.array, DOT, region="({})")


def test_every_op_gets_rows_whatever_the_graph() -> None:
    for seed in range(30):
        rnd = random.Random(seed)
        graph = Graph()
        value = graph.input(RNG.standard_normal((64, 96)))
        for _ in range(6):
            value = rnd.choice(STEPS)(graph, value)
        assert len(chosen_rows(graph, value)) == len(graph.lines)


def _times_weight(graph: Graph, x: Value) -> Value:
    weight = graph.input(RNG.standard_normal((x.array.shape[1], 96)), weight=True)
    return dot(graph, x, weight)


def _transposed(graph: Graph, x: Value) -> Value:
    return graph.op("transpose", (x,), x.array.T, "permutation = [1, 0]")


def _softmax(graph: Graph, x: Value) -> Value:
    return graph.op("softmax", (x,), x.array, "axis = 1 : i64")


def _tanh(graph: Graph, x: Value) -> Value:
    return graph.unary("tanh", x, np.tanh(x.array))


STEPS = (_times_weight, _transposed, _softmax, _tanh)


def test_a_dot_hands_the_next_one_its_contraction() -> None:
    """x @ w1 @ w2: the first result has its columns on partitions, where the second contracts; no
    transpose is needed."""
    graph = Graph()
    x = graph.input(RNG.standard_normal((128, 256)))
    hidden = _times_weight(graph, x)
    activated = _tanh(graph, hidden)
    rows = dict(chosen_rows(graph, _times_weight(graph, activated)))
    assert rows["fused"] == (1,)


def test_softmax_keeps_its_axis_free_after_a_dot() -> None:
    graph = Graph()
    x = graph.input(RNG.standard_normal((128, 64)))
    made = _softmax(graph, _times_weight(graph, x))
    assert dict(chosen_rows(graph, made)) == {"dot": (0,), "softmax": (0,)}


def test_a_full_reduction_does_not_move_its_operand() -> None:
    """It reduces wherever the elements lie (reduce_all.py)."""
    graph = Graph()
    x = graph.input(RNG.standard_normal((300, 200)))
    squared = _tanh(graph, x)
    text = 'kind = "sum", dims = [0, 1]'
    made = graph.op("reduce", (squared,), squared.array.sum(), text)
    rows = dict(chosen_rows(graph, made))
    assert rows["reduce"] == ()
    assert rows["fused"] != ()


@pytest.mark.parametrize(
    "shape, avoid, rows",
    [
        ((4, 8), (), (0,)),
        ((4, 8), (1,), (0,)),
        ((4, 8), (0,), (1,)),
        ((2, 3, 4), (), (0, 1)),
        ((2, 3, 1), (), (0,)),
        ((1, 8), (), (1,)),
        ((8,), (), (0,)),
        ((1, 1), (), ()),
        ((), (), ()),
    ],
)
def test_default_rows(
    shape: tuple[int, ...], avoid: tuple[int, ...], rows: tuple[int, ...]
) -> None:
    """All dims but the last one larger than 1; that one if nothing else is left."""
    assert default_rows(shape, frozenset(avoid)) == rows
