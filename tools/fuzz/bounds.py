"""How wrong each element may be: rules that write, for XLA:CPU in float64, the value of an
operation and a bound of its error.

A bound is a float64 tensor of the value's shape; none: the value is exact. What an operation adds
to the errors of its operands comes from the promises (`numeric_contract`); how it passes them on is
found by running it on the ends of its operands' intervals, as it is monotonic in each of them there
or nearly so. An infinite bound means that nothing is promised: a decision that the errors of its
operands may turn, or a number too large for its type. Integers and truth values have bounds of 0
and infinity alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from axonc.passes.tile.elementwise.numeric_contract import PROMISES
from axonc.tools.fuzz.program import BOOL, FLOATS, Kind, Node, neutral_number
from axonc.tools.fuzz.writer import Value, Writer

if TYPE_CHECKING:
    from axonc.tools.fuzz.operations import Op

WIDE = "f64"

HALF_UNIT = {"f32": 2.0**-24, "bf16": 2.0**-8, "f16": 2.0**-11}
"""Relative rounding error of each type, rounded to nearest. (Of bf16 twice that of a value of 8
bits: sums that are stored on the way round again.)"""

LEAST = {"f32": 2.0**-149, "bf16": 2.0**-133, "f16": 2.0**-24}
"""The smallest number of each type: the error of what underflows."""

LARGEST = {"f32": 3.402823e38, "bf16": 3.38953e38, "f16": 65504.0}

FORMATS = {"f32": "e8m23", "bf16": "e8m7", "f16": "e5m10"}

NEURON_NAMES = {
    "exponential": "exp",
    "exponential_minus_one": "expm1",
    "log_plus_one": "log1p",
    "round_nearest_even": "round_even",
    "chlo.erf": "erf",
    "chlo.erfc": "erfc",
}
"""Where the promise of an operation has another name than StableHLO's."""

_PROMISED = {p.op: (p.units, p.absolute) for p in PROMISES}


def promised(op: str) -> tuple[float, float]:
    """(units in the last place of float32, absolute error) of an operation on floats; those of the
    dialect that have no promise only move, choose or round, which is exact."""
    return _PROMISED.get(NEURON_NAMES.get(op, op), (0.0, 0.0))


@dataclass(frozen=True)
class Rounding:
    """What a mode rounds besides what the types say, as relative errors."""

    products: float = 0.0
    """Of each operand of a matrix product."""
    values: float = 0.0
    """Of every float: inputs, and results of all that computes."""


@dataclass(frozen=True)
class Bounded:
    """A value in float64 (or an integer) and the bound of its error; None: exact."""

    value: Value
    error: Value | None


Rule = Callable[["BoundWriter", "Op", Node, Sequence[Bounded]], Bounded]


