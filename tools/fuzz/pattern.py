"""A drawn graph with marked places, and what is changed at one of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from axonc.tools.fuzz.draw import Draw
from axonc.tools.fuzz.program import BOOL, Kind

LIMITS = (15.0, 20.0, 30.0, 50.0, 100.0)
"""Of changes that ordinary numbers do not meet."""


class Pattern(Draw):
    """A drawn graph with marked places."""

    def __init__(self, rng: np.random.Generator, place: int, change: str) -> None:
        super().__init__(rng)
        self.place, self.change = place, change
        self.count = 0
        self.also: list[int] = []

    def at(self, x: int) -> int:
        """A marked place: x, or what the change makes of it."""
        self.count += 1
        return CHANGES[self.change](self, x) if self.count - 1 == self.place else x

    def matrix(self, rows: int, columns: int, values: str = "normal", weight: bool = False) -> int:
        return self.input(Kind((rows, columns), self.element), values, weight)

    def size(self) -> int:
        return self.one_of(self.sizes)

    def limit(self) -> float:
        return self.one_of(LIMITS)

    def mean(self, x: int, dim: int) -> int:
        """Over one dim, which is left out."""
        total = self.reduce("add", x, dim)
        share = 1.0 / self.kind(x).shape[dim]
        return self.binary("multiply", total, self.like(total, share))

    def over(self, part: int, x: int, dim: int) -> int:
        """What lacks a dim of x, repeated along it."""
        rank = len(self.kind(x).shape)
        return self.along(part, x, [d for d in range(rank) if d != dim])


Change = Callable[[Pattern, int], int]


def _clip(p: Pattern, x: int) -> int:
    limit = p.limit()
    return p.clamp(p.like(x, -limit), x, p.like(x, limit))


def _zero(p: Pattern, x: int) -> int:
    return p.select(p.compare("EQ", x, p.like(x, 0.0)), p.like(x, -p.limit()), x)


def _mask(p: Pattern, x: int) -> int:
    return p.select(p.compare("GT", x, p.like(x, -p.limit())), x, p.like(x, -1e4))


def _nan(p: Pattern, x: int) -> int:
    return p.select(p.compare("NE", x, x), p.like(x, 3.0), x)


def _floor(p: Pattern, x: int) -> int:
    far = p.compare("GT", p.unary("abs", x), p.like(x, p.limit()))
    return p.select(far, p.unary("floor", x), x)


def _through(element: str) -> Change:
    def change(p: Pattern, x: int) -> int:
        return p.convert(p.convert(x, element), p.kind(x).element)

    return change


def _turned(p: Pattern, x: int) -> int:
    """Transposed and back."""
    dims = [int(d) for d in p.rng.permutation(len(p.kind(x).shape))]
    back = [dims.index(d) for d in range(len(dims))]
    return p.transpose(p.transpose(x, *dims), *back)


def _flattened(p: Pattern, x: int) -> int:
    return p.reshape(p.reshape(x, p.kind(x).size), *p.kind(x).shape)


def _swapped(p: Pattern, x: int) -> int:
    """The elements of the first two dims in the order of the transpose, in the old shape."""
    shape = p.kind(x).shape
    if len(shape) < 2:
        return p.reverse(x, 0) if shape else x
    return p.reshape(p.transpose(x, 1, 0, *range(2, len(shape))), *shape)


def _cut(p: Pattern, x: int) -> int:
    """In two parts, put together again."""
    shape = p.kind(x).shape
    if not shape or shape[-1] < 2:
        return x
    at = p.below(shape[-1], 1)
    zeros = (0,) * len(shape)
    left = p.slice(x, zeros, (*shape[:-1], at))
    right = p.slice(x, (*zeros[:-1], at), shape)
    parts = (left, right) if p.chance(0.5) else (right, left)
    return p.concatenate(len(shape) - 1, *parts)


def _padded(p: Pattern, x: int) -> int:
    shape = p.kind(x).shape
    zeros = (0,) * len(shape)
    value = p.constant(Kind((), p.kind(x).element), p.one_of((0.0, 1.0, float("-inf"))))
    padded = p.pad(x, value, (1,) * len(shape), zeros, zeros)
    at = p.one_of((0, 1))
    return p.slice(padded, (at,) * len(shape), tuple(n + at for n in shape))


def _shown(p: Pattern, x: int) -> int:
    """A result of the program, too."""
    p.also.append(x)
    return x


def _read_twice(p: Pattern, x: int) -> int:
    p.also.append(p.unary("sine", x))
    return x


def _read_along(p: Pattern, x: int) -> int:
    """Reduced along each dim besides."""
    p.also += [p.reduce("add", x, d) for d in range(len(p.kind(x).shape))]
    return x


def _read_turned(p: Pattern, x: int) -> int:
    rank = len(p.kind(x).shape)
    p.also.append(p.transpose(x, *reversed(range(rank))))
    return x


def _cancelled(p: Pattern, x: int) -> int:
    y = p.like(x, p.one_of((1.0, 64.0, 1024.0)))
    return p.binary("subtract", p.binary("add", x, y), y)


def _along_dim(which: int) -> Change:
    """Times a vector along one dim."""

    def change(p: Pattern, x: int) -> int:
        shape = p.kind(x).shape
        if not shape:
            return x
        dim = which % len(shape)
        vector = p.input(Kind((shape[dim],), p.kind(x).element))
        return p.binary(p.one_of(("multiply", "add")), x, p.along(vector, x, (dim,)))

    return change


def _held(p: Pattern, x: int) -> int:
    return p.add("optimization_barrier", (x,), p.kind(x), p.reach(x))


def _chosen(p: Pattern, x: int) -> int:
    condition = p.input(p.kind(x).of(BOOL))
    return p.select(condition, x, p.unary("negate", x))


def _with_number(op: str, *numbers: float) -> Change:
    def change(p: Pattern, x: int) -> int:
        return p.binary(op, x, p.like(x, p.one_of(numbers)))

    return change


CHANGES: dict[str, Change] = {
    "none": lambda p, x: x,
    "clip": _clip,
    "lower": lambda p, x: p.binary("maximum", x, p.like(x, -p.limit())),
    "upper": lambda p, x: p.binary("minimum", x, p.like(x, p.limit())),
    "zero": _zero,
    "mask": _mask,
    "abs": lambda p, x: p.unary("abs", x),
    "nan": _nan,
    "floor": _floor,
    "bf16": _through("bf16"),
    "f16": _through("f16"),
    "turned": _turned,
    "flattened": _flattened,
    "swapped": _swapped,
    "reversed": lambda p, x: p.reverse(x, *range(len(p.kind(x).shape))),
    "cut": _cut,
    "padded": _padded,
    "shown": _shown,
    "read twice": _read_twice,
    "read along": _read_along,
    "read turned": _read_turned,
    "cancelled": _cancelled,
    "row": _along_dim(-1),
    "column": _along_dim(0),
    "held": _held,
    "chosen": _chosen,
    "times": _with_number("multiply", 1.0, -1.0, 0.0, 0.5),
    "plus": _with_number("add", 0.0, 1.0, -0.0),
    "less itself": lambda p, x: p.binary("add", x, p.binary("subtract", x, x)),
    "negated twice": lambda p, x: p.unary("negate", p.unary("negate", x)),
    "power": _with_number("power", 1.0, 2.0),
}
"""By name: what is done to a value on the way."""
