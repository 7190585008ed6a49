"""Patterns of what is prepared and legalised: layers, folding arithmetic, scans, integers, state,
reductions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from axonc.tools.fuzz.inputs import DTYPES
from axonc.tools.fuzz.pattern import Pattern
from axonc.tools.fuzz.program import INTEGERS, Kind, neutral_number


def layers(p: Pattern) -> Sequence[int]:
    """Layers, of which one is another: a change, weights of two, a shape."""
    width = p.one_of((16, 33))
    x = p.matrix(p.size(), width)
    shared = p.matrix(width, width, weight=True)
    collected = []
    for _ in range(p.one_of((3, 4))):
        weight = shared if p.chance(0.15) else p.matrix(width, width, weight=True)
        bias = p.input(Kind((width,), p.element), "normal", weight=True)
        y = p.at(p.matmul(x, p.at(weight)))
        y = p.at(p.binary("add", y, p.along(bias, y, (1,))))
        if p.chance(0.1):
            collected.append(y)
        centred = p.binary("subtract", y, p.over(p.mean(y, 1), y, 1))
        y = p.binary("multiply", p.unary("logistic", centred), p.at(centred))
        x = p.at(p.binary("add", x, p.unary("tanh", y)))
    return (x, *collected)


def arithmetic(p: Pattern) -> Sequence[int]:
    """With the numbers that fold away."""
    x = p.at(p.input(Kind(p.some_shape(), p.element), p.one_of(("normal", "special"))))
    for _ in range(p.below(5, 2)):
        op = p.one_of(("add", "subtract", "multiply", "divide", "maximum", "minimum", "power"))
        number = p.like(x, p.one_of((0.0, 1.0, -1.0, 2.0, -0.0)))
        a, b = p.one_of(((x, number), (number, x), (x, x))) if op != "power" else (x, number)
        x = p.at(p.binary(op, a, b))
    return (x,)


def scan(p: Pattern) -> Sequence[int]:
    """A window as long as its dim, or nearly."""
    shape = (p.one_of((1, 5, 33, 130)), p.one_of((1, 3, 8)))
    dim = p.below(2)
    n = shape[dim]
    miss = p.one_of((0, 0, 1, -1)) if n > 2 else 0
    low, high = p.one_of(((n - 1 - miss, 0), (0, n - 1 - miss), (n // 2, n - 1 - n // 2)))
    window = [1, 1]
    window[dim] = n - p.one_of((0, 0, 1)) if n > 2 else n
    padding = [(0, 0), (0, 0)]
    padding[dim] = (max(low, 0), max(high, 0))
    element = p.one_of((p.element, "i32", "i64"))
    x = p.input(Kind(shape, element), "small")
    x = p.at(x) if p.kind(x).is_float else x
    by = p.one_of(("add", "maximum", "minimum") if element in (p.element, "i32") else ("add",))
    return (p.reduce_window(by, x, tuple(window), (1, 1), padding),)


def wide_integers(p: Pattern) -> Sequence[int]:
    """64-bit integers of narrower ones, and back."""
    kind = Kind(p.some_shape(), p.one_of(INTEGERS))
    x = p.convert(p.input(kind, p.one_of(("small", "extreme"))), p.one_of(("i64", "ui64", "i64")))
    for _ in range(p.below(6, 1)):
        op = p.one_of(("add", "subtract", "multiply", "maximum", "minimum", "and", "xor", "divide",
                       "remainder", "shift_right_logical", "shift_left"))  # fmt: skip
        number = p.one_of((1, 2, 3, 7, 10, 63, 255))
        if op.startswith("shift"):
            number = min(number, 63)
        y = x if op not in ("divide", "remainder") and p.chance(0.2) else p.like(x, number)
        y = p.like(x, number % 64) if op.startswith("shift") else y
        x = p.binary(op, x, y)
    ends = [x, p.convert(x, p.one_of(INTEGERS)), p.compare(p.one_of(("LT", "EQ")), x, p.like(x, 5))]
    return [p.one_of(ends)] if p.chance(0.5) else ends


def narrow_places(p: Pattern) -> Sequence[int]:
    """Rows by indices of few bits, of more rows than these count."""
    rows = p.one_of((3, 127, 128, 129, 130, 200, 256, 257, 300))
    table = p.at(p.matrix(rows, p.one_of((1, 5, 33))))
    element = p.one_of(("i8", "ui8", "i16", "i32", "i64", "ui32"))
    most = min(int(np.iinfo(DTYPES[element]).max), rows)
    kind = Kind((p.one_of((1, 7, 40)),), element)
    places = p.indices(kind, most)
    if p.chance(0.3) and element[0] == "i":
        negative = p.compare("LT", places, p.like(places, 0))
        wrapped = p.binary("add", places, p.like(places, most))
        places = p.select(negative, wrapped, places)
    return (p.take(table, places, 0),)


def state(p: Pattern) -> Sequence[int]:
    """State that is updated, and read before and after."""
    rows, columns = p.size(), p.size()
    state = p.matrix(rows, columns)
    part = p.below(rows + 1, 1)
    update = p.at(p.unary("tanh", p.matrix(part, columns)))
    starts = (p.convert(p.places(rows), "i32"), p.constant(Kind((), "i32"), 0))
    before = p.at(state)
    after = p.at(p.dynamic_update(before, update, starts))
    how = p.below(4)
    if how == 0:
        return (after, p.unary("negate", state))
    if how == 1:
        return (after, p.reduce("add", p.binary("subtract", after, state), 1))
    if how == 2:
        again = p.dynamic_update(after, p.unary("negate", update), starts)
        return (again, p.reduce("add", after, 0))
    return (p.reverse(after, 0), p.dynamic_slice(after, starts, (part, columns)))


def reduced_edges(p: Pattern) -> Sequence[int]:
    """Reductions that begin elsewhere than at their neutral number, of odd dims."""
    shape = p.some_shape()
    x = p.at(p.input(Kind(shape, p.element)))
    by = p.one_of(("add", "maximum", "minimum"))
    dims = tuple(d for d in range(len(shape)) if p.chance(0.5)) or (0,)
    reduced = p.reduce(by, x, *dims)
    node = p.nodes[reduced]
    number = p.one_of((float(neutral_number(by, p.element)), 0.0, 1.0, -2.0))
    start = p.constant(Kind((), p.element), number)
    y = p.add("reduce", (x, start), node.kind, p.reach(reduced), **dict(node.facts))
    return (p.at(y), reduced)
