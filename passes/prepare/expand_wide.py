"""Rewrites operations on 64-bit integers into operations on pairs of 32-bit words: part of
`narrow-integers`, which knows which values need two.

Every operation has a rule: what it makes of its operands, `Wide` where they are of 64 bits. Results
in two words are remembered; others replace the old ones, 64-bit ones by a conversion from the word
they are in, which `narrow-integers` makes one of 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from torch_mlir import ir

from axonc.diagnostics import Finding
from axonc.dialects.attributes import dense_to_numpy, element_name
from axonc.dialects.locations import source_location
from axonc.dialects.stablehlo import comparison_direction
from axonc.passes.graph.custom_calls import called, custom_call_problem
from axonc.passes.graph.module import Processes
from axonc.passes.graph.rewrite import in_place_of, redirect
from axonc.passes.prepare import wide_arithmetic as wide
from axonc.passes.prepare import wide_conversions as conversions
from axonc.passes.prepare import wide_division as division
from axonc.passes.prepare import wide_reductions as reductions
from axonc.passes.prepare import wide_scatters as scatters
from axonc.passes.prepare import words
from axonc.passes.prepare.integer_range import of_type
from axonc.passes.prepare.integer_ranges import IntegerRanges
from axonc.passes.prepare.wide_arithmetic import Wide
from axonc.passes.prepare.wide_products import convolution, dot
from axonc.passes.prepare.wide_values import is_wide_type
from axonc.passes.unsupported import Unsupported

Result: TypeAlias = "Wide | ir.Value"
_ANYTHING = "its result may need more than 32 bits"
_WITHOUT_RULE = {
    "stablehlo.while": "a loop whose iterations depend on data, or are too many to be unrolled, "
    "has integers that may need more than 32 bits",
}
Rule: TypeAlias = "Callable[[Expander, ir.Operation], Result | Sequence[Result]]"

HINT = (
    "convert to int32 in the model; or, if 32 bits are enough, allow_lossy_integers=True, "
    "--implicit-integer-downcast all"
)


@dataclass
class Expander:
    """Rewrites the operations on values of two words, one after the other."""

    ranges: IntegerRanges
    wide: frozenset[ir.Value]
    """The values that need two words."""
    pairs: dict[ir.Value, Wide] = field(default_factory=dict)
    """The two words of those that have been made so far."""
    findings: list[Finding] = field(default_factory=list)
    """What could not be expanded."""

    def expand(self, op: ir.Operation) -> None:
        """Make the form of `op` on words before it, and give its uses to that."""
        with in_place_of(op):
            try:
                made = self._made(op)
            except Unsupported as problem:
                self.findings.append(_finding(op, problem))
                made = [self._placeholder(v) for v in op.results]
            for old, new in zip(op.results, made, strict=True):
                self._give(old, new)

    def _made(self, op: ir.Operation) -> Sequence[Result]:
        rule = RULES.get(op.name.removeprefix("stablehlo."))
        if rule is None:
            raise Unsupported(_WITHOUT_RULE.get(op.name, _ANYTHING), HINT)
        made = rule(self, op)
        return [made] if isinstance(made, (Wide, ir.Value)) else made

    def _give(self, old: ir.Value, new: Result) -> None:
        if isinstance(new, Wide) and old in self.wide:
            self.pairs[old] = new
            return
        word = new if isinstance(new, ir.Value) else words.convert(new.low, _word_type(old))
        if is_wide_type(old.type):
            word = words.convert(word, old.type.element_type)
        redirect([old], [word])

    def _placeholder(self, value: ir.Value) -> Result:
        if not is_wide_type(value.type):
            return words.filled(0, value.type)
        zeros = words.filled(0, words.of_shape(value, words.u32()))
        return Wide(zeros, zeros, words.is_signed(value))

    def adopt(self, value: ir.Value, pair: Wide) -> None:
        """Let `value`, which stands in for something made elsewhere, be these words."""
        self.wide |= {value}
        self.pairs[value] = pair
        self.ranges.known[value] = of_type(element_name(value.type))

    # ---- operands

    def pair(self, value: ir.Value) -> Wide:
        """A 64-bit integer in two words."""
        if value in self.pairs:
            return self.pairs[value]
        word = words.convert(value, _word_type(value))
        return wide.extended(word, is_signed=words.is_signed(value))

    def word(self, value: ir.Value) -> ir.Value:
        """The low word of a 64-bit integer, in the type that it has in 32 bits."""
        if value in self.pairs:
            return words.convert(self.pairs[value].low, _word_type(value))
        return words.convert(value, _word_type(value))

    def place(self, value: ir.Value) -> ir.Value:
        """An index: of 64 bits the nearest of 32, which is beyond every tensor if the exact one
        is; of other types itself."""
        if not is_wide_type(value.type):
            return value
        return (
            conversions.saturated_word(self.pair(value))
            if value in self.pairs
            else self.word(value)
        )

    def pairs_of(self, op: ir.Operation) -> list[Wide]:
        return [self.pair(v) for v in op.operands]

    def number(self, value: ir.Value) -> int | None:
        """The one number that all its elements are."""
        return self.ranges.integers(value).only


def _word_type(value: ir.Value) -> ir.Type:
    return words.i32() if words.is_signed(value) else words.u32()


def _finding(op: ir.Operation, problem: Unsupported) -> Finding:
    if op.name == "stablehlo.custom_call":  # not for its integers
        reason, hint = custom_call_problem(op)
        return Finding(called(op), reason, source_location(op), hint)
    return Finding(
        op.name,
        f"64-bit integer arithmetic ({problem.reason}); the machine computes with 32 bits",
        source_location(op),
        problem.hint or HINT,
    )


# ---- rules ---------------------------------------------------------------------------------------


def _unary(function: Callable[[Wide], Wide]) -> Rule:
    return lambda to, op: function(to.pair(op.operands[0]))


def _binary(function: Callable[[Wide, Wide], Wide]) -> Rule:
    return lambda to, op: function(*to.pairs_of(op))


def _constant(to: Expander, op: ir.Operation) -> Wide:
    attribute = op.attributes["value"]
    if not isinstance(attribute, ir.DenseElementsAttr):
        raise Unsupported("constant in a resource blob", "pass it as an argument (a weight)")
    array = np.array(dense_to_numpy(attribute))
    return wide.wide_constant(array, is_signed=words.is_signed(op.results[0]))


def _iota(to: Expander, op: ir.Operation) -> Wide:
    """Places are below 2^31."""
    kind = words.of_shape(op.results[0], words.u32())
    low = words.create("iota", (), kind, {"iota_dimension": op.attributes["iota_dimension"]})
    return Wide(low, words.filled(0, kind), words.is_signed(op.results[0]))


def _moved(*data: int) -> Rule:
    """Applied to both words of these operands (all, if none is named); others are places, or
    booleans."""

    def rule(to: Expander, op: ir.Operation) -> Wide:
        numbers = data or range(len(op.operands))
        result = op.results[0]
        found = []
        pairs = {n: to.pair(op.operands[n]) for n in numbers}
        places = {n: to.place(v) for n, v in enumerate(op.operands) if n not in pairs}
        for half in (0, 1):
            operands = [
                pairs[n].words[half] if n in pairs else places[n] for n in range(len(op.operands))
            ]
            kind = words.of_shape(result, words.u32())
            attributes = dict(op.attributes.items())
            found.append(ir.Operation.create(op.name, [kind], operands, attributes).results[0])
        return Wide(found[0], found[1], words.is_signed(result))

    return rule


def _at_places(first: int) -> Rule:
    """Also of tensors of other types, which are moved as they are; places from operand `first`."""

    def rule(to: Expander, op: ir.Operation) -> Result:
        if is_wide_type(op.results[0].type):
            return _moved(*range(first))(to, op)
        operands = [v if n < first else to.place(v) for n, v in enumerate(op.operands)]
        attributes = dict(op.attributes.items())
        return ir.Operation.create(op.name, [op.results[0].type], operands, attributes).results[0]

    return rule


def _barrier(to: Expander, op: ir.Operation) -> list[Result]:
    """Each value for itself: there is nothing to keep apart."""
    return [to.pair(v) if is_wide_type(v.type) else v for v in op.operands]


def _compare(to: Expander, op: ir.Operation) -> ir.Value:
    a, b = to.pairs_of(op)
    return wide.compare(a, comparison_direction(op), b)


def _select(to: Expander, op: ir.Operation) -> Wide:
    predicate, on_true, on_false = op.operands
    a = to.pair(on_true)
    if not predicate.type.rank and a.low.type.rank:
        predicate = words.broadcast(predicate, a.low.type.shape, ())
    return wide.select(predicate, a, to.pair(on_false))


def _clamp(to: Expander, op: ir.Operation) -> Wide:
    low, value, high = to.pairs_of(op)
    shape = value.low.type.shape
    low, high = (
        bound if bound.low.type.rank == len(shape) else bound.each(_spread(shape))
        for bound in (low, high)
    )
    return wide.minimum(wide.maximum(value, low), high)


def _spread(shape: Sequence[int]) -> Callable[[ir.Value], ir.Value]:
    return lambda scalar: words.broadcast(scalar, shape, ())


def _divide(to: Expander, op: ir.Operation) -> Wide:
    a, b = to.pairs_of(op)
    return division.divide(a, b, _small_divisor(to, op))


def _remainder(to: Expander, op: ir.Operation) -> Wide:
    a, b = to.pairs_of(op)
    return division.remainder(a, b, _small_divisor(to, op))


def _small_divisor(to: Expander, op: ir.Operation) -> int | None:
    number = to.number(op.operands[1])
    return number if division.takes_digits(number) else None


def _shift(function: Callable[[Wide, ir.Value], Wide]) -> Rule:
    def rule(to: Expander, op: ir.Operation) -> Wide:
        value, distance = to.pairs_of(op)
        number = to.number(op.operands[1])
        if number is not None and 0 <= number < 64:
            return function(value, words.filled(number, value.low.type))
        return function(value, wide.distance_of(distance))

    return rule


def _shift_right_arithmetic(value: Wide, distance: ir.Value) -> Wide:
    return wide.shift_right_arithmetic(value, distance)


def _power(to: Expander, op: ir.Operation) -> Wide:
    bits = max(1, to.ranges.integers(op.operands[1]).high.bit_length())
    a, b = to.pairs_of(op)
    return wide.power(a, b, min(bits, 64))


def _convert(to: Expander, op: ir.Operation) -> Result:
    value, result = op.operands[0], op.results[0]
    if not is_wide_type(value.type):
        is_signed = words.is_signed(result)
        if element_name(value.type)[0] not in "ui":
            return conversions.from_float(value, is_signed=is_signed)
        return wide.extended(value, is_signed=is_signed)
    found = to.pair(value)
    if is_wide_type(result.type):
        return Wide(found.low, found.high, words.is_signed(result))
    if element_name(result.type)[0] in "ui":
        return conversions.to_integer(found, result.type.element_type)
    return conversions.to_float(found, result.type.element_type)


def _bitcast(to: Expander, op: ir.Operation) -> Result:
    """To or from 32 bits and less: by way of words in a last dim, the low one first."""
    value, kind = op.operands[0], op.results[0].type
    if is_wide_type(value.type):
        pair = to.pair(value)
        if is_wide_type(kind):
            return Wide(pair.low, pair.high, words.is_signed(op.results[0]))
        rank = len(value.type.shape)
        columns = [words.reshape(word, [*word.type.shape, 1]) for word in pair.words]
        return words.bitcast(words.concatenate(columns, rank), kind)
    rank = len(kind.shape)
    if not _has_words(value.type):
        count = value.type.shape[-1] // 2
        value = words.reshape(value, [*kind.shape, 2, count])
    both = words.bitcast(value, ir.RankedTensorType.get([*kind.shape, 2], words.u32()))
    columns = [words.slice_along(both, rank, n, n + 1) for n in (0, 1)]
    low, high = (words.reshape(w, kind.shape) for w in columns)
    return Wide(low, high, words.is_signed(op.results[0]))


def _has_words(kind: ir.RankedTensorType) -> bool:
    return bool(kind.element_type.width == words.u32().width)


def _popcnt(to: Expander, op: ir.Operation) -> Wide:
    a = to.pair(op.operands[0])
    low, high = (words.create("popcnt", (x,), x.type) for x in a.words)
    return a.like(words.add(low, high), words.filled(0, low.type))


def _count_leading_zeros(to: Expander, op: ir.Operation) -> Wide:
    a = to.pair(op.operands[0])
    low, high = (words.create("count_leading_zeros", (x,), x.type) for x in a.words)
    found = words.select(words.compare(a.high, "EQ", 0), words.add(low, 32), high)
    return a.like(found, words.filled(0, low.type))


def _reduce(to: Expander, op: ir.Operation) -> Result:
    if len(op.operands) != 2:
        raise Unsupported("reduction of several tensors", "reduce one tensor at a time")
    return reductions.reduce(op, *to.pairs_of(op))


def _all_reduce(to: Expander, op: ir.Operation) -> Wide:
    if len(op.operands) != 1:
        raise Unsupported("a collective of several tensors at once", "one per tensor")
    return reductions.all_reduce(op, to.pair(op.operands[0]), Processes.of(op).cores)


def _reduce_window(to: Expander, op: ir.Operation) -> Wide:
    if len(op.operands) != 2:
        raise Unsupported("windows over several tensors at once", "reduce one tensor at a time")
    return reductions.reduce_window(op, *to.pairs_of(op))


def _scatter(to: Expander, op: ir.Operation) -> Result:
    if len(op.operands) != 3:
        raise Unsupported("scatter of several tensors", "scatter one at a time")
    old, places, new = op.operands
    if is_wide_type(old.type):
        return scatters.scatter(op, to.pair(old), to.place(places), to.pair(new))
    place = to.place(places)  # before the copy that reads it
    copy = op.clone().operation
    copy.operands[1] = place
    return copy.results[0]


def _dot(to: Expander, op: ir.Operation) -> Wide:
    a, b = (to.ranges.integers(v) for v in op.operands)
    x, y = (_as_pair(to, v, words.is_signed(op.results[0])) for v in op.operands)
    return dot(op, x, y, (a, b))


def _convolution(to: Expander, op: ir.Operation) -> Wide:
    a, b = (to.ranges.integers(v) for v in op.operands)
    x, y = (_as_pair(to, v, words.is_signed(op.results[0])) for v in op.operands)
    return convolution(op, x, y, (a, b))


def _as_pair(to: Expander, value: ir.Value, is_signed: bool) -> Wide:
    if is_wide_type(value.type):
        return to.pair(value)
    return wide.extended(value, is_signed=is_signed)


def _sort(to: Expander, op: ir.Operation) -> list[Result]:
    """Both words of a 64-bit operand are moved; the comparator gets both words of both elements."""
    operands: list[ir.Value] = []
    places: list[int | tuple[int, int]] = []
    for value in op.operands:
        if value in to.pairs:
            places.append((len(operands), len(operands) + 1))
            operands += to.pair(value).words
        else:
            places.append(len(operands))
            operands.append(to.word(value) if is_wide_type(value.type) else value)
    kinds = [v.type for v in operands]
    made = ir.Operation.create(op.name, kinds, operands, dict(op.attributes.items()), regions=1)
    _comparator(to, op, made, places)
    found: list[Result] = []
    for result, place in zip(op.results, places, strict=True):
        if isinstance(place, int):
            found.append(made.results[place])
        else:
            low, high = (made.results[p] for p in place)
            found.append(Wide(low, high, words.is_signed(result)))
    return found


def _comparator(
    to: Expander, op: ir.Operation, made: ir.Operation, places: list[int | tuple[int, int]]
) -> None:
    """The region of a sort with a copy of each of its operations, expanded where that is needed."""
    old = op.regions[0].blocks[0]
    scalars = [
        ir.RankedTensorType.get([], v.type.element_type) for v in made.operands for _ in "ab"
    ]
    block = ir.Block.create_at_start(made.regions[0], scalars, [op.location] * len(scalars))
    with ir.InsertionPoint(block):
        values: dict[ir.Value, ir.Value] = {}
        for number, argument in enumerate(old.arguments):
            place, side = places[number // 2], number % 2
            if isinstance(place, tuple):
                low, high = (block.arguments[2 * p + side] for p in place)
                to.pairs[argument] = Wide(low, high, words.is_signed(argument))
            else:
                single = block.arguments[2 * place + side]
                values[argument] = words.convert(single, argument.type.element_type)
        for each in old.operations:
            _copied(to, each.operation, values)


def _copied(to: Expander, op: ir.Operation, values: dict[ir.Value, ir.Value]) -> None:
    """A copy of an operation of a comparator, at the insertion point."""
    is_wide = any(v in to.pairs for v in op.operands) or any(v in to.wide for v in op.results)
    copy = op.clone().operation
    for number, operand in enumerate(op.operands):
        copy.operands[number] = values.get(operand, operand)
    if not is_wide:
        values.update(zip(op.results, copy.results, strict=True))
        return
    made = to._made(copy)
    for old, new in zip(op.results, made, strict=True):
        if isinstance(new, Wide) and old in to.wide:
            to.pairs[old] = new
            continue
        word = new if isinstance(new, ir.Value) else words.convert(new.low, _word_type(old))
        values[old] = words.convert(word, old.type.element_type)
    copy.erase()


RULES: dict[str, Rule] = {
    "abs": _unary(wide.absolute),
    "add": _binary(wide.add),
    "all_gather": _moved(),
    "all_reduce": _all_reduce,
    "all_to_all": _moved(),
    "and": _binary(wide.bitwise(words.both)),
    "bitcast_convert": _bitcast,
    "broadcast": _moved(),
    "broadcast_in_dim": _moved(),
    "clamp": _clamp,
    "collective_permute": _moved(),
    "compare": _compare,
    "concatenate": _moved(),
    "constant": _constant,
    "convert": _convert,
    "convolution": _convolution,
    "copy": _moved(),
    "count_leading_zeros": _count_leading_zeros,
    "divide": _divide,
    "dot": _dot,
    "dot_general": _dot,
    "dynamic_slice": _at_places(1),
    "dynamic_update_slice": _at_places(2),
    "gather": _at_places(1),
    "iota": _iota,
    "maximum": _binary(wide.maximum),
    "minimum": _binary(wide.minimum),
    "multiply": _binary(wide.multiply),
    "negate": _unary(wide.negate),
    "not": _unary(wide.inverted),
    "optimization_barrier": _barrier,
    "or": _binary(wide.bitwise(words.either)),
    "pad": _moved(),
    "popcnt": _popcnt,
    "power": _power,
    "reduce": _reduce,
    "reduce_window": _reduce_window,
    "remainder": _remainder,
    "reshape": _moved(),
    "reverse": _moved(),
    "scatter": _scatter,
    "select": _select,
    "shift_left": _shift(wide.shift_left),
    "shift_right_arithmetic": _shift(_shift_right_arithmetic),
    "shift_right_logical": _shift(wide.shift_right_logical),
    "sign": _unary(wide.sign),
    "slice": _moved(),
    "sort": _sort,
    "subtract": _binary(wide.subtract),
    "transpose": _moved(),
    "xor": _binary(wide.bitwise(words.differing)),
}
"""By the name of the operation, without its dialect."""
