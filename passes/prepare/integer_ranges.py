"""Which values the integers of a StableHLO program can have: a question, not a pass.

Answers come from constants, iotas, comparisons, clamps, shapes and what arithmetic makes of them,
and from what is promised of the arguments of `@main`: the promise is checked when a program runs.
An answer holds for the exact values in the type of the program, which wraps at its own width.

The branches of `select(x < 0, x + n, x)` are seen under its predicate: the first only with x < 0.
That is how frameworks write indices that count from the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from torch_mlir import ir

from axonc.dialects.attributes import dense_to_numpy, element_name
from axonc.dialects.neuron.repeat import REPEAT, Repeat, block_function
from axonc.dialects.stablehlo import (
    comparison_direction,
    dense_integers,
    dot_dimensions,
    scatter_dimensions,
)
from axonc.passes.graph.comparator_region import extreme_of
from axonc.passes.graph.module import Processes
from axonc.passes.prepare import integer_range as rules
from axonc.passes.prepare.integer_range import BOOLEAN, Interval, hull, of_type

Promises = Mapping[ir.Value, Interval]
"""By argument of `@main`, the values that a run is checked to give."""


@dataclass
class IntegerRanges:
    """The ranges of integers of a program. Answers are remembered: ask before the program is
    changed."""

    promises: Promises = field(default_factory=dict)
    """See `Promises`."""
    known: dict[ir.Value, Interval | None] = field(default_factory=dict)
    """The answers so far."""

    def of(self, value: ir.Value) -> Interval | None:
        """The values it can have; None for floats and other types."""
        pending = [value]
        while pending:
            current = pending[-1]
            if current in self.known:
                pending.pop()
                continue
            missing = [v for v in self._sources(current) if v not in self.known]
            if missing:
                pending += missing
                continue
            self.known[current] = self._computed(current)
            pending.pop()
        return self.known[value]

    def integers(self, value: ir.Value) -> Interval:
        """`of` an integer or boolean."""
        found = self.of(value)
        assert found is not None, f"{value.type} holds no integers"
        return found

    def chosen(self, op: ir.Operation, branch: ir.Value, is_true: bool) -> Interval | None:
        """What elements of a branch of `stablehlo.select` are where they are chosen; None when they
        never are."""
        predicate = op.operands[0]
        if list(predicate.type.shape) != list(branch.type.shape):
            return self.integers(branch)
        facts = _facts(self, predicate, is_true)
        return self.under(branch, facts) if facts else self.integers(branch)

    def _sources(self, value: ir.Value) -> Sequence[ir.Value]:
        """What has to be known first."""
        if of_type(element_name(value.type)) is None:
            return ()
        if isinstance(value.owner, ir.Block):
            return () if value in self.promises else _passed(value)
        op = value.owner.operation
        if op.name == REPEAT:
            return (_returned(op, value),)
        return [v for v in op.operands if of_type(element_name(v.type)) is not None]

    def _computed(self, value: ir.Value) -> Interval | None:
        kind = of_type(element_name(value.type))
        if kind is None:
            return None
        if value in self.promises:
            return self.promises[value]
        if isinstance(value.owner, ir.Block) or value.owner.operation.name == REPEAT:
            found = hull(map(self.integers, sources)) if (sources := self._sources(value)) else kind
        else:
            found = self._result(value, self.of) or kind
        return found if found.within(kind) else kind

    def _result(
        self, value: ir.Value, known: Callable[[ir.Value], Interval | None]
    ) -> Interval | None:
        """The range of an operation's result, from those of its operands; None when nothing is
        known."""
        op = value.owner.operation
        rule = _RULES.get(op.name.removeprefix("stablehlo."))
        if rule is None:
            return None
        return rule(_Asked(self, op, value, known))

    def under(self, value: ir.Value, facts: Promises, depth: int = 4) -> Interval | None:
        """Of an element when the elements of other values at the same place lie in `facts`; None
        when that cannot be."""
        general = self.integers(value)
        if value in facts:
            return general.meet(facts[value])
        if (
            depth == 0
            or isinstance(value.owner, ir.Block)
            or not _is_elementwise(value.owner.operation)
        ):
            return general
        kind = of_type(element_name(value.type))
        unreachable = False

        def known(operand: ir.Value) -> Interval | None:
            nonlocal unreachable
            if self.of(operand) is None:
                return None
            found = self.under(operand, facts, depth - 1)
            unreachable |= found is None
            return found or self.of(operand)

        found = self._result(value, known)
        if unreachable:
            return None
        is_exact = found is not None and kind is not None and found.within(kind)
        return general.meet(found) if found is not None and is_exact else general


@dataclass(frozen=True)
class _Asked:
    """What the rule of an operation sees."""

    ranges: IntegerRanges
    op: ir.Operation
    value: ir.Value
    known: Callable[[ir.Value], Interval | None]
    """Gives the range of an operand, None for floats."""

    @property
    def kind(self) -> Interval:
        """What the type of the result holds."""
        found = of_type(element_name(self.value.type))
        assert found is not None
        return found

    @property
    def number(self) -> int:
        """Which result of its operation it is."""
        return int(ir.OpResult(self.value).result_number)

    def operand(self, number: int) -> Interval:
        found = self.known(self.op.operands[number])
        assert found is not None, "operands of integer operations are integers"
        return found

    @property
    def operands(self) -> list[Interval]:
        return [self.operand(n) for n in range(len(self.op.operands))]


_Rule = Callable[[_Asked], Interval | None]


def _passed(argument: ir.Value) -> list[ir.Value]:
    """What a block argument can be: operands of a sort, or of the repeats that call the function.
    Empty when that is not known."""
    block = ir.BlockArgument(argument)
    owner = block.owner.owner
    if owner is None:
        return []
    if owner.operation.name == "stablehlo.sort":
        return [owner.operation.operands[block.arg_number // 2]]
    if owner.operation.name != "func.func":
        return []
    return _passed_by_repeats(owner.operation, block.arg_number)


def _passed_by_repeats(function: ir.Operation, number: int) -> list[ir.Value]:
    name = ir.StringAttr(function.attributes["sym_name"]).value
    found: list[ir.Value] = []
    for each in _repeats_of(function, name):
        parts = Repeat.of(each)
        if number < len(parts.carried):
            return []
        place = number - len(parts.carried)
        found += [parts.arguments(k)[place] for k in range(parts.count)]
    return found


def _repeats_of(function: ir.Operation, name: str) -> list[ir.Operation]:
    module = function.parent
    if module is None:
        return []
    operations = [
        op.operation
        for each in module.operation.regions[0].blocks[0].operations
        if each.operation.name == "func.func" and each.operation.regions[0].blocks
        for op in each.operation.regions[0].blocks[0].operations
    ]
    return [
        op
        for op in operations
        if op.name == REPEAT and ir.FlatSymbolRefAttr(op.attributes["callee"]).value == name
    ]


def _returned(op: ir.Operation, result: ir.Value) -> ir.Value:
    """What the function of a repeat returns for this result of it, in any iteration."""
    parts = Repeat.of(op)
    final = list(block_function(op).regions[0].blocks[0].operations)[-1].operation
    if result in parts.carried_out:
        return final.operands[parts.carried_out.index(result)]
    row = next(row for row in parts.collected if result in row)
    return final.operands[len(parts.carried_out) + row.index(result)]


# ---- rules ---------------------------------------------------------------------------------------


def _constant(asked: _Asked) -> Interval | None:
    attribute = asked.op.attributes["value"]
    if not isinstance(attribute, ir.DenseElementsAttr):
        return None
    array = dense_to_numpy(attribute)
    return Interval(int(array.min()), int(array.max())) if array.size else rules.ZERO


def _iota(asked: _Asked) -> Interval:
    dim = ir.IntegerAttr(asked.op.attributes["iota_dimension"]).value
    return Interval(0, max(asked.value.type.shape[dim] - 1, 0))


def _convert(asked: _Asked) -> Interval | None:
    found = asked.known(asked.op.operands[0])
    if found is None:
        return None
    if element_name(asked.value.type) == "i1":
        return Interval(int(not found.low <= 0 <= found.high), int(found.only != 0))
    return found


def _first(asked: _Asked) -> Interval | None:
    """Movement: elements of the first operand."""
    return asked.known(asked.op.operands[0])


def _same_number(asked: _Asked) -> Interval | None:
    """The i-th result holds elements of the i-th operand."""
    return asked.known(asked.op.operands[asked.number])


def _either(*numbers: int) -> _Rule:
    """Elements of these operands."""
    return lambda asked: hull(asked.operand(n) for n in numbers)


def _concatenate(asked: _Asked) -> Interval:
    return hull(asked.operands)


def _exchanged(asked: _Asked) -> Interval:
    """Elements of the operand of some core, or zero where no core sends."""
    return hull([rules.ZERO, asked.operand(0)])


def _binary(function: Callable[[Interval, Interval], Interval | None]) -> _Rule:
    return lambda asked: function(asked.operand(0), asked.operand(1))


def _unary(function: Callable[[Interval], Interval]) -> _Rule:
    return lambda asked: function(asked.operand(0))


def _divide(asked: _Asked) -> Interval:
    at_zero = -1 if asked.kind.low < 0 else asked.kind.high
    return rules.divide(asked.operand(0), asked.operand(1), at_zero)


def _clamp(asked: _Asked) -> Interval:
    low, value, high = asked.operands
    return rules.minimum(rules.maximum(value, low), high)


def _not(asked: _Asked) -> Interval:
    return rules.complement(asked.operand(0), asked.kind)


def _shift_right_logical(asked: _Asked) -> Interval | None:
    value, distance = asked.operands
    if value.is_natural:
        return rules.shift_right(value, distance)
    everything = Interval(0, asked.kind.high - asked.kind.low)
    return rules.shift_right(everything, distance)


def _shift_right_arithmetic(asked: _Asked) -> Interval | None:
    """The first bit is repeated, of unsigned numbers, too: large ones stay large."""
    value, distance = asked.operands
    largest_positive = (asked.kind.high - asked.kind.low) // 2
    return rules.shift_right(value, distance) if value.high <= largest_positive else None


def _compare(asked: _Asked) -> Interval | None:
    a, b = (asked.known(v) for v in asked.op.operands)
    if a is None or b is None:
        return None
    outcome = _OUTCOMES[comparison_direction(asked.op)](a, b)
    return BOOLEAN if outcome is None else Interval(int(outcome), int(outcome))


def _less(a: Interval, b: Interval) -> bool | None:
    return True if a.high < b.low else (False if a.low >= b.high else None)


def _equal(a: Interval, b: Interval) -> bool | None:
    if a.meet(b) is None:
        return False
    return True if a.only is not None and a.only == b.only else None


def _inverse(outcome: bool | None) -> bool | None:
    return None if outcome is None else not outcome


_OUTCOMES: dict[str, Callable[[Interval, Interval], bool | None]] = {
    "LT": _less,
    "GE": lambda a, b: _inverse(_less(a, b)),
    "GT": lambda a, b: _less(b, a),
    "LE": lambda a, b: _inverse(_less(b, a)),
    "EQ": _equal,
    "NE": lambda a, b: _inverse(_equal(a, b)),
}


def _all_reduce(asked: _Asked) -> Interval | None:
    """Groups are of at most all cores."""
    kind, found = combination(asked.op), asked.operand(asked.number)
    if kind == "add":
        return rules.up_to(found, Processes.of(asked.op).cores)
    return found if kind in ("choose", "maximum", "minimum") else None


def _reduce(asked: _Asked) -> Interval | None:
    dims = dense_integers(asked.op.attributes["dimensions"])
    count = prod(asked.op.operands[0].type.shape[d] for d in dims)
    return _reduced(asked, count)


def _reduce_window(asked: _Asked) -> Interval | None:
    """The padding holds initial values too: at most as many as the window has elements."""
    count = prod(dense_integers(asked.op.attributes["window_dimensions"]))
    return _reduced(asked, count, padded=True)


def _reduced(asked: _Asked, count: int, *, padded: bool = False) -> Interval | None:
    half = len(asked.op.operands) // 2
    kind = _chosen_extreme(asked) or combination(asked.op)
    element = asked.known(asked.op.operands[asked.number])
    first = asked.known(asked.op.operands[half + asked.number])
    assert element is not None and first is not None, "the result is of integers"
    if kind == "choose":
        return hull([element, first])
    if kind == "add":
        return _total(element, first, count, padded)
    if kind in ("maximum", "minimum") and count and not padded:
        return _EXTREMES[kind](element, first)
    if kind in ("maximum", "minimum", "and", "or") and element.is_natural and first.is_natural:
        return rules.bit_or(element, first) if kind == "or" else hull([element, first, rules.ZERO])
    if kind in ("maximum", "minimum"):
        return hull([element, first])
    if kind in ("and", "or"):
        return rules.bit_or(element, first)
    if kind == "multiply" and hull([element, first]).within(Interval(-1, 1)):
        return Interval(-1, 1)
    return None


def _chosen_extreme(asked: _Asked) -> str:
    """ "maximum" or "minimum" for the values of an argmax or argmin."""
    op = asked.op
    if len(op.operands) != 4 or asked.number != 0:
        return ""
    kind = extreme_of(op.regions[0], element_name(op.operands[0].type))
    return {"max": "maximum", "min": "minimum"}.get(kind or "", "")


_EXTREMES = {"maximum": rules.maximum, "minimum": rules.minimum}


def _total(element: Interval, first: Interval, count: int, padded: bool) -> Interval:
    if padded:
        return rules.add(rules.up_to(first, count + 1), rules.up_to(element, count))
    return rules.add(first, rules.times(element, count))


def combination(op: ir.Operation) -> str:
    """What the region of a reduction or a scatter does with its operands: "choose" when it returns
    one of them, the name of a StableHLO operation of both, or "" for anything else."""
    body = [o.operation for o in op.regions[0].blocks[0].operations]
    names = {o.name.removeprefix("stablehlo.") for o in body}
    if names <= {"compare", "select", "and", "or", "not", "return"}:
        only_booleans = all(
            element_name(v.type) == "i1"
            for o in body
            if o.name.removeprefix("stablehlo.") in ("and", "or", "not")
            for v in o.results
        )
        if only_booleans:
            return "choose"
    if len(body) != 2 or set(body[0].operands) != set(op.regions[0].blocks[0].arguments):
        return ""
    return body[0].name.removeprefix("stablehlo.")


def _scatter(asked: _Asked) -> Interval | None:
    if len(asked.op.operands) != 3:
        return None
    kind, old, new = combination(asked.op), asked.operand(0), asked.operand(2)
    if kind in ("choose", "maximum", "minimum"):
        return hull([old, new])
    if kind != "add":
        return None
    return rules.add(old, rules.up_to(new, _windows(asked.op)))


def _windows(op: ir.Operation) -> int:
    """How many windows a scatter updates."""
    indices = op.operands[1].type.shape
    vector = scatter_dimensions(op).index_vector_dim
    return prod(n for d, n in enumerate(indices) if d != vector)


def _dot_general(asked: _Asked) -> Interval | None:
    return _products(asked, dot_dimensions(asked.op)[2])


def _dot(asked: _Asked) -> Interval | None:
    return _products(asked, (asked.op.operands[0].type.rank - 1,))


def _products(asked: _Asked, contracted: Sequence[int]) -> Interval | None:
    a, b = (asked.known(v) for v in asked.op.operands)
    if a is None or b is None:
        return None
    count = prod(asked.op.operands[0].type.shape[d] for d in contracted)
    return rules.times(rules.multiply(a, b), count)


def _bits(asked: _Asked) -> Interval:
    return Interval(0, (asked.kind.high - asked.kind.low).bit_length())


def _select(asked: _Asked) -> Interval | None:
    """Each branch under the predicate, when that is of the same shape."""
    predicate, on_true, on_false = asked.op.operands
    outcome = asked.known(predicate)
    if outcome is not None and outcome.only is not None:
        return asked.known(on_true if outcome.only else on_false)
    found = []
    for branch, is_true in ((on_true, True), (on_false, False)):
        general = asked.known(branch)
        assert general is not None, "the branches are of the type of the result"
        narrowed = asked.ranges.chosen(asked.op, branch, is_true)
        both = None if narrowed is None else general.meet(narrowed)
        found += [] if both is None else [both]
    return hull(found) if found else None


def _facts(ranges: IntegerRanges, predicate: ir.Value, is_true: bool, depth: int = 3) -> Promises:
    """What a predicate says of the integers it compares, at the same place."""
    if isinstance(predicate.owner, ir.Block) or depth == 0:
        return {}
    op = predicate.owner.operation
    name = op.name.removeprefix("stablehlo.")
    if name == "not":
        return _facts(ranges, op.operands[0], not is_true, depth - 1)
    if name == ("and" if is_true else "or"):
        both: dict[ir.Value, Interval] = {}
        for value in op.operands:
            for key, fact in _facts(ranges, value, is_true, depth - 1).items():
                both[key] = both.get(key, fact).meet(fact) or fact
        return both
    if name != "compare" or ranges.of(op.operands[0]) is None:
        return {}
    direction = comparison_direction(op)
    return _comparison(ranges, op, direction if is_true else _NEGATED[direction])


_NEGATED = {"LT": "GE", "GE": "LT", "GT": "LE", "LE": "GT", "EQ": "NE", "NE": "EQ"}
_SWAPPED = {"LT": "GT", "GT": "LT", "LE": "GE", "GE": "LE", "EQ": "EQ", "NE": "NE"}


def _comparison(ranges: IntegerRanges, op: ir.Operation, direction: str) -> Promises:
    a, b = op.operands
    found = {}
    for value, other, how in ((a, b, direction), (b, a, _SWAPPED[direction])):
        bound = _bounded(ranges.integers(value), ranges.integers(other), how)
        if bound is not None:
            found[value] = bound
    return found


def _bounded(value: Interval, other: Interval, direction: str) -> Interval | None:
    """The part of `value` that can stand so to a member of `other`; None when nothing is known, or
    nothing stands so."""
    low, high = value.low, value.high
    if direction in ("LT", "LE"):
        high = min(high, other.high - (direction == "LT"))
    elif direction in ("GT", "GE"):
        low = max(low, other.low + (direction == "GT"))
    elif direction == "EQ":
        low, high = max(low, other.low), min(high, other.high)
    elif other.only is not None:
        low, high = low + (low == other.only), high - (high == other.only)
    return Interval(low, high) if low <= high else None


_ELEMENTWISE = frozenset(
    "abs add and clamp convert divide maximum minimum multiply negate not or remainder select "
    "shift_left shift_right_arithmetic shift_right_logical sign subtract xor".split()
)


def _is_elementwise(op: ir.Operation) -> bool:
    """Whether every element of the result depends on the operands' elements at its place only."""
    kinds = {tuple(v.type.shape) for v in op.operands}
    return op.name.removeprefix("stablehlo.") in _ELEMENTWISE and len(kinds) == 1