class BoundWriter(Writer):
    """Writes values and bounds."""

    def __init__(self, rounding: Rounding) -> None:
        super().__init__()
        self.rounding = rounding

    def number(self, value: float, like: Value) -> Value:
        return self.splat(value, like.kind)

    def scaled(self, value: Value, factor: float) -> Value:
        return self.op("multiply", value, self.number(factor, value))

    def total(self, terms: Sequence[Value | None]) -> Value | None:
        """The sum of those that are there."""
        there = [t for t in terms if t is not None]
        total = there[0] if there else None
        for term in there[1:]:
            assert total is not None
            total = self.op("add", total, term)
        return total

    def error_of(self, bounded: Bounded) -> Value:
        """The bound as a tensor."""
        if bounded.error is not None:
            return bounded.error
        return self.splat(0.0, bounded.value.kind.of(WIDE))

    def rounded(self, value: Value) -> Bounded:
        """A float that is given, and rounded where the mode rounds all."""
        if not self.rounding.values:
            return Bounded(value, None)
        return Bounded(value, self.scaled(self.op("abs", value), self.rounding.values))

    def spread(self, scalar: Value, kind: Kind) -> Value:
        """A scalar everywhere."""
        return self.add(
            f"stablehlo.broadcast_in_dim {scalar}, dims = [] : ({scalar.kind}) -> {kind}", kind
        )

    def infinite_where(self, condition: Value) -> Value:
        kind = condition.kind.of(WIDE)
        return self.select(condition, self.splat(float("inf"), kind), self.splat(0.0, kind))

    def rounding_error(
        self, value: Value, element: str, promise: tuple[float, float], passed_on: Value | None
    ) -> Value:
        """Of one operation whose result is `value`: that promised, and a rounding of its type. What
        is rounded correctly is exact where the type has the value, and the operands are exact."""
        units, absolute = promise
        size = self.op("abs", value)
        relative = 2 * units * HALF_UNIT["f32"] + self.rounding.values
        least = absolute + 2 * units * LEAST["f32"]
        if element != "f32":
            relative += HALF_UNIT[element]
            least += LEAST[element]
        error = self.op("add", self.scaled(size, relative), self.number(least, value))
        if units > 0.5 or absolute or self.rounding.values:
            return error
        narrow = self.add(
            f"stablehlo.reduce_precision {value}, format = {FORMATS[element]} : {value.kind}",
            value.kind,
        )
        same = self.compare("EQ", value, narrow)
        if passed_on is not None:
            exact = self.compare("EQ", passed_on, self.number(0.0, value))
            same = self.op("and", same, exact)
        return self.select(same, self.number(0.0, value), error)

    def finished(
        self, element: str, value: Value, passed_on: Value | None, own: Value | None
    ) -> Bounded:
        """A float with the errors of its operands and its own; infinite where it may be too large
        for its type, and where an infinity or NaN is not certain."""
        total = self.total((passed_on, own))
        if total is None:
            return Bounded(value, None)
        zero, infinite = self.number(0.0, value), self.number(float("inf"), value)
        reach = self.op("add", self.op("abs", value), total)
        fits = self.compare("LT", reach, self.number(LARGEST[element], value))
        certain = self.compare("EQ", passed_on or zero, zero)
        predicate = value.kind.of(BOOL)
        finite = self.add(f"stablehlo.is_finite {value} : ({value.kind}) -> {predicate}", predicate)
        known = self.select(finite, fits, certain)
        error = self.select(finite, total, zero)
        return Bounded(value, self.select(known, error, infinite))

    def distance(self, a: Value, b: Value) -> Value:
        """|a - b|; 0 for equal infinities and for two NaN."""
        if a.kind.element not in (*FLOATS, WIDE):
            return self.infinite_where(self.compare("NE", a, b))
        numbers = self.op("or", self.compare("EQ", a, a), self.compare("EQ", b, b))
        same = self.op("or", self.compare("EQ", a, b), self.op("not", numbers))
        return self.select(same, self.number(0.0, a), self.op("abs", self.op("subtract", a, b)))


def wide(kind: Kind) -> Kind:
    """The kind of a value beside a bound."""
    return kind.of(WIDE) if kind.is_float else kind


def _written(s: BoundWriter, op: Op, node: Node, values: Sequence[Value]) -> Value:
    return op.write(s, node, values, wide(node.kind).element)


def moves(s: BoundWriter, op: Op, node: Node, operands: Sequence[Bounded]) -> Bounded:
    """An operation that only moves elements moves their errors in the same way."""
    value = _written(s, op, node, [o.value for o in operands])
    count = len(operands) if op.data is None else op.data
    if all(o.error is None for o in operands[:count]):
        return Bounded(value, None)
    errors = [s.error_of(o) for o in operands[:count]]
    return Bounded(value, op.write(s, node, [*errors, *(o.value for o in operands[count:])], WIDE))


def given(s: BoundWriter, op: Op, node: Node, operands: Sequence[Bounded]) -> Bounded:
    """A constant, exact unless all values are rounded."""
    value = _written(s, op, node, [])
    return s.rounded(value) if node.kind.is_float else Bounded(value, None)


def decides(s: BoundWriter, op: Op, node: Node, operands: Sequence[Bounded]) -> Bounded:
    """Of something that any error of an operand may turn, nothing is known then."""
    value = _written(s, op, node, [o.value for o in operands])
    if all(o.error is None for o in operands):
        return Bounded(value, None)
    unknown = s.splat(float("inf"), value.kind.of(WIDE))
    return Bounded(value, unknown)


def _corners(s: BoundWriter, operands: Sequence[Bounded]) -> list[list[Value]]:
    """The operands at the ends of their intervals, in all ways."""
    ends: list[list[Value]] = []
    for o in operands:
        if o.error is None or not o.value.kind.element == WIDE:
            ends.append([o.value])
        else:
            ends.append([s.op("subtract", o.value, o.error), s.op("add", o.value, o.error)])
    corners = [list(c) for c in itertools.product(*ends)]
    return corners if len(corners) > 1 else []


def _blown(s: BoundWriter, operands: Sequence[Bounded], kind: Kind) -> list[Value]:
    """0, and NaN where nothing is known of an operand."""
    errors = [o.error for o in operands if o.error is not None]
    return [s.scaled(e, 0.0) for e in errors if e.kind.shape == kind.shape]


