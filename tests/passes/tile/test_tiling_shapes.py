"""Seeded random graphs over awkward shapes, from layouts to instruction streams, run in checked
mode against numpy in float64. Tolerances: neuron_graphs.TOLERANCE of the largest magnitude."""

from __future__ import annotations

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from neuron_graphs import Graph, Value, check, tile_text

import axonc

SIZES = (1, 2, 3, 5, 7, 31, 32, 33, 64, 65, 127, 128, 129, 200, 300)
SMALL = (1, 2, 3, 4, 5)
MAX_ELEMENTS = 60_000


def seeds(quick: int) -> list[object]:
    """`quick` seeds for every run, ten times as many for `make test-all`."""
    slow = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(quick, 10 * quick)]
    return [*range(quick), *slow]


def data(rnd: random.Random, shape: list[int]) -> np.ndarray:
    return np.random.default_rng(rnd.randrange(1 << 30)).standard_normal(shape)


# ---- dots ----------------------------------------------------------------------------------


def dims_of(rnd: random.Random, count: int) -> list[int]:
    """Small dims with one awkward one at the end."""
    return [rnd.choice(SMALL) for _ in range(count - 1)] + [rnd.choice(SIZES)] * bool(count)


def dot_side(
    rnd: random.Random, batch: list[int], contract: list[int], free: list[int]
) -> tuple[list[int], list[int], list[int], str]:
    """(shape, batch dims, contracted dims, einsum letters); dims in random order, free ones in
    theirs."""
    kinds = ["b"] * len(batch) + ["k"] * len(contract) + ["f"] * len(free)
    rnd.shuffle(kinds)
    batch_order = rnd.sample(range(len(batch)), len(batch))
    contract_order = rnd.sample(range(len(contract)), len(contract))
    sizes = {
        "b": iter([(batch[i], "ab"[i]) for i in batch_order]),
        "k": iter([(contract[i], "kl"[i]) for i in contract_order]),
        "f": iter([(size, "wxyz"[i]) for i, size in enumerate(free)]),
    }
    found = [next(sizes[kind]) for kind in kinds]
    letters = "".join(letter for _, letter in found)
    where = [[letters.index(c) for c in "abkl" if c in letters and c in of] for of in ("ab", "kl")]
    return [size for size, _ in found], where[0], where[1], letters


def random_dot(seed: int, element: str) -> None:
    rnd = random.Random(seed)
    batch = [rnd.choice(SMALL) for _ in range(rnd.choice([0, 0, 1, 2]))]
    contract = dims_of(rnd, rnd.choice([1, 1, 2]))
    left, right = (dims_of(rnd, rnd.choice([0, 1, 1, 2])) for _ in range(2))
    graph = Graph()
    shape_a, batch_a, contract_a, letters_a = dot_side(rnd, batch, contract, left)
    shape_b, batch_b, contract_b, letters_b = dot_side(rnd, batch, contract, right)
    letters_b = letters_b.translate(str.maketrans("wxyz", "WXYZ"))
    a = graph.input(data(rnd, shape_a), element, weight=rnd.random() < 0.4)
    b = graph.input(data(rnd, shape_b), element, weight=rnd.random() < 0.4)
    kept = "ab"[: len(batch)] + "wxyz"[: len(left)] + "WXYZ"[: len(right)]
    expected = np.einsum(f"{letters_a},{letters_b}->{kept}", a.array, b.array)
    attributes = (
        f"lhs_batch = {batch_a}, rhs_batch = {batch_b}, "
        f"lhs_contract = {contract_a}, rhs_contract = {contract_b}"
    )
    check(graph, graph.op("dot", (a, b), expected, attributes, region="({})"))


@pytest.mark.parametrize("seed", seeds(30))
def test_random_dot(seed: int) -> None:
    random_dot(seed, "f32")


@pytest.mark.parametrize("seed", seeds(8))
def test_random_dot_bf16(seed: int) -> None:
    random_dot(1000 + seed, "bf16")


# ---- reductions, softmax, norms ------------------------------------------------------------

REDUCED = (1, 7, 33, 64, 129, 200)
KINDS = {"sum": np.sum, "max": np.max, "min": np.min, "product": np.prod}


