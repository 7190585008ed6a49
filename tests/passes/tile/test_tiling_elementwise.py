"""Every elementwise op at the values where it is hard, and random expression trees, from the neuron
dialect to instruction streams in checked mode, against numpy in float64 (integers: exactly)."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from edge_values import EDGES, MODERATE, all_pairs
from neuron_graphs import FLOATS, Graph, Region, Value, check, run

from axonc.dialects.attributes import NUMPY_DTYPES
from axonc.dialects.neuron.table import ELEMENTWISE

Function = Callable[..., np.ndarray]


def float32_inputs(values: list[float]) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, -1)


def apply(name: str, *arrays: np.ndarray, element: str = "f32") -> np.ndarray:
    """The op on the machine, over arrays of one shape."""
    graph = Graph()
    operands = [graph.input(a, element) for a in arrays]
    expected = np.zeros(arrays[0].shape, np.float64)
    made = graph.fused(operands, arrays[0].shape, lambda r: r.op(name, r.arguments, expected))
    return run(graph, made)[0]


def assert_close(found: np.ndarray, expected: np.ndarray, relative: float, absolute: float) -> None:
    """NaN where NaN, infinities in sign, the rest within relative * |expected| + absolute."""
    np.testing.assert_allclose(
        found.astype(np.float64), expected, rtol=relative, atol=absolute, equal_nan=True
    )


# ---- unary floats --------------------------------------------------------------------------

UNARY: dict[str, tuple[Function, float, float]] = {
    "abs": (np.abs, 0, 0),
    "cbrt": (np.cbrt, 2.5e-7, 0),
    "ceil": (np.ceil, 0, 0),
    "cosine": (np.cos, 0, 5e-7),
    "exp": (np.exp, 1e-6, 1e-44),
    "expm1": (np.expm1, 1e-6, 0),
    "floor": (np.floor, 0, 0),
    "log": (np.log, 5e-7, 0),
    "log1p": (np.log1p, 1e-6, 0),
    "logistic": (lambda x: 1 / (1 + np.exp(-x)), 1e-6, 1e-38),
    "negate": (np.negative, 0, 0),
    "reciprocal": (np.reciprocal, 1e-7, 0),
    "round_even": (np.rint, 0, 0),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 4e-7, 0),
    "sign": (np.sign, 0, 0),
    "sine": (np.sin, 0, 5e-7),
    "sqrt": (np.sqrt, 4e-7, 0),
    "square": (np.square, 1e-7, 0),
    "tanh": (np.tanh, 1e-6, 0),
}
"""numpy function, relative and absolute error allowed."""


def in_float32(array: np.ndarray) -> np.ndarray:
    """float64 results as far as float32 can hold them: overflow is infinity."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("name", UNARY)
def test_unary_edges(name: str) -> None:
    function, relative, absolute = UNARY[name]
    x = float32_inputs(EDGES)
    with np.errstate(all="ignore"):
        expected = in_float32(function(x.astype(np.float64)))
    assert_close(apply(name, x), expected, relative, absolute)


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("element", ["bf16", "f16"])
def test_unary_on_narrow_floats(name: str, element: str) -> None:
    function, _, _ = UNARY[name]
    x = float32_inputs(MODERATE)
    graph = Graph()
    operand = graph.input(x, element)
    with np.errstate(all="ignore"):
        stored = function(operand.array).astype(NUMPY_DTYPES[element])
        expected = stored.astype(np.float64)
    found = run(graph, graph.unary(name, operand, expected))[0]
    step = {"bf16": 2**-8, "f16": 2**-11}[element]
    assert_close(found, expected, 1.1 * step, 1e-6)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0, 8192.0, 131072.0, 1e9, 1e20, 3.4e38])
def test_sine_and_cosine_reduce_their_range(scale: float) -> None:
    x = (np.random.default_rng(0).uniform(-1, 1, (64, 100)) * scale).astype(np.float32)
    for name, function in (("sine", np.sin), ("cosine", np.cos)):
        assert_close(apply(name, x), function(x.astype(np.float64)), 0, 5e-7)


def test_sine_and_cosine_of_every_exponent() -> None:
    rng = np.random.default_rng(5)
    powers = 2.0 ** np.arange(-126, 128)[:, None]
    significands = np.concatenate([[1.0, 2 - 2.0**-23], rng.uniform(1, 2, 62)])
    x = (powers * significands * rng.choice([-1, 1], (254, 64))).astype(np.float32)
    for name, function in (("sine", np.sin), ("cosine", np.cos)):
        assert_close(apply(name, x), function(x.astype(np.float64)), 0, 5e-7)


