"""Formulas that are written once: a term or a condition both evaluates and prints itself.

A cost such as `max(64, N)` is computed for every instruction and shown on the reference page. Both
come from one object, so that they cannot disagree: each operation below makes the value and the
text of its result side by side. Terms for what the machine does are in `cost_terms.py`.
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from axonc.backends.targets.target import Engine, Target

if TYPE_CHECKING:
    from axonc.backends.isa.instruction import Instruction

Symbols = tuple[tuple[str, str], ...]
"""(letter, what it stands for) of the letters in a term's text, in the order they appear."""


@dataclass(frozen=True)
class Condition:
    """Something that holds for some instructions."""

    holds: Callable[[Instruction], bool]
    text: str
    """A clause: `op is add or max`."""

    def __and__(self, other: Condition) -> Condition:
        return Condition(
            lambda i: self.holds(i) and other.holds(i), f"{self.text} and {other.text}"
        )

    def __or__(self, other: Condition) -> Condition:
        return Condition(lambda i: self.holds(i) or other.holds(i), f"{self.text}, or {other.text}")


def listed(names: tuple[str, ...], last: str) -> str:
    """`a, b and c`, or with another last word."""
    *first, end = names
    return f"{', '.join(first)} {last} {end}" if first else end


def field_is(name: str, *values: object) -> Condition:
    """The field has one of the values."""
    words = tuple(str(v).lower() if isinstance(v, bool) else str(v) for v in values)
    return Condition(lambda i: i.field(name) in values, f"{name} is {listed(words, 'or')}")


def field_is_not(name: str, value: object) -> Condition:
    """The field has another value."""
    return Condition(lambda i: i.field(name) != value, f"{name} is not {value}")


def is_present(name: str) -> Condition:
    """The optional operand is there."""
    return Condition(lambda i: i.operand(name) is not None, f"{name} is present")


CHOICE, SUM, PRODUCT, ATOM = range(4)
"""How tightly the outermost operation of a text binds."""

OPERATORS: dict[str, tuple[Callable[[float, float], float], int]] = {
    "+": (operator.add, SUM),
    "*": (operator.mul, PRODUCT),
    "/": (operator.truediv, PRODUCT),
}
"""By sign: what it computes and how tightly it binds."""


@dataclass(frozen=True)
class Term:
    """A number that depends on an instruction, on its engine and on the target."""

    value: Callable[[Instruction, Target], float]
    text: Callable[[Engine, Target], str]
    """What an instruction of that engine costs, with the target's numbers filled in."""
    binds: int = ATOM
    symbols: Symbols = ()

    def __add__(self, other: Number) -> Term:
        return _binary("+", self, as_term(other))

    def __mul__(self, other: Number) -> Term:
        return _binary("*", self, as_term(other))

    def __truediv__(self, other: Number) -> Term:
        return _binary("/", self, as_term(other))

    def __radd__(self, other: float) -> Term:
        return _binary("+", as_term(other), self)

    def __rmul__(self, other: float) -> Term:
        return _binary("*", as_term(other), self)

    def __rtruediv__(self, other: float) -> Term:
        return _binary("/", as_term(other), self)


Number = Term | float


def as_term(number: Number) -> Term:
    """A number as it stands, or the term."""
    if isinstance(number, Term):
        return number
    return Term(lambda i, t: number, lambda e, t: _digits(number))


def _digits(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(number)


def machine(number: Callable[[Engine, Target], float]) -> Term:
    """A number of the target's description."""
    return Term(lambda i, t: number(i.engine, t), lambda e, t: _digits(number(e, t)))


def counted(symbol: str, meaning: str, count: Callable[[Instruction], float]) -> Term:
    """A number that the instruction itself gives, printed as a letter."""
    return Term(lambda i, t: count(i), lambda e, t: symbol, symbols=((symbol, meaning),))


def _binary(sign: str, a: Term, b: Term) -> Term:
    compute, binds = OPERATORS[sign]
    return Term(
        lambda i, t: compute(a.value(i, t), b.value(i, t)),
        lambda e, t: f"{_inside(a, e, t, binds)} {sign} {_inside(b, e, t, binds + 1)}",
        binds,
        _merged(a, b),
    )


def _inside(term: Term, engine: Engine, target: Target, binds: int) -> str:
    text = term.text(engine, target)
    return text if term.binds >= binds else f"({text})"


def _merged(*terms: Term) -> Symbols:
    return tuple(dict.fromkeys(pair for term in terms for pair in term.symbols))


def largest(a: Number, b: Number) -> Term:
    """The larger of two."""
    return _call("max", max, as_term(a), as_term(b))


def smallest(a: Number, b: Number) -> Term:
    """The smaller of two."""
    return _call("min", min, as_term(a), as_term(b))


def _call(name: str, function: Callable[[float, float], float], a: Term, b: Term) -> Term:
    return Term(
        lambda i, t: function(a.value(i, t), b.value(i, t)),
        lambda e, t: f"{name}({a.text(e, t)}, {b.text(e, t)})",
        symbols=_merged(a, b),
    )


def choose(condition: Condition, then: Number, otherwise: Number) -> Term:
    """One of two terms, by a condition."""
    yes, no = as_term(then), as_term(otherwise)
    return Term(
        lambda i, t: (yes if condition.holds(i) else no).value(i, t),
        lambda e, t: f"{yes.text(e, t)} if {condition.text}, else {no.text(e, t)}",
        binds=CHOICE,
        symbols=_merged(yes, no),
    )


def by_engine(engine: Engine, then: Term, otherwise: Term) -> Term:
    """One term on `engine`, another on any other."""
    return Term(
        lambda i, t: (then if i.engine is engine else otherwise).value(i, t),
        lambda e, t: (then if e is engine else otherwise).text(e, t),
        binds=min(then.binds, otherwise.binds),
        symbols=_merged(then, otherwise),
    )


class Unit(enum.StrEnum):
    """What a cost is counted in."""

    CYCLES = "cycles"
    """Cycles of the engine that runs the instruction."""
    NANOSECONDS = "ns"


@dataclass(frozen=True)
class Cost:
    """The initiation interval of an instruction: how long its engine is busy before the next
    independent instruction may start."""

    interval: Term
    unit: Unit = Unit.CYCLES
    note: str = ""
    """What the formula does not say: what is assumed, what else takes time."""

    def cycles(self, instruction: Instruction, target: Target) -> float:
        """The interval in cycles of the instruction's engine."""
        value = self.interval.value(instruction, target)
        if self.unit is Unit.CYCLES:
            return value
        return value * target.engines[instruction.engine].clock_ghz

    def nanoseconds(self, instruction: Instruction, target: Target) -> float:
        """The interval in time."""
        return self.cycles(instruction, target) / target.engines[instruction.engine].clock_ghz

    def text(self, engines: tuple[Engine, ...], target: Target) -> str:
        """The formula for each of the engines, those with the same one together, and the note."""
        unit = "" if self.unit is Unit.CYCLES else f" {self.unit}"
        texts = {engine: self.interval.text(engine, target) + unit for engine in engines}
        usual = texts[engines[0]]
        others = [f"on {e.value} {text}" for e, text in texts.items() if text != usual]
        return "; ".join([usual, *others]) + (f" ({self.note})" if self.note else "")

    def legend(self) -> str:
        """What the letters of the text stand for; empty if it has none."""
        return ", ".join(f"{letter} = {meaning}" for letter, meaning in self.interval.symbols)