_RULES: dict[str, _Rule] = {
    "abs": _unary(rules.absolute),
    "add": _binary(rules.add),
    "all_gather": _first,
    "all_reduce": _all_reduce,
    "all_to_all": _first,
    "and": _binary(rules.bit_and),
    "broadcast": _first,
    "broadcast_in_dim": _first,
    "clamp": _clamp,
    "collective_broadcast": _exchanged,
    "collective_permute": _exchanged,
    "compare": _compare,
    "concatenate": _concatenate,
    "constant": _constant,
    "convert": _convert,
    "copy": _first,
    "count_leading_zeros": _bits,
    "divide": _divide,
    "dot": _dot,
    "dot_general": _dot_general,
    "dynamic_slice": _first,
    "dynamic_update_slice": _either(0, 1),
    "gather": _first,
    "iota": _iota,
    "maximum": _binary(rules.maximum),
    "minimum": _binary(rules.minimum),
    "multiply": _binary(rules.multiply),
    "negate": _unary(rules.negate),
    "not": _not,
    "optimization_barrier": _same_number,
    "or": _binary(rules.bit_or),
    "pad": _either(0, 1),
    "popcnt": _bits,
    "power": _binary(rules.power),
    "reduce": _reduce,
    "reduce_window": _reduce_window,
    "remainder": _binary(rules.remainder),
    "reshape": _first,
    "reverse": _first,
    "scatter": _scatter,
    "select": _select,
    "shift_left": _binary(rules.shift_left),
    "shift_right_arithmetic": _shift_right_arithmetic,
    "shift_right_logical": _shift_right_logical,
    "sign": _unary(rules.sign),
    "slice": _first,
    "sort": _same_number,
    "subtract": _binary(rules.subtract),
    "transpose": _first,
    "xor": _binary(rules.bit_or),
}
"""By the name of the operation, without its dialect. What is not here may be anything."""