def random_shape(rnd: random.Random, rank: int) -> list[int]:
    return [rnd.choice(REDUCED if i >= rank - 2 else (1, 2, 3)) for i in range(rank)]


def softmax_of(x: np.ndarray, axis: int) -> np.ndarray:
    raised = np.exp(x - x.max(axis, keepdims=True))
    return raised / raised.sum(axis, keepdims=True)


def random_reduction(seed: int, element: str) -> None:
    rnd = random.Random(seed)
    shape = random_shape(rnd, rnd.choice([1, 2, 3]))
    dims = sorted(rnd.sample(range(len(shape)), rnd.randint(1, len(shape))))
    kind = rnd.choice(["sum", "max", "min"])
    graph = Graph()
    x = graph.input(data(rnd, shape), element)
    expected = KINDS[kind](x.array, axis=tuple(dims))
    check(graph, graph.op("reduce", (x,), expected, f'kind = "{kind}", dims = {dims}'))


@pytest.mark.parametrize("seed", seeds(20))
def test_random_reduction(seed: int) -> None:
    random_reduction(seed, "f32")


@pytest.mark.parametrize("seed", seeds(5))
def test_random_reduction_bf16(seed: int) -> None:
    random_reduction(1000 + seed, "bf16")


@pytest.mark.parametrize("element", ["i8", "ui8", "i16", "ui16", "i32", "ui32"])
@pytest.mark.parametrize("kind", ["sum", "product", "max", "min", "and", "or"])
def test_integer_reductions_wrap_as_numpy_does(element: str, kind: str) -> None:
    rnd = random.Random(f"{element}{kind}")
    shape = random_shape(rnd, 2)
    dims = rnd.choice([[0], [1], [0, 1]])
    graph = Graph()
    x = graph.input(any_integers(rnd, shape, element), element)
    function = {"and": np.bitwise_and, "or": np.bitwise_or}.get(kind)
    if function is None:
        function = {"sum": np.add, "product": np.multiply, "max": np.maximum, "min": np.minimum}[
            kind
        ]
    expected = function.reduce(x.array, axis=tuple(dims), dtype=x.array.dtype)
    check(graph, graph.op("reduce", (x,), expected, f'kind = "{kind}", dims = {dims}'))


def any_integers(rnd: random.Random, shape: list[int], element: str) -> np.ndarray:
    """Integers over the whole range, small ones as likely as large ones."""
    dtype = np.dtype(element.replace("ui", "uint") if element[0] == "u" else f"int{element[1:]}")
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(rnd.randrange(1 << 30))
    wide = rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    small = rng.integers(max(limits.min, -5), 6, shape).astype(dtype)
    return np.where(rng.random(shape) < 0.5, wide, small)


@pytest.mark.parametrize("count", [2, 255, 257, 4097, 79_999, 80_000])
@pytest.mark.parametrize("kind", ["sum", "max"])
def test_long_vectors_reduce_to_one_number(count: int, kind: str) -> None:
    graph = Graph()
    x = graph.input(data(random.Random(count), [count]) + 1)
    expected = KINDS[kind](x.array)
    check(graph, graph.op("reduce", (x,), expected, f'kind = "{kind}", dims = [0]'))


def test_the_greatest_of_a_tensor_with_infinities_in_it() -> None:
    """Infinities must not turn into NaN on the way across the partitions."""
    graph = Graph()
    array = np.full((200, 64), -np.inf)
    array[150, 3] = 5.0
    x = graph.input(array)
    check(graph, graph.op("reduce", (x,), np.array(5.0), 'kind = "max", dims = [0, 1]'))


def test_loss_of_computed_values() -> None:
    """The operand of a full reduction keeps the rows it was computed with."""
    graph = Graph()
    x = graph.input(data(random.Random(5), [300, 70]))
    squared = graph.unary("square", x, x.array**2)
    expected = (x.array**2).sum()
    check(graph, graph.op("reduce", (squared,), expected, 'kind = "sum", dims = [0, 1]'))


@pytest.mark.parametrize("seed", seeds(8))
@pytest.mark.parametrize("element", ["f32", "bf16"])
def test_random_softmax(seed: int, element: str) -> None:
    rnd = random.Random(seed)
    shape = random_shape(rnd, rnd.choice([1, 2, 3]))
    axis = rnd.randrange(len(shape))
    graph = Graph()
    x = graph.input(data(rnd, shape) * 3, element)
    expected = softmax_of(x.array, axis)
    check(graph, graph.op("softmax", (x,), expected, f"axis = {axis} : i64"))


