"""Which 64-bit arguments of `@main` fit in one word without a loss: a question, not a pass.

An argument takes two words unless everything that it reaches is one of:

* a place in a table (gather, slice, scatter), beyond which all places mean the same;
* a comparison with numbers that lie within 32 bits;
* movement, choice, addition of numbers of known range, and minima and maxima, on the way to these.

Then a value beyond 32 bits may be replaced by the nearest one within (`saturates`): comparisons
come out the same, and a place outside of a table stays outside. Proof: the value at such a use is
x + r, with an r of the range R that does not depend on x, or a number that does not. Let x lie
above the limit L, which is put in its place. The use compares with numbers up to C (the size of a
table counts as one), and was accepted because C < L + R.low. So both x + r and L + r are larger
than everything they are compared with. Below the lower limit likewise. A choice between branches
is made by comparisons, and they come out the same.

A place that is first converted to a narrower type (`ids.astype(int32)`) would be cut off by that,
which no user means: such an argument is checked instead, and a value beyond 32 bits is an error. So
is a place that also becomes a float, as positions do, and one that something is added to, if next
to the limits of 64 bits the sum would wrap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.dialects.neuron.repeat import REPEAT, Repeat, block_function
from axonc.passes.prepare import integer_range as rules
from axonc.passes.prepare.integer_range import WORD, ZERO, Interval, hull, of_type
from axonc.passes.prepare.integer_ranges import IntegerRanges


@dataclass(frozen=True)
class Promise:
    """What the host promises of an argument that takes one word."""

    limits: Interval
    """The values that reach the machine."""
    saturates: bool
    """Whether the host replaces others by the nearest of these; else they are an error."""


class TakesTwoWords(Exception):
    """The argument reaches a use that tells values beyond 32 bits from those within."""


def promise_of(argument: ir.Value, limits: Interval) -> Promise | None:
    """What may be promised of a 64-bit argument; None when it takes two words."""
    flow = _Flow(limits)
    try:
        flow.follow(argument)
    except TakesTwoWords:
        return None
    is_told_apart = flow.is_cut_off or flow.is_measured or flow.is_shifted
    if is_told_apart and not flow.is_place:
        return None
    return Promise(limits, saturates=not is_told_apart)


@dataclass
class _Flow:
    """What a program does with an argument, as far as `follow` has visited its uses."""

    limits: Interval
    """The values of the argument that reach the machine."""
    offsets: dict[ir.Value, Interval] = field(default_factory=dict)
    """By value reached, the range of what was added to the argument."""
    is_cut_off: bool = False
    """Whether a value reached is converted to a narrower type."""
    is_measured: bool = False
    """Whether one is converted to a float."""
    is_shifted: bool = False
    """Whether something is added to one."""
    is_place: bool = False
    """Whether one is used as a place in a tensor."""
    # Nothing is promised here: other arguments may have any value.
    ranges: IntegerRanges = field(default_factory=IntegerRanges)

    def follow(self, argument: ir.Value) -> None:
        """Visit all uses, again when more may have been added than was known.

        Raises:
            TakesTwoWords: at the first use that asks for it.
        """
        self.offsets[argument] = ZERO
        pending = [argument]
        while pending:
            value = pending.pop()
            for use in value.uses:
                for reached, offset in self._reached(
                    use.owner.operation, use.operand_number, value
                ):
                    known = self.offsets.get(reached)
                    wider = offset if known is None else hull([known, offset])
                    if wider != known:
                        self._require_small(wider)
                        self.offsets[reached] = wider
                        pending.append(reached)

    def _require_small(self, offset: Interval) -> None:
        """Also ends the search where an addition goes round in a loop."""
        if not offset.within(Interval(-(2**30), 2**30)):
            raise TakesTwoWords

    def _reached(
        self, op: ir.Operation, number: int, value: ir.Value
    ) -> Iterator[tuple[ir.Value, Interval]]:
        name = op.name.removeprefix("stablehlo.")
        if name in _PLACES and number >= _PLACES[name]:
            return self.place(op, number, value)
        use = _USES.get(name)
        if use is None:
            raise TakesTwoWords
        return use(self, op, number, value)

    def require_inside(self, value: ir.Value, others: Interval) -> None:
        """That all values beyond the limits stand alike to every one of `others`."""
        offset = self.offsets[value]
        above = others.high < self.limits.high + offset.low
        below = self.limits.low + offset.high < others.low
        if not (above and (below or self.limits.low == 0)):
            raise TakesTwoWords

    def place(
        self, op: ir.Operation, number: int, value: ir.Value
    ) -> Iterator[tuple[ir.Value, Interval]]:
        """Beyond all places of the operand."""
        self.is_place = True
        self.require_inside(value, Interval(0, max(op.operands[0].type.shape, default=0)))
        return iter(())

    def may_wrap(self, total: ir.Value) -> bool:
        """Whether a sum may wrap where it is read. In `select(x < 0, x + n, x)` it does not."""
        return not all(self._is_bounded(use, total) for use in total.uses)

    def _is_bounded(self, use: ir.OpOperand, total: ir.Value) -> bool:
        op = use.owner.operation
        if op.name != "stablehlo.select" or use.operand_number == 0:
            return False
        found = self.ranges.chosen(op, total, use.operand_number == 1)
        return found != of_type(element_name(total.type))

    def other(self, op: ir.Operation, number: int) -> Interval:
        """The range of the other operand of two, which must not depend on the argument."""
        value = op.operands[1 - number]
        if value in self.offsets:
            raise TakesTwoWords
        found = self.ranges.of(value)
        if found is None:
            raise TakesTwoWords
        return found


_Use = Callable[[_Flow, ir.Operation, int, ir.Value], Iterator[tuple[ir.Value, Interval]]]


def _moved(
    flow: _Flow, op: ir.Operation, number: int, value: ir.Value
) -> Iterator[tuple[ir.Value, Interval]]:
    """The result holds elements of the operand."""
    return iter([(op.results[0], flow.offsets[value])])


def _converted(
    flow: _Flow, op: ir.Operation, number: int, value: ir.Value
) -> Iterator[tuple[ir.Value, Interval]]:
    """To 32 bits, and from there on: exact for what fits in the limits, and what does not is an
    error then."""
    source, target = (element_name(v.type) for v in (value, op.results[0]))
    if target == "i1":
        flow.require_inside(value, ZERO)
        return iter(())
    if of_type(target) is None:
        flow.is_measured = True
        return iter(())
    if source in WORD and target in _CUT_OFF:
        # Whatever the argument is, a clamp on the way may keep it within the type.
        is_kept = flow.ranges.integers(value).within(_require_type(target))
        flow.is_cut_off |= not is_kept
    elif source not in _CUT_OFF or target not in (*_CUT_OFF, "i64"):
        raise TakesTwoWords
    return iter([(op.results[0], flow.offsets[value])])


def _require_type(name: str) -> Interval:
    found = of_type(name)
    assert found is not None, "a type of integers"
    return found


def _compared(
    flow: _Flow, op: ir.Operation, number: int, value: ir.Value
) -> Iterator[tuple[ir.Value, Interval]]:
    flow.require_inside(value, flow.other(op, number))
    return iter(())


def _bounded(
    flow: _Flow, op: ir.Operation, number: int, value: ir.Value
) -> Iterator[tuple[ir.Value, Interval]]:
    """A minimum or maximum: one of the two, by a comparison."""
    flow.require_inside(value, flow.other(op, number))
    return iter([(op.results[0], flow.offsets[value])])


def _clamped(
    flow: _Flow, op: ir.Operation, number: int, value: ir.Value
) -> Iterator[tuple[ir.Value, Interval]]:
    low, _, high = op.operands
    if number != 1 or low in flow.offsets or high in flow.offsets:
        raise TakesTwoWords
    bounds = [flow.ranges.integers(v) for v in (low, high)]
    flow.require_inside(value, hull(bounds))
    return iter([(op.results[0], flow.offsets[value])])


def _added(
    flow: _Flow, op: ir.Operation, number: int, value: ir.Value
) -> Iterator[tuple[ir.Value, Interval]]:
    flow.is_shifted |= flow.may_wrap(op.results[0])
    return iter([(op.results[0], rules.add(flow.offsets[value], flow.other(op, number)))])


def _subtracted(
    flow: _Flow, op: ir.Operation, number: int, value: ir.Value
) -> Iterator[tuple[ir.Value, Interval]]:
    if number != 0:
        raise TakesTwoWords
    flow.is_shifted |= flow.may_wrap(op.results[0])
    return iter([(op.results[0], rules.subtract(flow.offsets[value], flow.other(op, number)))])


def _passed_to_repeat(
    flow: _Flow, op: ir.Operation, number: int, value: ir.Value
) -> Iterator[tuple[ir.Value, Interval]]:
    """The function's argument; what is carried would go round."""
    parts = Repeat.of(op)
    if number < len(parts.carried):
        raise TakesTwoWords
    slot = number - len(parts.carried)
    if slot >= len(parts.invariant):
        slot = len(parts.invariant) + (slot - len(parts.invariant)) // parts.count
    arguments = block_function(op).regions[0].blocks[0].arguments
    return iter([(arguments[len(parts.carried) + slot], flow.offsets[value])])


def _scattered(
    flow: _Flow, op: ir.Operation, number: int, value: ir.Value
) -> Iterator[tuple[ir.Value, Interval]]:
    """A window that does not fit is dropped, wherever it is."""
    if number != 1:
        raise TakesTwoWords
    return flow.place(op, number, value)


_CUT_OFF = ("i32", "ui32")

_PLACES = {"gather": 1, "dynamic_slice": 1, "dynamic_update_slice": 2}
"""The first operand that says a place. (A scatter drops what does not fit, by its index.)"""

_USES: Mapping[str, _Use] = {
    "add": _added,
    "broadcast_in_dim": _moved,
    "clamp": _clamped,
    "compare": _compared,
    "concatenate": _moved,
    "convert": _converted,
    "copy": _moved,
    "dynamic_slice": _moved,
    "dynamic_update_slice": _moved,
    "gather": _moved,
    "maximum": _bounded,
    "minimum": _bounded,
    "pad": _moved,
    REPEAT: _passed_to_repeat,
    "reshape": _moved,
    "reverse": _moved,
    "scatter": _scattered,
    "select": _moved,
    "slice": _moved,
    "subtract": _subtracted,
    "transpose": _moved,
}
