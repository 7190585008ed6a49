"""What a random program is made of: one function per family of operations, each of which adds to
a drawn graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from axonc.tools.fuzz.draw import SIZES, Draw, normalised
from axonc.tools.fuzz.graph import MOST_ELEMENTS
from axonc.tools.fuzz.program import BOOL, FLOATS, INTEGERS, Kind, Program

DIRECTIONS = ("LT", "LE", "GT", "GE", "EQ", "NE")

_ANYWHERE = (
    "abs", "negate", "sign", "floor", "ceil", "round_nearest_even", "round_nearest_afz", "tanh",
    "logistic", "sine", "cosine", "chlo.erf", "cbrt",
)  # fmt: skip
_UP_TO_20 = ("exponential", "exponential_minus_one")
_POSITIVE = ("sqrt", "rsqrt", "log", "log_plus_one")


def float_unary(draw: Draw) -> None:
    x = draw.some_float()
    op = draw.one_of(_ANYWHERE + _UP_TO_20 * 2 + _POSITIVE * 2)
    if op in _UP_TO_20 and draw.reach(x) > (8 if draw.element == "f16" else 20):
        op = "tanh"
    if op in _POSITIVE and draw.chance(0.85):
        size = draw.unary("abs", x)
        x = draw.binary("add", size, draw.like(size, draw.one_of((0.25, 0.5, 1.0))))
    draw.unary(op, x)


def float_binary(draw: Draw) -> None:
    x = draw.some_float()
    y = draw.matching(x)
    op = draw.one_of(("add",) * 3 + ("subtract",) * 2 + ("multiply",) * 3 + ("maximum", "minimum"))
    if draw.chance(0.3):
        x, y = y, x
    draw.binary(op, x, y)


def float_quotient(draw: Draw) -> None:
    x = draw.some_float()
    y = draw.matching(x)
    if draw.chance(0.3):
        y = draw.like(x, draw.some_number(draw.kind(x).element))
    op = draw.one_of(("divide",) * 3 + ("remainder", "atan2"))
    if draw.chance(0.3):
        x, y = y, x
    if op != "atan2" and draw.chance(0.85):
        size = draw.unary("abs", y)
        y = draw.binary("add", size, draw.like(size, 0.5))
    draw.binary(op, x, y)


def power(draw: Draw) -> None:
    x = draw.unary("abs", draw.some_float())
    x = draw.binary("add", draw.unary("tanh", x), draw.like(x, 0.5))
    draw.binary("power", x, draw.like(x, draw.one_of((2.0, 3.0, 0.5, -1.0, -0.5, 1.5, 0.0))))


def choice(draw: Draw) -> None:
    x = draw.some_tensor()
    if draw.kind(x).element == BOOL:
        return
    y = draw.matching(x)
    if draw.chance(0.25):
        draw.clamp(draw.like(x, -1 if draw.kind(x).element[0] != "u" else 1), x, draw.like(x, 2))
        return
    direction = draw.one_of(DIRECTIONS)
    condition = draw.compare(direction, x, y)
    if draw.chance(0.2):
        condition = draw.unary("not", condition)
    if draw.chance(0.85):
        z = draw.matching(x)
        draw.select(condition, *(draw.one_of(((x, z), (z, x), (y, z)))))


def truth(draw: Draw) -> None:
    found = draw.some(lambda k: k.element == BOOL)
    p = draw.input(Kind(draw.some_shape(), BOOL)) if found is None else found
    q = draw.matching(p)
    draw.binary(draw.one_of(("and", "or", "xor")), p, q)


def conversion(draw: Draw) -> None:
    x = draw.some_tensor()
    element = draw.one_of(FLOATS * 3 + INTEGERS + ("i32",) * 3)
    if draw.kind(x).is_float and element in INTEGERS:
        x = draw.binary("multiply", normalised(draw, x), draw.like(x, 3.0))
        if element[0] == "u":
            x = draw.unary("abs", x)
    if draw.kind(x).element in INTEGERS and element in FLOATS:
        back = draw.convert(x, element)
        draw.binary("multiply", back, draw.like(back, 2.0**-5))
        draw.unary("tanh", len(draw.nodes) - 1)
        return
    draw.convert(x, element)


_OF_ONE_INTEGER = ("not", "negate", "abs", "sign", "popcnt", "count_leading_zeros")
_OF_ONE_UNSIGNED = ("not", "popcnt", "count_leading_zeros")
_OF_TWO_INTEGERS = (
    "add", "subtract", "multiply", "maximum", "minimum", "and", "or", "xor", "divide", "remainder",
    "shift_left", "shift_right_arithmetic", "shift_right_logical",
)  # fmt: skip


def integer_step(draw: Draw) -> None:
    x = draw.some_integer()
    kind = draw.kind(x)
    bits = int(kind.element.lstrip("ui"))
    how = draw.rng.random()
    if how < 0.05:
        element = draw.one_of((f"i{bits}", f"ui{bits}"))
        draw.add("bitcast_convert", (x,), kind.of(element), draw.reach(x))
        return
    if how < 0.3:
        draw.unary(draw.one_of(_OF_ONE_UNSIGNED if kind.element[0] == "u" else _OF_ONE_INTEGER), x)
        return
    op = draw.one_of(_OF_TWO_INTEGERS)
    y = draw.matching(x)
    if op.startswith("shift"):
        y = draw.binary("and", y, draw.like(y, bits - 1))
    if op in ("divide", "remainder"):  # by zero, and the least number by -1, say nothing
        y = draw.binary("or", draw.binary("and", y, draw.like(y, 15)), draw.like(y, 1))
    draw.binary(op, x, y)


def reshaping(draw: Draw) -> None:
    x = draw.some_tensor()
    shape = list(draw.kind(x).shape)
    for _ in range(draw.below(3, 1)):
        how = draw.below(3)
        if how == 0:
            shape.insert(draw.below(len(shape) + 1), 1)
        elif how == 1 and len(shape) > 1:
            at = draw.below(len(shape) - 1)
            shape[at : at + 2] = [shape[at] * shape[at + 1]]
        elif shape:
            at = draw.below(len(shape))
            by = draw.one_of([d for d in (2, 3, 4, 5, 8, 16) if shape[at] % d == 0] or [1])
            shape[at : at + 1] = [shape[at] // by, by]
    if len(shape) <= 5:
        draw.reshape(x, *shape)


def transposition(draw: Draw) -> None:
    x = draw.some_float(rank=2) if draw.chance(0.8) else draw.some_tensor()
    dims = draw.rng.permutation(len(draw.kind(x).shape))
    draw.transpose(x, *(int(d) for d in dims))


def broadcasting(draw: Draw) -> None:
    x = draw.some_tensor()
    shape = list(draw.kind(x).shape)
    at = draw.below(len(shape) + 1)
    size = draw.one_of((1, 2, 3, *draw.sizes))
    if draw.kind(x).size * size > MOST_ELEMENTS or len(shape) > 3:
        return
    dims = [d for d in range(len(shape) + 1) if d != at]
    draw.broadcast(x, [*shape[:at], size, *shape[at:]], dims)


def slicing(draw: Draw) -> None:
    x = draw.some_tensor()
    start, limit, step = [], [], []
    for n in draw.kind(x).shape:
        whole = draw.chance(0.5)
        a = 0 if whole else draw.below(n)
        b = n if whole else draw.below(n + 1, a + 1)
        start.append(a)
        limit.append(max(b, min(a + 1, n)))
        step.append(draw.one_of((1, 1, 1, 2, 3)))
    draw.slice(x, tuple(start), tuple(limit), tuple(step))


def moving(draw: Draw) -> None:
    x = draw.some_tensor()
    kind = draw.kind(x)
    rank = len(kind.shape)
    how = draw.below(3)
    if how == 0 and rank:
        draw.reverse(x, *(d for d in range(rank) if draw.chance(0.5)) or (0,))
    elif how == 1 and rank:
        y = draw.matching(x)
        parts = draw.one_of(((x, y), (x, x), (y, x, x)))
        if kind.size * 3 <= MOST_ELEMENTS:
            draw.concatenate(draw.below(rank), *parts)
    elif rank:
        low = tuple(draw.one_of((0, 0, 1, 2, -1 if n > 3 else 0)) for n in kind.shape)
        high = tuple(draw.one_of((0, 0, 1, 3, -1 if n > 3 else 0)) for n in kind.shape)
        inner = tuple(draw.one_of((0, 0, 0, 1)) for _ in kind.shape)
        if kind.size * 4 <= MOST_ELEMENTS:
            value = draw.constant(kind.shaped(), draw.some_number(kind.element))
            draw.pad(x, value, low, high, inner)


def run_time_place(draw: Draw) -> None:
    """Slices, updates and rows at places that are known when running."""
    x = draw.some_float() if draw.chance(0.7) else draw.some_integer()
    shape = draw.kind(x).shape
    if not shape or draw.kind(x).size == 0:
        return
    if draw.chance(0.4):
        dim = draw.one_of((0, 0, draw.below(len(shape))))
        count = draw.one_of((1, 2, 5, 17))
        if draw.kind(x).size // shape[dim] * count <= MOST_ELEMENTS:
            places = draw.places(shape[dim], *draw.one_of(((), (count,), (count,), (1, count))))
            draw.take(x, places, dim)
        return
    sizes = tuple(n if draw.chance(0.5) else draw.below(n + 1, 1) for n in shape)
    element = draw.one_of(("i32", "i32", "i64"))
    starts = tuple(
        draw.constant(Kind((), element), 0) if size == n else draw.convert(draw.places(n), element)
        for n, size in zip(shape, sizes, strict=True)
    )
    if draw.chance(0.5):
        draw.dynamic_slice(x, starts, sizes)
        return
    update = draw.slice(draw.matching(x), (0,) * len(shape), sizes)
    draw.dynamic_update(x, update, starts)


def product(draw: Draw) -> None:
    """A matrix product, of any dims."""
    x = normalised(draw, draw.some_float(rank=2))
    shape = draw.kind(x).shape
    rank = len(shape)
    contracted = draw.below(rank)
    batch = [d for d in range(rank) if d != contracted and draw.chance(0.3 if rank > 2 else 0.05)]
    columns = draw.one_of((1, 3, *draw.sizes))
    if np.prod(shape) / max(shape[contracted], 1) * columns > MOST_ELEMENTS:
        columns = 2
    other = [shape[d] for d in (*batch, contracted)] + [columns]
    roles = [*range(len(other))]
    order = [int(d) for d in draw.rng.permutation(len(other))] if draw.chance(0.3) else roles
    kind = Kind(tuple(other[d] for d in order), draw.kind(x).element)
    if kind.size > MOST_ELEMENTS * 2:
        return
    found = draw.some(lambda k: k == kind)
    y = draw.input(kind, "normal", weight=True) if found is None or draw.chance(0.5) else found
    y = normalised(draw, y)
    where = {role: order.index(role) for role in roles}
    y_batch = tuple(where[i] for i in range(len(batch)))
    y_contracted = where[len(batch)]
    if draw.chance(0.2):
        draw.dot(y, x, ((y_contracted,), (contracted,)), (y_batch, tuple(batch)))
    else:
        draw.dot(x, y, ((contracted,), (y_contracted,)), (tuple(batch), y_batch))


def reduction(draw: Draw) -> None:
    if draw.chance(0.2):
        found = draw.some(lambda k: k.element in (BOOL, *INTEGERS) and len(k.shape) > 0)
        x = draw.some_integer() if found is None else found
        element = draw.kind(x).element
        by = draw.one_of(("and", "or") if element == BOOL else ("add", "maximum", "minimum"))
    else:
        x = draw.some_float()
        by = draw.one_of(("add",) * 3 + ("maximum", "minimum"))
    rank = len(draw.kind(x).shape)
    if not rank or draw.kind(x).size == 0:
        return
    dims = [d for d in range(rank) if draw.chance(0.5)] or [draw.below(rank)]
    reduced = draw.reduce(by, x, *dims)
    if draw.chance(0.5) and draw.kind(x).element != BOOL:
        draw.along(reduced, x, [d for d in range(rank) if d not in dims])
        draw.binary(draw.one_of(("subtract", "add", "maximum")), x, len(draw.nodes) - 1)


def window(draw: Draw) -> None:
    x = draw.some_float(rank=2)
    shape = draw.kind(x).shape
    sizes = tuple(draw.one_of((1, 1, 2, 3)) if n > 2 else 1 for n in shape)
    strides = tuple(draw.one_of((1, 1, 2)) for _ in shape)
    padding = tuple((draw.below(s), draw.below(s)) for s in sizes)
    draw.reduce_window(draw.one_of(("add", "maximum", "minimum")), x, sizes, strides, padding)


def convolution(draw: Draw) -> None:
    rank = draw.one_of((1, 2, 2))
    groups = draw.one_of((1, 1, 1, 2))
    inputs, outputs = (groups * draw.one_of((1, 2, 3, 8, 33)) for _ in range(2))
    spatial = [draw.one_of((5, 7, 8, 12)) for _ in range(rank)]
    taps = [draw.one_of((1, 2, 3)) for _ in range(rank)]
    element = draw.element
    image = draw.input(Kind((draw.one_of((1, 2)), inputs, *spatial), element))
    kernel = draw.input(Kind((outputs, inputs // groups, *taps), element), "normal", True)
    padding = tuple((draw.below(t), draw.below(t)) for t in taps)
    stride = tuple(draw.one_of((1, 1, 2)) for _ in taps)
    sizes = zip(spatial, taps, padding, stride, strict=True)
    result = [(n + sum(p) - t) // s + 1 for n, t, p, s in sizes]
    letters = ", ".join(str(i) for i in range(rank))
    ones = (1,) * rank
    draw.add(
        "convolution", (image, kernel),
        Kind((draw.kind(image).shape[0], outputs, *result), element), 60.0,
        dims=f"[b, f, {letters}]x[o, i, {letters}]->[b, f, {letters}]", groups=groups,
        padding=padding, stride=stride, dilation=ones, image_dilation=ones,
        terms=int(np.prod(taps)) * inputs // groups,
    )  # fmt: skip


def sorting(draw: Draw) -> None:
    """Of inputs, whose order is certain."""
    element = draw.one_of(("f32", "i32", draw.element))
    shape = draw.some_shape()[-2:]
    kind = Kind(shape, element)
    dim = draw.below(len(shape))
    if shape[dim] > 130:
        return
    key = draw.input(kind, draw.one_of(("small", "normal" if kind.is_float else "extreme")))
    if draw.chance(0.4):
        draw.sort(draw.one_of(("LT", "GT")), dim, 0, key)
        return
    other = draw.iota(Kind(shape, "i32"), dim)
    draw.sort(draw.one_of(("LT", "GT")), dim, draw.below(2), key, other)


def scattering(draw: Draw) -> None:
    x = draw.some_float(rank=2)
    shape = draw.kind(x).shape
    count = draw.one_of((1, 2, 5))
    updates = draw.input(Kind((count, *shape[1:]), draw.kind(x).element))
    places = draw.places(shape[0], count)
    draw.scatter(draw.one_of(("add", "add", "maximum", "minimum")), x, updates, places)


def softmax(draw: Draw) -> None:
    x = normalised(draw, draw.some_float(rank=2))
    dim = draw.below(len(draw.kind(x).shape))
    powers = draw.unary("exponential", draw.binary("subtract", x, draw.kept("maximum", x, dim)))
    draw.binary("divide", powers, draw.kept("add", powers, dim))


def norm(draw: Draw) -> None:
    x = normalised(draw, draw.some_float(rank=2))
    dim = len(draw.kind(x).shape) - 1
    share = draw.like(x, 1.0 / max(draw.kind(x).shape[dim], 1))
    centred = draw.binary("subtract", x, draw.binary("multiply", draw.kept("add", x, dim), share))
    squares = draw.kept("add", draw.binary("multiply", centred, centred), dim)
    variance = draw.binary("multiply", squares, share)
    scale = draw.unary("rsqrt", draw.binary("add", variance, draw.like(x, 1e-2)))
    draw.binary("multiply", centred, scale)


Step = Callable[[Draw], None]

STEPS: dict[Step, float] = {
    float_unary: 4,
    float_binary: 5,
    float_quotient: 1.5,
    power: 0.5,
    choice: 2,
    truth: 0.5,
    conversion: 1,
    integer_step: 2,
    reshaping: 1.5,
    transposition: 1.5,
    broadcasting: 1,
    slicing: 1,
    moving: 1.5,
    run_time_place: 1.5,
    product: 3,
    reduction: 3,
    window: 0.5,
    convolution: 0.5,
    sorting: 0.5,
    scattering: 0.5,
    softmax: 0.7,
    norm: 0.7,
}
"""How often each is drawn, beside the others."""


def random_program(rng: np.random.Generator, sizes: Sequence[int] = SIZES) -> Program:
    """A program of 3 to 14 steps, on three inputs at first, whose dims have some of these sizes."""
    draw = Draw(rng, sizes)
    for _ in range(3):
        draw.new_float()
    weights = np.array(list(STEPS.values()))
    steps = list(STEPS)
    for _ in range(draw.below(15, 3)):
        steps[int(rng.choice(len(steps), p=weights / weights.sum()))](draw)
    return draw.finish()