@pytest.mark.parametrize("name", ["log1p", "expm1"])
def test_small_arguments_keep_their_digits(name: str) -> None:
    rng = np.random.default_rng(1)
    x = (10.0 ** rng.uniform(-30, 0, (16, 64)) * rng.choice([-1, 0.9], (16, 64))).astype(np.float32)
    expected = getattr(np, name)(x.astype(np.float64))
    found = apply(name, x)
    finite = np.isfinite(expected)
    np.testing.assert_allclose(found[finite], expected[finite], rtol=1e-6)


# ---- binary floats -------------------------------------------------------------------------


def atan2_of(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Zeros count as positive."""
    return np.arctan2(y + 0.0, x + 0.0)


BINARY: dict[str, tuple[Function, float]] = {
    "add": (np.add, 1e-7),
    "atan2": (atan2_of, 1e-6),
    "divide": (np.divide, 0),
    "maximum": (np.maximum, 0),
    "minimum": (np.minimum, 0),
    "multiply": (np.multiply, 1e-7),
    "power": (np.power, 1e-6),
    "remainder": (np.fmod, 0),
    "subtract": (np.subtract, 1e-7),
}


@pytest.mark.parametrize("name", BINARY)
def test_binary_on_all_pairs(name: str) -> None:
    function, relative = BINARY[name]
    a, b = all_pairs([*MODERATE, np.inf, -np.inf, np.nan])
    with np.errstate(all="ignore"):
        expected = in_float32(function(a.astype(np.float64), b.astype(np.float64)))
    assert_close(apply(name, a, b), expected, relative, 1e-30)


@pytest.mark.parametrize("spread", [2, 10, 37])
def test_remainders_are_exact_whatever_the_quotient(spread: int) -> None:
    rng = np.random.default_rng(2)
    a, b = (10.0 ** rng.uniform(-spread, spread, (2, 64, 64))).astype(np.float32)
    b *= rng.choice([-1, 1], b.shape).astype(np.float32)
    if spread < 37:
        a[:8] = np.round(a[:8] / b[:8]) * b[:8]  # remainders near 0
    np.testing.assert_array_equal(apply("remainder", a, b), np.fmod(a, b))


@pytest.mark.parametrize(
    "divisor", [0.0, -0.0, 3.0, -0.1, 8.0, 2.0**126, 2.0**127, 1e-44, np.inf, -np.inf]
)
def test_division_by_a_constant(divisor: float) -> None:
    graph = Graph()
    x = graph.input(float32_inputs(EDGES))
    with np.errstate(all="ignore"):
        expected = in_float32(x.array / np.float64(np.float32(divisor)))
    made = graph.fused(
        [x],
        x.array.shape,
        lambda r: r.op("divide", (r.arguments[0], r.constant(divisor)), expected),
    )
    np.testing.assert_array_equal(run(graph, made)[0], expected)


def test_quotients_are_correctly_rounded() -> None:
    rng = np.random.default_rng(6)
    whole = rng.integers(1, 5000, (2, 64, 100)).astype(np.float32)
    for a, b in ((whole[0], whole[0]), (whole[0] * whole[1], whole[1]), tuple(whole)):
        np.testing.assert_array_equal(apply("divide", a, b), a / b)


@pytest.mark.parametrize("exponent", [2.0, 3.0, -1.0, 0.5, 1.0, 0.0])
def test_powers_of_a_constant_exponent(exponent: float) -> None:
    graph = Graph()
    x = graph.input(float32_inputs(MODERATE))
    with np.errstate(all="ignore"):
        expected = x.array**exponent
    made = graph.fused(
        [x],
        x.array.shape,
        lambda r: r.op("power", (r.arguments[0], r.constant(exponent)), expected),
    )
    assert_close(run(graph, made)[0], expected, 1e-6, 0)


@pytest.mark.parametrize("direction", ["EQ", "NE", "LT", "LE", "GT", "GE"])
@pytest.mark.parametrize("element", ["f32", "bf16", "i32", "ui32", "i8", "ui8"])
def test_compare(direction: str, element: str) -> None:
    values = [-3.5, 0.0, 1.0, np.inf, -np.inf, np.nan]
    if element not in FLOATS:
        values = edge_integers(element)
    a, b = all_pairs(values, dtype=np.float64)
    graph = Graph()
    operands = [graph.input(v, element) for v in (a, b)]
    check(graph, graph.fused(operands, a.shape, lambda r: r.compare(direction, *r.arguments)))


# ---- integers ------------------------------------------------------------------------------

INTEGERS = ("i8", "ui8", "i16", "ui16", "i32", "ui32")


def numpy_integer(element: str) -> np.dtype:
    return np.dtype(element.replace("ui", "uint") if element[0] == "u" else f"int{element[1:]}")


def edge_integers(element: str) -> list[int]:
    limits = np.iinfo(numpy_integer(element))
    width = limits.bits
    near = [0, 1, 2, 3, 7, width - 1, width, limits.max, limits.max - 1, limits.max // 3]
    return near + (
        [-1, -2, -7, limits.min, limits.min + 1] if limits.min else [limits.max // 2 + 1]
    )


INTEGER_UNARY = ("abs", "negate", "not", "relu", "sign", "square")
INTEGER_BINARY = (
    "add subtract multiply divide remainder maximum minimum power and or xor "
    "shift_left shift_right_logical shift_right_arithmetic"
).split()


@pytest.mark.parametrize("element", INTEGERS)
@pytest.mark.parametrize("name", [*INTEGER_UNARY, *INTEGER_BINARY])
def test_integers_are_exact(name: str, element: str) -> None:
    """Against the reference semantics of the dialect: integers wrap."""
    dtype = numpy_integer(element)
    arrays = [a.astype(dtype) for a in all_pairs(edge_integers(element), dtype=np.int64)]
    rng = np.random.default_rng(3)
    limits = np.iinfo(dtype)
    noise = [
        rng.integers(limits.min, limits.max, (1, 400), dtype=dtype, endpoint=True) for _ in range(2)
    ]
    arrays = [np.concatenate(pair, axis=1) for pair in zip(arrays, noise, strict=True)]
    if name in INTEGER_UNARY:
        arrays = arrays[:1]
    if name.startswith("shift_right_a") and not limits.min:  # the bits are shifted as signed ones
        signed = [a.view(f"i{dtype.itemsize}") for a in arrays]
        expected = ELEMENTWISE[name].function(*signed).view(dtype)
    else:
        with np.errstate(all="ignore"):
            expected = ELEMENTWISE[name].function(*arrays).astype(dtype)
    found = apply(name, *arrays, element=element)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["and", "or", "xor", "maximum", "minimum", "not"])
def test_booleans(name: str) -> None:
    a, b = (v.astype(bool) for v in all_pairs([0, 1]))
    arrays = (a,) if name == "not" else (a, b)
    expected = ELEMENTWISE[name].function(*arrays)
    np.testing.assert_array_equal(apply(name, *arrays, element="i1").astype(bool), expected)


# ---- conversions ---------------------------------------------------------------------------


def convert_graph(array: np.ndarray, source: str, target: str, expected: np.ndarray) -> Graph:
    graph = Graph()
    x = graph.input(array, source)
    made = graph.fused(
        [x], array.shape, lambda r: r.op("convert", r.arguments, expected, element=target)
    )
    check(graph, made, tolerance=4e-3)
    return graph


@pytest.mark.parametrize("source", [*INTEGERS, "i1"])
@pytest.mark.parametrize("target", [*INTEGERS, "i1", "f32", "bf16"])
def test_convert_integers(source: str, target: str) -> None:
    """Between integers the low bits are kept; booleans are `!= 0`."""
    kind = np.dtype(bool) if source == "i1" else numpy_integer(source)
    values = np.array([0, 1] if source == "i1" else edge_integers(source)).astype(kind)
    array = values.reshape(1, -1)
    if target in FLOATS:
        expected = array.astype(np.float64)
    else:
        expected = array.astype(bool if target == "i1" else numpy_integer(target))
    convert_graph(array, source, target, expected)


@pytest.mark.parametrize("source", ["f32", "bf16"])
@pytest.mark.parametrize("target", [*INTEGERS, "i1"])
def test_convert_floats_truncates(source: str, target: str) -> None:
    values = [0.0, -0.0, 0.5, 0.99, 1.0, 1.5, 2.5, 2.9999, 100.7, 127.0, 8.0]
    if target[0] == "i":
        values += [-0.5, -0.99, -1.0, -1.5, -2.5, -100.7, -127.9]
    if target in ("i32", "ui32"):
        values += [65535.7, 2.0**24 + 2, 2.0**30, 2.0**31 - 2**24]
    graph = Graph()
    array = graph.input(float32_inputs(values), source).array
    expected = array != 0 if target == "i1" else np.trunc(array).astype(numpy_integer(target))
    convert_graph(array, source, target, expected)


# ---- select --------------------------------------------------------------------------------


@pytest.mark.parametrize("element", ["f32", "bf16", "i32", "i1", "ui8"])
@pytest.mark.parametrize("sides", ["tensors", "constant false", "constant true", "inverted"])
def test_select(element: str, sides: str) -> None:
    rng = np.random.default_rng(4)
    graph = Graph()
    mask = graph.input(rng.random((70, 33)) < 0.5, "i1")
    top = 2 if element == "i1" else 100
    x, y = (graph.input(rng.integers(0, top, (70, 33)), element) for _ in range(2))

    def body(r: Region) -> Value:
        m, a, b = r.arguments
        if sides == "constant false":
            b = r.constant(1, element)
        if sides == "constant true":
            a = r.constant(1, element)
        if sides == "inverted":
            m = r.op("not", (m,), ~m.array)
        return r.op("select", (m, a, b), np.where(m.array, a.array, b.array), element=element)

    check(graph, graph.fused([mask, x, y], (70, 33), body))


def test_select_of_infinity_masks_scores() -> None:
    graph = Graph()
    rng = np.random.default_rng(5)
    mask = graph.input(rng.random((129, 40)) < 0.5, "i1")
    x = graph.input(rng.standard_normal((129, 40)))

    def body(r: Region) -> Value:
        low = r.constant(-np.inf)
        expected = np.where(r.arguments[0].array, r.arguments[1].array, -np.inf)
        return r.op("select", (*r.arguments, low), expected, element="f32")

    check(graph, graph.fused([mask, x], (129, 40), body))


# ---- random trees --------------------------------------------------------------------------


class TreeMaker:
    """A random expression over operands of several types and shapes."""

    def __init__(self, seed: int, element: str) -> None:
        self.rnd = random.Random(seed)
        self.rng = np.random.default_rng(seed)
        self.element = element
        self.graph = Graph()
        rows, columns = self.rnd.choice([1, 33, 128, 200]), self.rnd.choice([1, 7, 64, 300])
        self.shape = (self.rnd.choice([1, 2]), rows, columns)

    def operands(self) -> list[tuple[Value, list[int] | None]]:
        """(operand, dims of its broadcast): full ones, and ones along rows, columns or nothing."""
        kinds: list[list[int] | None] = [None, None, [2], [1], [0, 1], [], [1, 2]]
        chosen = [None, *self.rnd.sample(kinds, 3)]
        made = []
        for dims in chosen:
            shape = self.shape if dims is None else tuple(self.shape[d] for d in dims)
            made.append((self.graph.input(self.rng.standard_normal(shape), self.element), dims))
        mask = self.rng.random(self.shape) < 0.5
        made.append((self.graph.input(mask, "i1"), None))
        counts = self.rng.integers(-50, 50, self.shape[1:])
        made.append((self.graph.input(counts, "i32"), [1, 2]))
        return made

    def build(self) -> Value:
        operands = self.operands()

        def body(r: Region) -> Value:
            leaves = [
                value if dims is None else r.broadcast(value, dims)
                for value, (_, dims) in zip(r.arguments, operands, strict=True)
            ]
            pool = leaves[:-2]
            self.mask, counts = leaves[-2:]
            pool.append(
                r.op("convert", (counts,), counts.array.astype(float), element=self.element)
            )
            for _ in range(self.rnd.randint(3, 10)):
                pool.append(self.step(r, pool))
            return pool[-1]

        return self.graph.fused([v for v, _ in operands], self.shape, body)

    def step(self, r: Region, pool: list[Value]) -> Value:
        """One more op on values of the pool; results stay within about 100."""
        a, b = (self.rnd.choice(pool[-4:] + pool[:1]) for _ in range(2))
        kind = self.rnd.choice(STEPS)
        return kind(self, r, a, b)

    def scaled(self, r: Region, a: Value, b: Value) -> Value:
        factor = r.constant(self.rnd.choice([0.5, -1.0, 0.125]), self.element)
        return r.op("multiply", (a, factor), a.array * factor.array)

    def shifted(self, r: Region, a: Value, b: Value) -> Value:
        term = r.constant(self.rnd.choice([1.0, -2.0]), self.element)
        return r.op("add", (term, a), a.array + term.array)

    def summed(self, r: Region, a: Value, b: Value) -> Value:
        return r.op("add", (a, b), a.array + b.array)

    def difference(self, r: Region, a: Value, b: Value) -> Value:
        return r.op("subtract", (a, b), a.array - b.array)

    def bounded(self, r: Region, a: Value, b: Value) -> Value:
        product = r.op("tanh", (a,), np.tanh(a.array))
        return r.op("multiply", (product, b), product.array * b.array)

    def larger(self, r: Region, a: Value, b: Value) -> Value:
        return r.op("maximum", (a, b), np.maximum(a.array, b.array))

    def chosen(self, r: Region, a: Value, b: Value) -> Value:
        expected = np.where(self.mask.array, a.array, b.array)
        return r.op("select", (self.mask, a, b), expected, element=self.element)

    def masked(self, r: Region, a: Value, b: Value) -> Value:
        as_number = r.op("convert", (self.mask,), self.mask.array * 1.0, element=self.element)
        return r.op("multiply", (as_number, a), as_number.array * a.array)

    def squashed(self, r: Region, a: Value, b: Value) -> Value:
        return r.op("logistic", (a,), 1 / (1 + np.exp(-a.array)))


STEPS = (
    TreeMaker.scaled,
    TreeMaker.shifted,
    TreeMaker.summed,
    TreeMaker.difference,
    TreeMaker.bounded,
    TreeMaker.larger,
    TreeMaker.chosen,
    TreeMaker.masked,
    TreeMaker.squashed,
)

SEEDS = [*range(20), *(pytest.param(s, marks=pytest.mark.slow) for s in range(20, 200))]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_trees(seed: int) -> None:
    maker = TreeMaker(seed, "f32")
    check(maker.graph, maker.build())


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_random_trees_bf16(seed: int) -> None:
    """Every intermediate may round to bf16, or stay float32: eight bits, times the steps."""
    maker = TreeMaker(seed, "bf16")
    check(maker.graph, maker.build(), tolerance=5e-2)


# ---- signs of zero -------------------------------------------------------------------------

OF_ZEROS: dict[str, Function] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "expm1": np.expm1,
    "floor": np.floor,
    "log1p": np.log1p,
    "negate": np.negative,
    "relu": lambda x: np.where(x > 0, x, 0.0),
    "round_even": np.rint,
    "sign": lambda x: np.where(x == 0, x, np.sign(x)),
    "sine": np.sin,
    "sqrt": np.sqrt,
    "square": np.square,
    "tanh": np.tanh,
}


@pytest.mark.parametrize("name", OF_ZEROS)
def test_signs_of_zero(name: str) -> None:
    x = float32_inputs([0.0, -0.0, 0.3, -0.3, 0.5, -0.5, 0.7, -0.7])
    with np.errstate(invalid="ignore"):
        expected = OF_ZEROS[name](x.astype(np.float64))
    found = apply(name, x)
    zeros = expected == 0
    np.testing.assert_array_equal(found == 0, zeros)
    np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(expected[zeros]))


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "atan2", "remainder"])
def test_signs_of_zero_of_two(name: str) -> None:
    functions = {"atan2": np.arctan2, "remainder": np.fmod}
    a, b = all_pairs([0.0, -0.0, 1.0, -1.0, 2.0, -2.0])
    with np.errstate(all="ignore"):
        expected = functions.get(name, getattr(np, name, None))(a, b)
    found = apply(name, a, b)
    assert_close(found, expected, 3e-7, 0)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found)[numbers], np.signbit(expected)[numbers])


@pytest.mark.parametrize("name, of_both", [("maximum", 0.0), ("minimum", -0.0)])
def test_zeros_of_both_signs_are_ordered(name: str, of_both: float) -> None:
    a, b = (np.tile(v, (1, 21)) for v in all_pairs([0.0, -0.0]))
    found = np.signbit(apply(name, a, b))
    same = np.signbit(a) == np.signbit(b)
    np.testing.assert_array_equal(found, np.where(same, np.signbit(a), np.signbit(of_both)))


@pytest.mark.parametrize("name", ["add", "subtract"])
@pytest.mark.parametrize("number", [0.0, -0.0])
@pytest.mark.parametrize("after", ["tanh", "sqrt", ""])
def test_a_zero_that_is_added(name: str, number: float, after: str) -> None:
    """-0 + 0 is 0: not what an instruction without a bias gives."""
    graph = Graph()
    x = graph.input(float32_inputs([0.0, -0.0]))
    expected = getattr(np, name)(x.array, number)

    def body(region: Region) -> Value:
        total = region.op(name, (region.arguments[0], region.constant(number)), expected)
        return region.op(after, (total,), expected) if after else total

    found = run(graph, graph.fused([x], x.array.shape, body))[0]
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
