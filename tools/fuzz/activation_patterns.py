"""Patterns that recognisers look for: activations, softmax, norms."""

from __future__ import annotations

from collections.abc import Sequence

from axonc.tools.fuzz.pattern import Pattern
from axonc.tools.fuzz.program import Kind


def _values(p: Pattern) -> str:
    return p.one_of(("normal", "hostile", "positive", "small"))


def silu(p: Pattern) -> Sequence[int]:
    x = p.at(p.matrix(p.size(), p.size(), _values(p)))
    one = p.like(x, 1.0)
    if p.chance(0.5):
        gate = p.unary("logistic", p.at(x))
    else:
        power = p.unary("exponential", p.at(p.unary("negate", x)))
        gate = p.binary("divide", one, p.binary("add", one, power))
    return (p.at(p.binary("multiply", x, p.at(gate))),)


def gelu(p: Pattern) -> Sequence[int]:
    x = p.at(p.matrix(p.size(), p.size(), _values(p)))
    if p.chance(0.5):
        cube = p.binary("multiply", p.binary("multiply", x, x), p.at(x))
        inner = p.binary("add", x, p.binary("multiply", cube, p.like(x, 0.044715)))
        inner = p.at(p.binary("multiply", inner, p.like(x, 0.7978845608)))
        gate = p.unary("tanh", inner)
    else:
        gate = p.unary("chlo.erf", p.at(p.binary("multiply", x, p.like(x, 0.70710678))))
    half = p.binary("multiply", x, p.like(x, 0.5))
    return (p.at(p.binary("multiply", half, p.at(p.binary("add", gate, p.like(x, 1.0))))),)


def softmax_of(p: Pattern, x: int, dim: int) -> int:
    x = p.at(x)
    largest = p.at(p.kept("maximum", x, dim))
    powers = p.at(p.unary("exponential", p.at(p.binary("subtract", x, largest))))
    return p.at(p.binary("divide", powers, p.at(p.kept("add", powers, dim))))


def softmax(p: Pattern) -> Sequence[int]:
    shape = p.some_shape()
    x = p.input(Kind(shape, p.element), _values(p))
    return (softmax_of(p, x, p.below(len(shape))),)


def _norm_of(p: Pattern, x: int, dim: int) -> int:
    x = p.at(x)
    centred = x
    if p.chance(0.7):
        centred = p.at(p.binary("subtract", x, p.over(p.at(p.mean(x, dim)), x, dim)))
    variance = p.at(p.mean(p.binary("multiply", centred, centred), dim))
    shifted = p.at(p.binary("add", variance, p.like(variance, p.one_of((1e-2, 1e-3)))))
    scale = p.over(p.unary("rsqrt", shifted), x, dim)
    y = p.at(p.binary("multiply", centred, scale))
    size = p.kind(x).shape[dim]
    for op in ("multiply", "add"):
        if p.chance(0.7):
            vector = p.input(Kind((size,), p.element), "normal", weight=True)
            y = p.binary(op, y, p.at(p.along(vector, x, (dim,))))
    return y


def norm(p: Pattern) -> Sequence[int]:
    shape = p.some_shape()
    x = p.input(Kind(shape, p.element), p.one_of(("normal", "small", "positive")))
    return (_norm_of(p, x, p.one_of((len(shape) - 1, p.below(len(shape))))),)
