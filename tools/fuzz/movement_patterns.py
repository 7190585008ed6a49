"""Patterns of what is moved, merged and read through: views, products of views, batch norms."""

from __future__ import annotations

from collections.abc import Sequence

from axonc.tools.fuzz.activation_patterns import softmax_of
from axonc.tools.fuzz.draw import normalised
from axonc.tools.fuzz.pattern import Pattern
from axonc.tools.fuzz.program import Kind


def _view(p: Pattern, x: int) -> int:
    shape = p.kind(x).shape
    how = p.below(5)
    if how == 0 and len(shape) > 1:
        return p.transpose(x, *(int(d) for d in p.rng.permutation(len(shape))))
    if how == 1 and len(shape) > 1:
        at = p.below(len(shape) - 1)
        return p.reshape(x, *shape[:at], shape[at] * shape[at + 1], *shape[at + 2 :])
    if how == 2 and len(shape) < 5:
        at = p.below(len(shape) + 1)
        dims = [d for d in range(len(shape) + 1) if d != at]
        size = p.one_of((1, 2, 3)) if p.kind(x).size < 10_000 else 1
        return p.broadcast(x, (*shape[:at], size, *shape[at:]), dims)
    if how == 3 and shape:
        at = p.below(len(shape))
        factor = p.one_of([f for f in (2, 3, 5, 8) if shape[at] % f == 0] or [1])
        return p.reshape(x, *shape[:at], factor, shape[at] // factor, *shape[at + 1 :])
    if shape:
        at = p.below(len(shape))
        low = tuple(p.below(n) if d == at else 0 for d, n in enumerate(shape))
        return p.slice(x, low, shape)
    return x


def views(p: Pattern) -> Sequence[int]:
    x = p.at(p.input(Kind(p.some_shape(), p.element)))
    y = x
    for _ in range(p.below(6, 2)):
        if len(p.kind(y).shape) < 6:
            y = p.at(_view(p, y))
    found = [p.unary("negate", y)]
    if p.kind(y).size == p.kind(x).size:
        found.append(p.binary("add", x, p.reshape(y, *p.kind(x).shape)))
    if p.kind(y).shape:
        found.append(p.reduce("add", y, p.below(len(p.kind(y).shape))))
    return found


def turned_dot(p: Pattern) -> Sequence[int]:
    stack = p.one_of(((), (), (p.one_of((1, 2, 3, 5)),)))
    m, k, n = (min(p.size(), 130) for _ in range(3))
    order = [*range(len(stack)), len(stack) + 1, len(stack)]
    a = p.input(Kind((*stack, k, m), p.element))
    b = p.input(
        Kind((*stack, k, n) if p.chance(0.5) else (*stack, n, k), p.element), "normal", True
    )
    left = p.at(p.transpose(p.at(a), *order))
    right = p.at(b)
    if p.kind(right).shape[-2:] != (k, n) or p.kind(right).shape[-2:] != p.kind(b).shape[-2:]:
        right = p.at(p.transpose(right, *order))
    return (p.at(p.matmul(left, right)),)


def dot_and_shape(p: Pattern) -> Sequence[int]:
    """A product, reshaped, with a bias, an activation, a residual."""
    m, k, n = p.size(), p.size(), p.size()
    product = p.at(p.matmul(p.at(p.matrix(m, k)), p.matrix(k, n, weight=True)))
    factor = p.one_of([f for f in (2, 3, 4, 5, 8) if n % f == 0] or [1])
    shape = p.one_of(((1, m, n), (m, factor, n // factor), (m * n,), (m, n)))
    y = p.at(p.reshape(product, *shape))
    rank = len(shape)
    for _ in range(p.below(4, 1)):
        how = p.below(4)
        if how == 0:
            dims = [d for d in range(rank) if p.chance(0.5)]
            vector = p.input(Kind(tuple(shape[d] for d in dims), p.element))
            y = p.binary(p.one_of(("add", "multiply")), y, p.along(vector, y, dims))
        elif how == 1:
            y = p.unary(p.one_of(("tanh", "logistic", "abs", "negate")), y)
        elif how == 2:
            y = p.binary("add", y, p.input(p.kind(y)))
        else:
            y = p.binary("maximum", y, p.like(y, 0.0))
        y = p.at(y)
    if p.chance(0.3):
        y = softmax_of(p, normalised(p, y), rank - 1)
    return (y,)


def grouped_heads(p: Pattern) -> Sequence[int]:
    """Keys that several heads share, repeated one after the other or as a whole."""
    groups, times = p.one_of((1, 2, 3)), p.one_of((2, 3, 4))
    tokens, size = p.one_of((1, 5, 33)), p.one_of((8, 16, 65))
    keys = p.at(p.input(Kind((groups, tokens, size), p.element)))
    each = ((groups, times, tokens, size), (0, 2, 3))
    shape, dims = p.one_of((each, ((times, groups, tokens, size), (1, 2, 3))))
    repeated = p.at(p.reshape(p.at(p.broadcast(keys, shape, dims)), groups * times, tokens, size))
    queries = p.input(Kind((groups * times, p.one_of((1, 7)), size), p.element))
    scores = p.at(p.dot(queries, repeated, ((2,), (2,)), ((0,), (0,))))
    return (scores, p.at(p.dot(scores, repeated, ((2,), (1,)), ((0,), (0,)))))


def batch_norm(p: Pattern) -> Sequence[int]:
    features, size = p.one_of((1, 3, 8, 33)), p.one_of((5, 8))
    image = p.input(Kind((p.one_of((1, 2)), 3, size, size), p.element))
    kernel = p.input(Kind((features, 3, 3, 3), p.element), "normal", weight=True)
    kind = Kind((p.kind(image).shape[0], features, size, size), p.element)
    y = p.at(p.add(
        "convolution", (image, kernel), kind, 30.0, dims="[b, f, 0, 1]x[o, i, 0, 1]->[b, f, 0, 1]",
        groups=1, padding=((1, 1), (1, 1)), stride=(1, 1), dilation=(1, 1), image_dilation=(1, 1),
        terms=27,
    ))  # fmt: skip
    dim = p.one_of((1, 1, 1, 2))

    def vector(values: str = "normal") -> int:
        made = p.input(Kind((kind.shape[dim],), p.element), values, weight=True)
        return p.at(made)

    y = p.at(p.binary("subtract", y, p.along(vector(), y, (dim,))))
    variance = vector("positive")
    scale = p.unary("rsqrt", p.binary("add", variance, p.like(variance, 1e-3)))
    y = p.at(p.binary("multiply", y, p.along(scale, y, (dim,))))
    y = p.at(p.binary("multiply", y, p.along(vector(), y, (dim,))))
    return (p.binary("add", y, p.along(vector(), y, (dim,))),)
