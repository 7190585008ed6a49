"""Patterns of what is fused, split and laid out: attention, feed-forward, epilogues, values that
are read in several ways."""

from __future__ import annotations

from collections.abc import Sequence

from axonc.tools.fuzz.activation_patterns import softmax_of
from axonc.tools.fuzz.draw import normalised
from axonc.tools.fuzz.pattern import Pattern
from axonc.tools.fuzz.program import BOOL, Kind


def attention(p: Pattern) -> Sequence[int]:
    heads, tokens, keys, size = p.one_of((1, 2, 4)), p.one_of((1, 7, 40, 130)), 33, 16
    q = p.at(p.input(Kind((heads, tokens, size), p.element)))
    k, v = (p.at(p.input(Kind((heads, keys, size), p.element))) for _ in range(2))
    scores = p.dot(q, k, ((2,), (2,)), ((0,), (0,)))
    scores = p.at(p.binary("multiply", scores, p.like(scores, 0.25)))
    if p.chance(0.6):
        kinds = ((heads, tokens, keys), (tokens, keys), (heads, keys), (keys,))
        shape = p.one_of(kinds)
        dims = {3: (0, 1, 2), 2: (1, 2) if shape[0] == tokens else (0, 2), 1: (2,)}[len(shape)]
        mask = p.along(p.input(Kind(shape, BOOL)), scores, dims)
        scores = p.at(
            p.select(mask, scores, p.like(scores, p.one_of((float("-inf"), -1e4, -60.0))))
        )
    shares = softmax_of(p, scores, 2)
    return (p.at(p.dot(shares, v, ((2,), (1,)), ((0,), (0,)))),)


def feed_forward(p: Pattern) -> Sequence[int]:
    tokens, width, hidden = p.size(), p.one_of((16, 33, 64)), p.one_of((64, 130, 257))
    x = p.at(p.matrix(tokens, width))
    y = p.at(p.matmul(x, p.matrix(width, hidden, weight=True)))
    bias = p.input(Kind((hidden,), p.element), "normal", weight=True)
    y = p.at(p.unary("tanh", p.binary("add", y, p.at(p.along(bias, y, (1,))))))
    y = p.at(p.matmul(y, p.matrix(hidden, width, weight=True)))
    bias = p.input(Kind((width,), p.element), "normal", weight=True)
    return (p.at(p.binary("add", p.binary("add", y, p.along(bias, y, (1,))), x)),)


def epilogue(p: Pattern) -> Sequence[int]:
    """A product that is read in several ways, by itself and by what it was made from."""
    m = p.size()
    k = n = p.size()
    a = p.at(p.matrix(m, k))
    b = p.one_of((p.matrix(k, n, weight=True), p.transpose(a, 1, 0))) if p.chance(0.8) else a
    contract = (1,) if b == a else (0,)
    y = p.at(p.dot(a, b, ((1,), contract)))
    shape = p.kind(y).shape
    for _ in range(p.below(4, 1)):
        how = p.below(5)
        if how == 0:
            dims = p.one_of(((0,), (1,)))
            y = p.binary("add", y, p.along(p.input(Kind((shape[dims[0]],), p.element)), y, dims))
        elif how == 1 and p.kind(a) == p.kind(y):
            y = p.binary("add", y, a)
        elif how == 2:
            y = p.binary("multiply", y, p.unary("logistic", y))
        elif how == 3:
            y = p.binary("subtract", y, p.kept("maximum", y, p.below(2)))
        else:
            y = p.unary("tanh", y)
        y = p.at(normalised(p, y))
    return (y,)


def shared(p: Pattern) -> Sequence[int]:
    """A value that graphs of several shapes read, whole, by rows and by columns."""
    x = p.at(p.matrix(p.size(), p.size()))
    y = p.at(p.unary(p.one_of(("tanh", "exponential", "abs")), x))
    rows, columns = p.reduce("add", y, 1), p.reduce("maximum", y, 0)
    rows, columns = p.at(p.unary("tanh", rows)), p.at(p.unary("negate", columns))
    z = p.at(p.binary("multiply", y, p.along(rows, y, (0,))))
    z = p.at(p.binary("add", z, p.along(columns, y, (1,))))
    return (z, p.binary("subtract", p.reduce("add", z, 0), columns), p.binary("add", y, z))


def two_ways(p: Pattern) -> Sequence[int]:
    """Contracted along rows here, along columns there, reduced along both."""
    m, n = p.size(), p.size()
    x = p.at(p.unary("tanh", p.matrix(m, n)))
    k = p.size()
    down = p.at(p.dot(x, p.matrix(m, k, weight=True), ((0,), (0,))))
    across = p.at(p.dot(x, p.matrix(n, k, weight=True), ((1,), (0,))))
    gram = p.at(p.dot(across, down, ((1,), (1,))))
    return (p.binary("add", gram, x), p.reduce("add", gram, 0), p.reduce("maximum", down, 1))


def wide_result(p: Pattern) -> Sequence[int]:
    y = p.matmul(p.at(p.matrix(p.one_of((1, 5, 33)), 16)), p.matrix(16, 513, weight=True))
    bias = p.input(Kind((513,), p.element), "normal", weight=True)
    return (p.at(p.binary("add", p.at(y), p.along(bias, y, (1,)))),)