def elementwise(s: BoundWriter, op: Op, node: Node, operands: Sequence[Bounded]) -> Bounded:
    """Runs the operation on the ends of its operands' intervals."""
    value = _written(s, op, node, [o.value for o in operands])
    if all(o.error is None for o in operands) and not node.kind.is_float:
        return Bounded(value, None)
    terms = _blown(s, operands, node.kind)
    spreads = [s.distance(_written(s, op, node, c), value) for c in _corners(s, operands)]
    for spread in spreads:
        terms = [*terms[:-1], s.op("maximum", terms[-1], spread)] if terms else [spread]
    passed_on = s.total(terms)
    if not node.kind.is_float:
        assert passed_on is not None
        known = s.compare("EQ", passed_on, s.number(0.0, passed_on))
        return Bounded(value, s.infinite_where(s.op("not", known)))
    own = own_error(s, node, value, passed_on)
    return s.finished(node.kind.element, value, passed_on, own)


def own_error(s: BoundWriter, node: Node, value: Value, passed_on: Value | None) -> Value | None:
    """What an operation adds, as promised; None: it is exact."""
    promise = (0.5, 0.0) if node.op == "convert" else promised(node.op)
    if not any(promise):
        return None
    return s.rounding_error(value, node.kind.element, promise, passed_on)


def periodic(s: BoundWriter, op: Op, node: Node, operands: Sequence[Bounded]) -> Bounded:
    """Sine and cosine, whose slope is at most 1."""
    value = _written(s, op, node, [o.value for o in operands])
    own = own_error(s, node, value, operands[0].error)
    return s.finished(node.kind.element, value, operands[0].error, own)


def unknown_near_zero(operand: int) -> Rule:
    """Where this operand may be 0 the result has a pole, or a jump, or depends on the zero's sign,
    which not all operations keep: nothing is known."""

    def rule(s: BoundWriter, op: Op, node: Node, operands: Sequence[Bounded]) -> Bounded:
        found = elementwise(s, op, node, operands)
        if not node.kind.is_float:
            return found
        near = s.op("abs", operands[operand].value)
        is_near = s.compare("LE", near, s.error_of(operands[operand]))
        return Bounded(found.value, s.total((found.error, s.infinite_where(is_near))))

    return rule


def jumps(s: BoundWriter, op: Op, node: Node, operands: Sequence[Bounded]) -> Bounded:
    """A remainder jumps by its divisor: nothing is known where errors may bring that about, of
    which that of the divisor counts as often as it goes into the other operand."""
    found = unknown_near_zero(1)(s, op, node, operands)
    if found.error is None or not node.kind.is_float:
        return found
    a, b = operands
    size = s.op("abs", b.value)
    times = s.op("divide", s.op("abs", a.value), size)
    reach = s.op("add", s.error_of(a), s.op("multiply", s.error_of(b), times))
    jumped = s.compare("GT", reach, s.scaled(size, 0.25))
    return Bounded(found.value, s.total((found.error, s.infinite_where(jumped))))


def powers(s: BoundWriter, op: Op, node: Node, operands: Sequence[Bounded]) -> Bounded:
    """Negative numbers have powers for whole exponents alone: nothing is known where an error may
    bring one about."""
    found = unknown_near_zero(0)(s, op, node, operands)
    base, exponent = operands
    if exponent.error is None or not node.kind.is_float:
        return found
    negative = s.compare("LT", base.value, s.number(0.0, base.value))
    unsure = s.compare("GT", exponent.error, s.number(0.0, exponent.error))
    both = s.op("and", negative, unsure)
    return Bounded(found.value, s.total((found.error, s.infinite_where(both))))


def compares(s: BoundWriter, op: Op, node: Node, operands: Sequence[Bounded]) -> Bounded:
    """A comparison is known where the intervals are apart."""
    a, b = operands
    value = _written(s, op, node, [a.value, b.value])
    both = s.total([a.error, b.error])
    if both is None:
        return Bounded(value, None)
    if not a.value.kind.element == WIDE:
        return Bounded(value, both)
    apart = s.compare("GT", s.distance(a.value, b.value), both)
    exact = s.compare("EQ", both, s.number(0.0, both))
    known = s.op("or", apart, exact)
    return Bounded(value, s.infinite_where(s.op("not", known)))


def selects(s: BoundWriter, op: Op, node: Node, operands: Sequence[Bounded]) -> Bounded:
    """The error of the one that is chosen, if the choice is known."""
    condition, a, b = operands
    value = _written(s, op, node, [o.value for o in operands])
    chosen = None
    if a.error or b.error:
        chosen = s.select(condition.value, s.error_of(a), s.error_of(b))
    return Bounded(value, s.total((chosen, condition.error)))


