"""The table of operations: how each is written, and how errors go through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from axonc.tools.fuzz import bounds
from axonc.tools.fuzz.bounds import Rule
from axonc.tools.fuzz.program import CONSTANT, FLOATS, Kind, Node
from axonc.tools.fuzz.writer import Value, Writer, array, literal, numbers

Write = Callable[[Writer, Node, Sequence[Value], str], Value]
"""(writer, node, operands, element type of the result)."""


@dataclass(frozen=True)
class Op:
    """One operation."""

    write: Write
    bound: Rule
    data: int | None = None
    """How many of its operands, the first ones, hold elements; the others are places."""


def _plain(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    return w.op(node.op, *operands)


def _convert(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    (x,) = operands
    if x.kind.element == element:
        return x
    kind = x.kind.of(element)
    return w.add(f"stablehlo.convert {x} : ({x.kind}) -> {kind}", kind)


def _bitcast(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    """Of integers: the bits of floats in float64 are others."""
    (x,) = operands
    return w.add(f"stablehlo.bitcast_convert {x} : ({x.kind}) -> {node.kind}", node.kind)


def _compare(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    return w.compare(node.fact("direction"), *operands)


def _select(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    return w.select(*operands)


def _clamp(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    kind = operands[0].kind
    return w.add(f"stablehlo.clamp {', '.join(map(str, operands))} : {kind}", kind)


def _is_finite(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    (x,) = operands
    return w.add(f"stablehlo.is_finite {x} : ({x.kind}) -> {node.kind}", node.kind)


def _constant(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    kind = node.kind.of(element)
    values = node.fact("values")
    if len(values) == 1:
        return w.splat(values[0], kind)
    text = _nested([literal(v, kind) for v in values], kind.shape)
    return w.add(f"stablehlo.constant dense<{text}> : {kind}", kind)


def _nested(texts: list[str], shape: tuple[int, ...]) -> str:
    if not shape:
        return texts[0]
    step = len(texts) // shape[0]
    parts = (texts[i * step : (i + 1) * step] for i in range(shape[0]))
    return "[" + ", ".join(_nested(p, shape[1:]) for p in parts) + "]"


def _iota(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    kind = node.kind.of(element)
    return w.add(f"stablehlo.iota dim = {node.fact('dim')} : {kind}", kind)


def _view(name: str, fact: str, word: str) -> Write:
    """`stablehlo.name %x, word = [...]`."""

    def write(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
        rest = f"{word} = {numbers(node.fact(fact))}" if fact else ""
        return w.typed(name, operands, rest, node.kind.of(element))

    return write


def _reverse(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    (x,) = operands
    dims = numbers(node.fact("dims"))
    return w.add(f"stablehlo.reverse {x}, dims = {dims} : {x.kind}", x.kind)


def _slice(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    (x,) = operands
    facts = zip(node.fact("start"), node.fact("limit"), node.fact("step"), strict=True)
    spans = ", ".join(f"{a}:{b}:{c}" for a, b, c in facts)
    kind = node.kind.of(element)
    return w.add(f"stablehlo.slice {x} [{spans}] : ({x.kind}) -> {kind}", kind)


def _pad(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    low, high, inner = (numbers(node.fact(n)) for n in ("low", "high", "inner"))
    rest = f"low = {low}, high = {high}, interior = {inner}"
    return w.typed("pad", operands, rest, node.kind.of(element))


def _concatenate(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    return w.typed("concatenate", operands, f"dim = {node.fact('dim')}", node.kind.of(element))


def _dynamic_slice(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    return w.typed(
        "dynamic_slice", operands, f"sizes = {numbers(node.kind.shape)}", node.kind.of(element)
    )


def _dynamic_update(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    return w.typed("dynamic_update_slice", operands, "", node.kind.of(element))


def _gather(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    attributes = (
        "dimension_numbers = #stablehlo.gather<"
        f"offset_dims = {numbers(node.fact('offset'))}, "
        f"collapsed_slice_dims = {numbers(node.fact('collapsed'))}, "
        f"start_index_map = {numbers(node.fact('map'))}, "
        f"index_vector_dim = {node.fact('vector')}>, "
        f"slice_sizes = {array(node.fact('sizes'))}, indices_are_sorted = false"
    )
    return w.generic("gather", operands, attributes, node.kind.of(element))


def _scatter(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    table, updates, indices = operands
    attributes = (
        "scatter_dimension_numbers = #stablehlo.scatter<"
        f"update_window_dims = {numbers(node.fact('window'))}, "
        f"inserted_window_dims = {numbers(node.fact('inserted'))}, "
        f"scatter_dims_to_operand_dims = {numbers(node.fact('map'))}, "
        f"index_vector_dim = {node.fact('vector')}>, "
        "indices_are_sorted = false, unique_indices = false"
    )
    region = combiner(node.fact("by"), element)
    return w.generic("scatter", [table, indices, updates], attributes, table.kind, region)


def combiner(by: str, element: str) -> str:
    """The region of a reduction by one operation; "set": the second operand."""
    kind = Kind((), element)
    if by == "set":
        return f"^bb0(%a: {kind}, %b: {kind}): stablehlo.return %b : {kind}"
    return (
        f"^bb0(%a: {kind}, %b: {kind}): %c = stablehlo.{by} %a, %b : {kind} "
        f"stablehlo.return %c : {kind}"
    )


def _reduce(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    x, start = operands
    kind = node.kind.of(element)
    applied = f"stablehlo.{node.fact('by')} across dimensions = {numbers(node.fact('dims'))}"
    types = f"({x.kind}, {start.kind}) -> {kind}"
    return w.add(f"stablehlo.reduce({x} init: {start}) applies {applied} : {types}", kind)


def _reduce_window(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    pads = node.fact("padding")
    rows = ", ".join(numbers(p) for p in pads)
    names = ("window_dimensions", "window_strides", "base_dilations", "window_dilations")
    listed = ", ".join(f"{n} = {array(node.fact(n))}" for n in names)
    attributes = f"{listed}, padding = dense<[{rows}]> : tensor<{len(pads)}x2xi64>"
    return w.generic(
        "reduce_window", operands, attributes, node.kind.of(element),
        combiner(node.fact("by"), element),
    )  # fmt: skip


def _dot(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    batch, contract = node.fact("batch"), node.fact("contract")
    batching = f"batching_dims = {numbers(batch[0])} x {numbers(batch[1])}, " if batch[0] else ""
    rest = f"{batching}contracting_dims = {numbers(contract[0])} x {numbers(contract[1])}"
    return w.typed("dot_general", operands, rest, node.kind.of(element))


def _convolution(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    pads = ", ".join(numbers(p) for p in node.fact("padding"))
    window = (
        f"{{stride = {numbers(node.fact('stride'))}, pad = [{pads}], "
        f"lhs_dilate = {numbers(node.fact('image_dilation'))}, "
        f"rhs_dilate = {numbers(node.fact('dilation'))}}}"
    )
    a, b = operands
    kind = node.kind.of(element)
    groups = f"{{batch_group_count = 1 : i64, feature_group_count = {node.fact('groups')} : i64}}"
    return w.add(
        f"stablehlo.convolution({a}, {b}) dim_numbers = {node.fact('dims')}, window = {window} "
        f"{groups} : ({a.kind}, {b.kind}) -> {kind}",
        kind,
    )


def _sort(w: Writer, node: Node, operands: Sequence[Value], element: str) -> Value:
    """One of the sorted tensors: the keys, or what is moved along with them."""
    kinds = [o.kind for o in operands]
    arguments = ", ".join(
        f"%a{i}: {Kind((), k.element)}, %b{i}: {Kind((), k.element)}" for i, k in enumerate(kinds)
    )
    key = Kind((), kinds[0].element)
    is_float = key.element in (*FLOATS, "f64")
    order = "FLOAT" if is_float else "UNSIGNED" if key.element[0] == "u" else "SIGNED"
    region = (
        f"^bb0({arguments}): %c = stablehlo.compare {node.fact('direction')}, %a0, %b0, {order} : "
        f"({key}, {key}) -> tensor<i1> stablehlo.return %c : tensor<i1>"
    )
    types = ", ".join(map(str, kinds))
    count = len(kinds)
    text = (
        f'"stablehlo.sort"({", ".join(map(str, operands))}) ({{{region}}}) '
        f"{{dimension = {node.fact('dim')} : i64, is_stable = true}} : ({types}) -> ({types})"
    )
    if count == 1:
        return w.add(text, kinds[0])
    name = f"%v{len(w.lines)}"
    w.lines.append(f"{name}:{count} = {text}")
    which = node.fact("which")
    return Value(f"{name}#{which}", kinds[which])


_EXACT_INTEGERS = ("and", "or", "xor", "not", "shift_left", "shift_right_arithmetic",
                   "shift_right_logical", "popcnt", "count_leading_zeros")  # fmt: skip

_FLOAT_UNARY = (
    "abs", "negate", "sign", "round_nearest_even", "round_nearest_afz", "floor", "ceil", "sqrt",
    "cbrt", "exponential", "exponential_minus_one", "log", "log_plus_one", "logistic", "tanh",
    "chlo.erf",
)  # fmt: skip

OPS: dict[str, Op] = {
    CONSTANT: Op(_constant, bounds.given),
    "iota": Op(_iota, bounds.decides),
    **{name: Op(_plain, bounds.elementwise) for name in (*_FLOAT_UNARY, *_EXACT_INTEGERS)},
    **{name: Op(_plain, bounds.periodic) for name in ("sine", "cosine")},
    **{
        name: Op(_plain, bounds.elementwise)
        for name in ("add", "subtract", "multiply", "maximum", "minimum")
    },
    "divide": Op(_plain, bounds.unknown_near_zero(1)),
    "remainder": Op(_plain, bounds.jumps),
    "power": Op(_plain, bounds.powers),
    "rsqrt": Op(_plain, bounds.unknown_near_zero(0)),
    "atan2": Op(_plain, bounds.unknown_near_zero(0)),
    "convert": Op(_convert, bounds.elementwise),
    "bitcast_convert": Op(_bitcast, bounds.decides),
    "compare": Op(_compare, bounds.compares),
    "select": Op(_select, bounds.selects),
    "clamp": Op(_clamp, bounds.elementwise),
    "is_finite": Op(_is_finite, bounds.elementwise),
    "optimization_barrier": Op(_plain, bounds.moves),
    "reshape": Op(_view("reshape", "", ""), bounds.moves),
    "transpose": Op(_view("transpose", "dims", "dims"), bounds.moves),
    "broadcast_in_dim": Op(_view("broadcast_in_dim", "dims", "dims"), bounds.moves),
    "reverse": Op(_reverse, bounds.moves),
    "slice": Op(_slice, bounds.moves),
    "pad": Op(_pad, bounds.moves),
    "concatenate": Op(_concatenate, bounds.moves),
    "dynamic_slice": Op(_dynamic_slice, bounds.moves, data=1),
    "dynamic_update_slice": Op(_dynamic_update, bounds.moves, data=2),
    "gather": Op(_gather, bounds.moves, data=1),
    "scatter": Op(_scatter, bounds.scatters, data=2),
    "reduce": Op(_reduce, bounds.reduces),
    "reduce_window": Op(_reduce_window, bounds.reduces),
    "dot_general": Op(_dot, bounds.multiplies_matrices),
    "convolution": Op(_convolution, bounds.multiplies_matrices),
    "sort": Op(_sort, bounds.decides),
}
"""By the name of a node's operation; without `stablehlo.` unless it is of another dialect."""
