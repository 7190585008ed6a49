"""Cones: all operations between some source values and a root, and what they compute.

The recognisers find a candidate cone by structure (dominance) and then *prove* what it computes
(docs/design/0014). Sums, products, quotients, powers, exponentials and the like are real-analytic
where they are defined. Two such functions that agree on a set of probes with inner points, on every
connected part of their domain, agree everywhere: the zeros of an analytic function that is not zero
have measure 0, so random probes find a difference with probability 1. So operand order, the
spelling of constants and the algebra a framework chose do not matter.

What is only piecewise analytic is not decided by probes: a clip at 20 does nothing between -14 and
14. Where an operation *chooses* one of its operands (select, maximum, minimum, abs: x or -x), the
cone is run with each of its choices, whatever the condition: if all of them agree with a function,
so does the cone, because for each input it is one of them. Other operations (floor, sign, integer
arithmetic ...) are never in a cone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from torch_mlir import ir

from axonc.dialects.neuron.evaluate import evaluate_op
from axonc.dialects.neuron.ops import (
    AbsOp,
    AddOp,
    AndOp,
    BroadcastOp,
    CompareOp,
    ConvertOp,
    DivideOp,
    ErfcOp,
    ErfOp,
    Expm1Op,
    ExpOp,
    GeluOp,
    GeluTanhOp,
    Log1pOp,
    LogisticOp,
    LogOp,
    MaximumOp,
    MinimumOp,
    MultiplyOp,
    NegateOp,
    NotOp,
    OpClass,
    OrOp,
    PowerOp,
    ReciprocalOp,
    ReduceOp,
    ReshapeOp,
    RsqrtOp,
    SelectOp,
    SiluOp,
    SqrtOp,
    SquareOp,
    SubtractOp,
    TanhOp,
    XorOp,
    isa,
    kind_of,
)
from axonc.passes.graph.fold_constants import constant_attribute
from axonc.passes.graph.uses import defining_op, only_user

ANALYTIC_OPS: frozenset[OpClass] = frozenset(
    {
        AddOp, SubtractOp, MultiplyOp, DivideOp, NegateOp, ReciprocalOp, SquareOp, PowerOp, SqrtOp,
        RsqrtOp, ExpOp, Expm1Op, LogOp, Log1pOp, TanhOp, LogisticOp, ErfOp, ErfcOp, GeluOp,
        GeluTanhOp, SiluOp, ConvertOp,
    }
)  # fmt: skip
"""Elementwise operations that are real-analytic inside their domain."""

CHOOSING_OPS: frozenset[OpClass] = frozenset({SelectOp, MaximumOp, MinimumOp, AbsOp})
"""The result is one of the operands of `_choices`, for each element."""

CONDITIONS: frozenset[OpClass] = frozenset({CompareOp, AndOp, OrOp, NotOp, XorOp})
"""What a choice may depend on: not looked at, as all choices are tried."""

ACTIVATION_OPS = ANALYTIC_OPS | CHOOSING_OPS | CONDITIONS
"""What activation functions are made of."""

REDUCING_OPS = ACTIVATION_OPS | {BroadcastOp, ReshapeOp, ReduceOp}
"""What softmax and norms are made of."""

MAX_CHOICES = 5
"""More choosing operations are not tried: each doubles the work."""

MAX_OPS = 100
"""Larger cones are not looked at: the longest known one, an expanded erfc gelu, has 70
operations."""


@dataclass(frozen=True)
class Cone:
    """The operations between some sources and a root."""

    ops: tuple[ir.Operation, ...]
    """In program order; the last makes the root."""
    sources: tuple[ir.Value, ...]
    """Values read from outside, constants not counted."""

    def key(self) -> str:
        """Equal for cones that compute the same with the same operations and types."""
        numbers = {v: f"s{i}" for i, v in enumerate(self.sources)}
        lines = [str(v.type) for v in self.sources]
        for i, op in enumerate(self.ops):
            operands = [numbers.get(v) or str(constant_attribute(v)) for v in op.operands]
            lines.append(f"{op.name} {operands} {_attributes(op)} {op.results[0].type}")
            numbers[op.results[0]] = f"v{i}"
        return "\n".join(lines)

    def contains(self, kinds: frozenset[OpClass]) -> bool:
        """Whether one of these operations is in the cone."""
        return any(kind_of(op) in kinds for op in self.ops)

    def evaluate(
        self,
        arrays: Mapping[ir.Value, np.ndarray],
        elementwise: bool,
        inert: Mapping[ir.Value, int] = MappingProxyType({}),
        f64: bool = True,
    ) -> Iterator[np.ndarray]:
        """The root in float64 (or float32), for every way its choosing operations may choose;
        nothing if they are too many, or a reduction is no sum. elementwise: constants stand for
        numbers, so that arrays of any one shape may be given for the sources. inert: the number of
        the operand that a choosing operation is proved to choose, by its result."""
        choosing = [op for op in self.ops if kind_of(op) in CHOOSING_OPS]
        open_ones = [op for op in choosing if op.results[0] not in inert]
        sums = all(op.kind == "sum" for op in self.ops if isa(op, ReduceOp))
        if len(open_ones) > MAX_CHOICES or not sums:
            return
        for numbers in itertools.product((0, 1), repeat=len(open_ones)):
            chosen = dict(inert) | {
                op.results[0]: n for op, n in zip(open_ones, numbers, strict=True)
            }
            yield self._evaluate(dict(arrays), elementwise, chosen, f64)

    def _evaluate(
        self,
        values: dict[ir.Value, np.ndarray],
        elementwise: bool,
        chosen: Mapping[ir.Value, int],
        f64: bool,
    ) -> np.ndarray:
        for op in self.ops:
            if kind_of(op) in CONDITIONS:
                continue
            number = chosen.get(op.results[0])
            if number is None:
                operands = [_operand(v, values, elementwise) for v in op.operands]
                result = evaluate_op(op, operands, f64=f64)
            else:
                result = _choice(op, number, lambda v: _operand(v, values, elementwise))
            values[op.results[0]] = result
        return values[self.ops[-1].results[0]]


def _choice(
    op: ir.Operation, number: int, array_of: Callable[[ir.Value], np.ndarray]
) -> np.ndarray:
    """What a choosing operation gives where it chooses operand `number`."""
    if isa(op, AbsOp):
        return array_of(op.operands[0]) * (-1.0 if number else 1.0)
    first = 1 if isa(op, SelectOp) else 0
    return array_of(op.operands[first + number])


def _attributes(op: ir.Operation) -> str:
    return ", ".join(f"{name}={value}" for name, value in op.attributes.items())


def _operand(value: ir.Value, values: dict[ir.Value, np.ndarray], elementwise: bool) -> np.ndarray:
    if value not in values:
        op = value.owner
        whole = evaluate_op(op, [], f64=True)
        values[value] = whole.reshape(-1)[0] if elementwise and whole.size else whole
    return values[value]


def find_cone(
    root: ir.Value, sources: tuple[ir.Value, ...], allowed: frozenset[OpClass]
) -> Cone | None:
    """The operations between `sources` and `root`; None when one is not allowed, or there is
    another way in, or they are too many, or one rounds in a way that may matter."""
    found: dict[ir.Value, ir.Operation] = {}
    stops = set(sources)
    finished: list[ir.Operation] = []
    stack: list[tuple[ir.Value, bool]] = [(root, False)]
    while stack:
        value, is_done = stack.pop()
        if is_done:
            finished.append(found[value])
            continue
        if value in found or value in stops or constant_attribute(value) is not None:
            continue
        op = defining_op(value)
        if op is None or kind_of(op) not in allowed or len(found) == MAX_OPS:
            return None
        if _is_narrowing(op) and not _may_round(value, root):
            return None
        found[value] = op
        stack.append((value, True))
        stack.extend((v, False) for v in reversed(list(op.operands)))
    return Cone(tuple(finished), sources) if finished else None


def _is_narrowing(op: ir.Operation) -> bool:
    """Whether it converts to a type of fewer bits: that rounds, which no probe in float64 sees."""
    if not isa(op, ConvertOp):
        return False
    before, after = (v.type.element_type.width for v in (op.operands[0], op.results[0]))
    return bool(after < before)


def _may_round(value: ir.Value, root: ir.Value) -> bool:
    """Whether rounding `value`, to the type of the root or a wider one, hardly matters there.

    It is the root; or all that reads it, under other shapes, is the product or quotient which the
    root is. With f the rounding of f (1 + d), |d| <= 2^-p for p bits, the root is off by the same d
    to first order, whatever the values are: one rounding more to the type it is rounded to anyway.
    So a bf16 softmax may round its sum, and a bf16 norm what it multiplies by gamma. A rounding in
    front of anything else, such as a difference or an exponential, may grow without bound."""
    if value.type.element_type.width < root.type.element_type.width:
        return False
    while value != root:
        user = only_user(value)
        if user is None:
            return False
        if isa(user, MultiplyOp, DivideOp):
            return bool(user.results[0] == root and user.operands[0] != user.operands[1])
        if not isa(user, BroadcastOp, ReshapeOp):
            return False
        value = user.results[0]
    return True


class Dominators:
    """For each value of a block, the nearest value all its data flows through (constants not
    counted)."""

    def __init__(self, block: ir.Block) -> None:
        self._parent: dict[ir.Value, ir.Value | None] = {}
        self._depth: dict[ir.Value, int] = {}
        for argument in block.arguments:
            self._add(argument, None)
        for operation in block.operations:
            parent = self._common(operation)
            for result in operation.results:
                self._add(result, parent)

    def _add(self, value: ir.Value, parent: ir.Value | None) -> None:
        self._parent[value] = parent
        self._depth[value] = 0 if parent is None else self._depth[parent] + 1

    def _common(self, op: ir.Operation) -> ir.Value | None:
        operands = [v for v in op.operands if constant_attribute(v) is None]
        if not operands:
            return None
        common: ir.Value | None = operands[0]
        for other in operands[1:]:
            common = self._meet(common, other)
        return common

    def _meet(self, a: ir.Value | None, b: ir.Value | None) -> ir.Value | None:
        while a is not None and b is not None and a != b:
            if self._depth[a] >= self._depth[b]:
                a = self._parent[a]
            else:
                b = self._parent[b]
        return a if b is not None else None

    def chain(self, value: ir.Value, length: int) -> Iterator[ir.Value]:
        """The dominators of `value`, nearest first, at most `length`."""
        current = self._parent.get(value)
        while current is not None and length:
            yield current
            current = self._parent[current]
            length -= 1