def reduces(s: BoundWriter, op: Op, node: Node, operands: Sequence[Bounded]) -> Bounded:
    """Sums add errors, and one rounding for each term; the largest errs by the largest error."""
    data, start = operands
    by = str(node.fact("by"))
    value = _reduced_from(s, op, node, data.value, start.value)
    if not node.kind.is_float:
        if data.error is None:
            return Bounded(value, None)
        return Bounded(value, _reduced(s, op, node, "maximum", data.error))
    terms = node.fact("terms")
    passed_on = None
    if data.error is not None:
        passed_on = _reduced(s, op, node, "add" if by == "add" else "maximum", data.error)
    if by in ("maximum", "minimum"):
        return s.finished(node.kind.element, value, passed_on, None)
    if by == "multiply":
        own = s.scaled(s.op("abs", value), terms * relative_of(s, node.kind.element))
        if passed_on is not None:
            return decides(s, op, node, operands)
        return s.finished(node.kind.element, value, None, own)
    sizes = _reduced(s, op, node, "add", s.op("abs", data.value))
    own = _sum_error(s, node, sizes, value, terms)
    # What it starts from may be added to the rounded sum of the rest.
    everywhere = s.op("abs", s.spread(start.value, value.kind))
    own = s.op("add", own, s.scaled(everywhere, relative_of(s, node.kind.element)))
    return s.finished(node.kind.element, value, passed_on, own)


def _reduced_from(s: BoundWriter, op: Op, node: Node, data: Value, start: Value) -> Value:
    """Reduced from the neutral number, then with the start: XLA:CPU may take any other start
    several times, as StableHLO allows."""
    by, kind = str(node.fact("by")), wide(node.kind)
    neutral = s.splat(neutral_number(by, kind.element), Kind((), kind.element))
    reduced = op.write(s, node, [data, neutral], kind.element)
    return s.op(by, s.spread(start, kind), reduced)


def _reduced(s: BoundWriter, op: Op, node: Node, by: str, tensor: Value) -> Value:
    start = s.splat(0.0, Kind((), WIDE))
    return op.write(s, node.with_facts(by=by), [tensor, start], WIDE)


def relative_of(s: BoundWriter, element: str) -> float:
    """Of one rounding."""
    return s.rounding.values + (HALF_UNIT["f32"] if element == "f32" else HALF_UNIT[element])


def _sum_error(s: BoundWriter, node: Node, sizes: Value, value: Value, terms: int) -> Value:
    """Of a sum of terms whose sizes add up to `sizes`: added in float32, rounded once."""
    summed = s.scaled(sizes, terms * HALF_UNIT["f32"])
    element = node.kind.element
    last = s.scaled(s.op("abs", value), relative_of(s, element))
    return s.op("add", s.op("add", summed, last), s.number(LEAST[element], value))


def multiplies_matrices(s: BoundWriter, op: Op, node: Node, operands: Sequence[Bounded]) -> Bounded:
    """|a| eb + ea |b| + ea eb, and one rounding for each product and sum."""
    a, b = operands
    value = _written(s, op, node, [a.value, b.value])
    if not node.kind.is_float:
        return decides(s, op, node, operands)
    size_a, size_b = s.op("abs", a.value), s.op("abs", b.value)

    def product(x: Value, y: Value) -> Value:
        return op.write(s, node, [x, y], WIDE)

    parts: list[Value] = []
    if b.error is not None:
        parts.append(product(size_a, b.error))
    if a.error is not None:
        reach = s.op("add", size_b, b.error) if b.error is not None else size_b
        parts.append(product(a.error, reach))
    sizes = product(size_a, size_b)
    own = _sum_error(s, node, sizes, value, node.fact("terms") + 1)
    if s.rounding.products:
        own = s.op("add", own, s.scaled(sizes, 2.1 * s.rounding.products))
    return s.finished(node.kind.element, value, s.total(parts), own)


def scatters(s: BoundWriter, op: Op, node: Node, operands: Sequence[Bounded]) -> Bounded:
    """As `reduces`; every element may get all updates."""
    table, updates, indices = operands
    value = _written(s, op, node, [o.value for o in operands])
    by = str(node.fact("by"))
    has_errors = table.error is not None or updates.error is not None
    if not node.kind.is_float or by == "multiply":
        return decides(s, op, node, operands) if by != "set" else moves(s, op, node, operands)
    if by == "set":
        return moves(s, op, node, operands)

    def scattered(combined: str, x: Value, y: Value) -> Value:
        return op.write(s, node.with_facts(by=combined), [x, y, indices.value], WIDE)

    passed_on = None
    if has_errors:
        how = "add" if by == "add" else "maximum"
        passed_on = scattered(how, s.error_of(table), s.error_of(updates))
    if by != "add":
        return s.finished(node.kind.element, value, passed_on, None)
    sizes = scattered("add", s.op("abs", table.value), s.op("abs", updates.value))
    # Every update may be rounded.
    own = s.scaled(sizes, node.fact("terms") * relative_of(s, node.kind.element))
    own = s.op("add", own, s.number(LEAST[node.kind.element], value))
    return s.finished(node.kind.element, value, passed_on, own)