def test_softmax_of_masked_rows() -> None:
    """-inf takes no share; a row of nothing else is NaN, as in the frameworks."""
    graph = Graph()
    array = data(random.Random(1), [5, 33])
    array[:, 20:] = -np.inf
    array[3] = -np.inf
    x = graph.input(array)
    with np.errstate(invalid="ignore"):
        expected = softmax_of(x.array, 1)
    check(graph, graph.op("softmax", (x,), expected, "axis = 1 : i64"))


@pytest.mark.parametrize("size", [1, 7, 128, 300, 513, 1000])
@pytest.mark.parametrize("element", ["f32", "bf16"])
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_norms(name: str, element: str, size: int) -> None:
    rnd = random.Random(size)
    graph = Graph()
    x = graph.input(data(rnd, [2, 65, size]) + 0.5, element)
    gamma, beta = (graph.input(data(rnd, [size]), element) for _ in range(2))
    if name == "layer_norm":
        centred = x.array - x.array.mean(-1, keepdims=True)
        expected = centred / np.sqrt(x.array.var(-1, keepdims=True) + 1e-3) * gamma.array
        operands, expected = (x, gamma, beta), expected + beta.array
    else:
        mean = (x.array**2).mean(-1, keepdims=True)
        operands, expected = (x, gamma), x.array / np.sqrt(mean + 1e-3) * gamma.array
    check(graph, graph.op(name, operands, expected, "epsilon = 1.0e-3 : f64"))


# ---- movement ------------------------------------------------------------------------------


def move_reshape(rnd: random.Random, graph: Graph, x: Value) -> Value:
    shape: list[int] = []
    for size in x.array.shape:
        shape += [2, size // 2] if size % 2 == 0 and rnd.random() < 0.5 else [size]
    if rnd.random() < 0.4 and len(shape) > 1:
        shape = [shape[0] * shape[1], *shape[2:]]
    return graph.op("reshape", (x,), x.array.reshape(shape))


def move_transpose(rnd: random.Random, graph: Graph, x: Value) -> Value:
    order = rnd.sample(range(x.array.ndim), x.array.ndim)
    return graph.op("transpose", (x,), x.array.transpose(order), f"permutation = {order}")


def move_slice(rnd: random.Random, graph: Graph, x: Value) -> Value:
    start = [rnd.randrange(size) for size in x.array.shape]
    limit = [rnd.randint(a + 1, size) for a, size in zip(start, x.array.shape, strict=True)]
    steps = [rnd.choice([1, 1, 2]) for _ in start]
    cut = tuple(slice(a, b, c) for a, b, c in zip(start, limit, steps, strict=True))
    attributes = f"start = {start}, limit = {limit}, strides = {steps}"
    return graph.op("slice", (x,), x.array[cut], attributes)


def move_reverse(rnd: random.Random, graph: Graph, x: Value) -> Value:
    dims = rnd.sample(range(x.array.ndim), rnd.randint(1, x.array.ndim))
    return graph.op("reverse", (x,), np.flip(x.array, dims), f"dims = {sorted(dims)}")


def move_concatenate(rnd: random.Random, graph: Graph, x: Value) -> Value:
    axis = rnd.randrange(x.array.ndim)
    both = np.concatenate([x.array, x.array], axis)
    return graph.op("concatenate", (x, x), both, f"dimension = {axis} : i64")


def move_pad(rnd: random.Random, graph: Graph, x: Value) -> Value:
    edges = [[rnd.choice(c) for _ in x.array.shape] for c in ((0, 0, 1, 3), (0, 0, 2), (0, 0, 1))]
    low, high, interior = edges
    fill = graph.constant(0.5, x.element)
    sizes = [
        a + n + b + (n - 1) * i
        for a, n, b, i in zip(low, x.array.shape, high, interior, strict=True)
    ]
    padded = np.full(sizes, 0.5)
    inside = tuple(
        slice(a, a + (n - 1) * (i + 1) + 1, i + 1)
        for a, n, i in zip(low, x.array.shape, interior, strict=True)
    )
    padded[inside] = x.array
    return graph.op("pad", (x, fill), padded, f"low = {low}, high = {high}, interior = {interior}")


def move_broadcast(rnd: random.Random, graph: Graph, x: Value) -> Value:
    rank = x.array.ndim + 1
    new = rnd.randrange(rank)
    dims = [d for d in range(rank) if d != new]
    shape = list(x.array.shape)
    shape.insert(new, rnd.choice([2, 3]))
    array = np.broadcast_to(np.expand_dims(x.array, new), shape)
    return graph.op("broadcast", (x,), array, f"dims = {dims}")


def move_softmax(rnd: random.Random, graph: Graph, x: Value) -> Value:
    axis = rnd.randrange(x.array.ndim)
    return graph.op("softmax", (x,), softmax_of(x.array, axis), f"axis = {axis} : i64")


def move_elementwise(rnd: random.Random, graph: Graph, x: Value) -> Value:
    return graph.unary("tanh", x, np.tanh(x.array))


MOVES = (
    move_reshape,
    move_transpose,
    move_slice,
    move_reverse,
    move_concatenate,
    move_pad,
    move_broadcast,
    move_softmax,
    move_elementwise,
)


def random_moves(seed: int, element: str) -> None:
    rnd = random.Random(seed)
    rank = rnd.choice([2, 3, 4])
    graph = Graph()
    x = graph.input(data(rnd, random_shape(rnd, rank)[:rank]), element)
    moved = x
    for _ in range(rnd.randint(1, 5)):
        step = rnd.choice(MOVES)(rnd, graph, moved)
        if step.array.size > MAX_ELEMENTS or step.array.ndim > 5:
            break
        moved = step
    check(graph, moved)


@pytest.mark.parametrize("seed", seeds(30))
def test_random_movement(seed: int) -> None:
    random_moves(seed, "f32")


@pytest.mark.parametrize("seed", seeds(6))
def test_random_movement_bf16(seed: int) -> None:
    random_moves(2000 + seed, "bf16")


@pytest.mark.parametrize("seed", seeds(5))
def test_random_movement_of_integers(seed: int) -> None:
    """Bits must survive: no step may pass through float32."""
    rnd = random.Random(3000 + seed)
    graph = Graph()
    shape = random_shape(rnd, 3)
    moved = graph.input(any_integers(rnd, shape, "i32"), "i32")
    exact = (move_reshape, move_transpose, move_slice, move_reverse, move_concatenate)
    for _ in range(rnd.randint(1, 4)):
        if moved.array.size <= MAX_ELEMENTS:
            moved = rnd.choice(exact)(rnd, graph, moved)
    check(graph, moved)


# ---- gathers and counters ------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (128,), (2, 65), (300,), (1,), (3, 1, 50)])
@pytest.mark.parametrize("element", ["f32", "bf16", "i32"])
def test_gather_rows_clamps_indices(shape: tuple[int, ...], element: str) -> None:
    rnd = random.Random(f"{shape}{element}")
    rng = np.random.default_rng(rnd.randrange(1 << 30))
    graph = Graph()
    table = graph.input(rng.integers(-100, 100, (50, 33)), element)
    where = graph.input(rng.integers(-20, 80, shape), "i32")
    expected = table.array[np.clip(where.array, 0, 49)]
    check(graph, graph.op("gather_rows", (table, where), expected))


@pytest.mark.parametrize("shape", [(1,), (300,), (129, 7), (3, 5, 33)])
@pytest.mark.parametrize("element", ["f32", "i32", "bf16"])
def test_iota(shape: tuple[int, ...], element: str) -> None:
    for dim, size in enumerate(shape):
        graph = Graph()
        counted = np.arange(size).reshape([-1 if d == dim else 1 for d in range(len(shape))])
        expected = np.broadcast_to(counted, shape)
        text = f"dimension = {dim} : i64"
        check(graph, graph.op("iota", (), expected, text, element=element))


# ---- one test per bug that was found -------------------------------------------------------


@pytest.mark.parametrize("element", ["f32", "i32", "ui8", "i1"])
@pytest.mark.parametrize("kind", ["sum", "product", "max", "min", "and", "or"])
def test_reductions_of_nothing(kind: str, element: str) -> None:
    if element == "f32" and kind in ("and", "or") or element == "i1" and kind in ("sum", "product"):
        pytest.skip("not an operation of that type")
    graph = Graph()
    x = graph.input(np.zeros((3, 0)), element)
    lowest, highest = (-np.inf, np.inf) if element == "f32" else (0, 1)
    if element not in ("f32", "i1"):
        limits = np.iinfo(x.array.dtype)
        lowest, highest = limits.min, limits.max
    ones = True if element == "i1" else -1 if element == "i32" else 255
    identity = {"sum": 0, "product": 1, "max": lowest, "min": highest, "and": ones, "or": 0}[kind]
    expected = np.full(3, identity, x.array.dtype)
    check(graph, graph.op("reduce", (x,), expected, f'kind = "{kind}", dims = [1]'))


def test_empty_tensors_are_not_computed() -> None:
    graph = Graph()
    x = graph.input(np.ones((3, 4)))
    text = "start = [0, 2], limit = [3, 2], strides = [1, 1]"
    empty = graph.op("slice", (x,), x.array[:, 2:2], text)
    tanh = graph.unary("tanh", empty, empty.array)
    both = graph.op("concatenate", (tanh, x, empty), x.array, "dimension = 1 : i64")
    check(graph, tanh, both)


def test_one_number_more_than_whole_rows() -> None:
    """The 257th element was replicated on all partitions and counted 128 times."""
    graph = Graph()
    x = graph.input(np.ones(257))
    check(graph, graph.op("reduce", (x,), np.array(257.0), 'kind = "sum", dims = [0]'))


def test_a_last_dim_of_size_1_leaves_another_one_free() -> None:
    """All dims lay on partitions: 20,000 transfers of two elements each."""
    graph = Graph()
    x = graph.input(data(random.Random(0), [3, 33, 200]))
    moved = graph.op("transpose", (x,), x.array.transpose(1, 2, 0), "permutation = [1, 2, 0]")
    split = graph.op("reshape", (moved,), moved.array.reshape(66, 100, 3, 1))
    assert len(tile_text(graph.text([split])).ops) < 500
    check(graph, split)


def test_reshape_of_a_transposed_input() -> None:
    """Device memory has every element, but with strides that the reshape breaks."""
    graph = Graph()
    x = graph.input(data(random.Random(0), [3, 4, 5]))
    moved = graph.op("transpose", (x,), x.array.transpose(2, 0, 1), "permutation = [2, 0, 1]")
    check(graph, graph.op("reshape", (moved,), moved.array.reshape(3, 20)))


def test_concatenation_spreads_over_the_partitions() -> None:
    """With the leading dim on partitions two of them would have held everything."""
    graph = Graph()
    x = graph.input(any_integers(random.Random(0), [2, 129, 200], "i32"), "i32")
    both = np.concatenate([x.array, x.array], 1)
    check(graph, graph.op("concatenate", (x, x), both, "dimension = 1 : i64"))


def test_padding_of_every_dim_of_a_large_tensor() -> None:
    """No dim was left for the partitions, and every partition held the whole tensor."""
    graph = Graph()
    x = graph.input(data(random.Random(0), [67, 2, 380]))
    fill = graph.constant(0.5)
    padded = np.pad(x.array, [(1, 2), (3, 0), (0, 4)], constant_values=0.5)
    text = "low = [1, 3, 0], high = [2, 0, 4], interior = [0, 0, 0]"
    check(graph, graph.op("pad", (x, fill), padded, text))


def test_one_row_behind_whole_row_tiles() -> None:
    """A cache of 256 rows and the row of the new token, each with several heads."""

    def program(cache: jax.Array, new: jax.Array, q: jax.Array) -> tuple[jax.Array, jax.Array]:
        keys = jnp.concatenate([cache, new])
        return keys * 2, jnp.einsum("hd,shd->hs", q, keys)

    rng = np.random.default_rng(0)
    shapes = ((256, 4, 32), (1, 4, 32), (4, 32))
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    found = axonc.compile(jax.jit(program).lower(*arrays)).run(*arrays, checked=True)
    for got, expected in zip(found, jax.jit(program)(*arrays), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
