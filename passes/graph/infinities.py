"""Which values may hold infinities or NaN that the program asks for: an analysis of a module.

A transpose on the tensor engine multiplies by a unit matrix, and zero times infinity is NaN: what
is not finite spoils its row there (machine.md#arithmetic). Attention masks make -inf on purpose,
and rows that are masked whole make NaN. The analysis follows such values from where they begin,
through every operation:

* constants with infinite elements,
* small weights that hold some (constants of the program that are too large for it, masks),
* inputs of the program that are added to, or chosen for, what a softmax reads: masks that are
  given.

It never leaves out a value that comes from these. What it does not know is found when the program
runs: infinities by overflow or a division by zero, those in other inputs, constants that are NaN.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import dense_to_numpy, splat_number
from axonc.dialects.neuron.argument_names import INFINITE, WEIGHT
from axonc.dialects.neuron.ops import (
    PRODUCTS,
    VIEWS,
    AbsOp,
    AddOp,
    ConstantOp,
    ConvertOp,
    DivideOp,
    ErfOp,
    ExpOp,
    FusedOp,
    LogisticOp,
    MaskedSoftmaxOp,
    MaximumOp,
    MinimumOp,
    MultiplyOp,
    NegateOp,
    OpClass,
    ReduceOp,
    RepeatOp,
    SelectOp,
    SoftmaxOp,
    SubtractOp,
    TanhOp,
    YieldOp,
    isa,
    kind_of,
)
from axonc.dialects.neuron.repeat import Repeat, block_function, called_functions


class NonFinite(enum.Flag):
    """What a tensor may hold besides finite numbers."""

    NONE = 0
    NEGATIVE = enum.auto()
    POSITIVE = enum.auto()
    NAN = enum.auto()


NONE, NEGATIVE, POSITIVE, NAN = (
    NonFinite.NONE, NonFinite.NEGATIVE, NonFinite.POSITIVE, NonFinite.NAN,
)  # fmt: skip
ANYTHING = NEGATIVE | POSITIVE | NAN
Flags = Sequence[NonFinite]


def _union(flags: Iterable[NonFinite]) -> NonFinite:
    found = NONE
    for each in flags:
        found |= each
    return found


def _flipped(flags: NonFinite) -> NonFinite:
    """What the negated numbers hold."""
    found = flags & NAN
    if NEGATIVE in flags:
        found |= POSITIVE
    if POSITIVE in flags:
        found |= NEGATIVE
    return found


# ---- one operation -----------------------------------------------------------------------------


def _sum(op: ir.Operation, flags: Flags) -> NonFinite:
    a, b = flags
    opposite = (NEGATIVE in a and POSITIVE in b) or (POSITIVE in a and NEGATIVE in b)
    return a | b | (NAN if opposite else NONE)


def _difference(op: ir.Operation, flags: Flags) -> NonFinite:
    return _sum(op, (flags[0], _flipped(flags[1])))


def _scaled(op: ir.Operation, flags: Flags) -> NonFinite:
    """A product or quotient: by a constant that is finite and not 0, signs are known."""
    for position in (1, 0) if isa(op, MultiplyOp) else (1,):
        number = _splat(op.operands[position])
        if number is not None and np.isfinite(number) and number != 0:
            other = flags[1 - position]
            return other if number > 0 else _flipped(other)
    return ANYTHING if _union(flags) else NONE


def _splat(value: ir.Value) -> float | int | None:
    owner = value.owner
    return splat_number(owner.value) if isinstance(owner, ConstantOp) else None


def _maximum(op: ir.Operation, flags: Flags) -> NonFinite:
    """-inf only where both may be: the larger of it and a finite number is finite."""
    both = flags[0] & flags[1] & NEGATIVE
    return (_union(flags) & ~NEGATIVE) | both


def _minimum(op: ir.Operation, flags: Flags) -> NonFinite:
    both = flags[0] & flags[1] & POSITIVE
    return (_union(flags) & ~POSITIVE) | both


def _absolute(op: ir.Operation, flags: Flags) -> NonFinite:
    return (flags[0] | _flipped(flags[0])) & ~NEGATIVE


def _reduced(op: ir.Operation, flags: Flags) -> NonFinite:
    flag = flags[0]
    if op.kind in ("max", "min"):
        return flag
    if op.kind == "sum":
        return flag | (NAN if NEGATIVE in flag and POSITIVE in flag else NONE)
    return ANYTHING if flag else NONE


def _softmax(op: ir.Operation, flags: Flags) -> NonFinite:
    """A row of nothing but -inf is 0 / 0; so is one with +inf or NaN."""
    return NAN if flags[0] else NONE


def _masked_softmax(op: ir.Operation, flags: Flags) -> NonFinite:
    """A row of nothing but -inf gives zeros."""
    return NAN if flags[0] & (POSITIVE | NAN) else NONE


def _constant(op: ir.Operation, flags: Flags) -> NonFinite:
    number = splat_number(op.value)
    array = np.array([number]) if number is not None else dense_to_numpy(op.value)
    array = array.astype(np.float64)
    found = NEGATIVE if np.isneginf(array).any() else NONE
    return found | (POSITIVE if np.isposinf(array).any() else NONE)


_RULES: dict[OpClass, Callable[[ir.Operation, Flags], NonFinite]] = {
    AddOp: _sum,
    SubtractOp: _difference,
    MultiplyOp: _scaled,
    DivideOp: _scaled,
    MaximumOp: _maximum,
    MinimumOp: _minimum,
    AbsOp: _absolute,
    NegateOp: lambda op, flags: _flipped(flags[0]),
    SelectOp: lambda op, flags: flags[1] | flags[2],
    ExpOp: lambda op, flags: flags[0] & ~NEGATIVE,
    LogisticOp: lambda op, flags: flags[0] & NAN,
    TanhOp: lambda op, flags: flags[0] & NAN,
    ErfOp: lambda op, flags: flags[0] & NAN,
    ConvertOp: lambda op, flags: flags[0],
    ReduceOp: _reduced,
    SoftmaxOp: _softmax,
    MaskedSoftmaxOp: _masked_softmax,
    ConstantOp: _constant,
    **dict.fromkeys(VIEWS, lambda op, flags: flags[0]),
}
"""What results may hold, by what operands may; other operations: anything if an operand may."""


def _is_float(value: ir.Value) -> bool:
    return isinstance(value.type.element_type, ir.FloatType)


# ---- a module ----------------------------------------------------------------------------------


class Infinities:
    """`infinities[value]` for the values of `main` and of the functions its repeats call."""

    def __init__(self, main: ir.Operation) -> None:
        self._flags: dict[ir.Value, NonFinite] = {}
        blocks = [f.regions[0].blocks[0] for f in called_functions(main)]
        for argument in _given_masks(main, blocks):
            self._flags[argument] = NEGATIVE
        for argument in _arguments_with(main, blocks[0], INFINITE):
            self._flags[argument] = ANYTHING
        self._follow(blocks[0])

    def __getitem__(self, value: ir.Value) -> NonFinite:
        return self._flags.get(value, NONE)

    def _add(self, value: ir.Value, flags: NonFinite) -> bool:
        """Whether that was new."""
        before = self[value]
        self._flags[value] = before | flags
        return before | flags != before

    def _follow(self, block: ir.Block) -> Flags:
        """What the block returns may hold."""
        for op in block.operations:
            if isa(op, RepeatOp):
                self._repeat(op)
            elif len(op.results) == 1:
                self._add(op.results[0], self._result(op))
            else:
                return [self[v] for v in op.operands]
        return []

    def _result(self, op: ir.OpView) -> NonFinite:
        flags = [self[v] for v in op.operands]
        if isinstance(op, FusedOp):
            return self._region(op, flags)
        if kind_of(op) in PRODUCTS:
            product = ANYTHING if flags[0] or flags[1] else NONE
            has_epilogue = bool(len(op.regions[0].blocks))
            return self._region(op, [product, *flags[2:]]) if has_epilogue else product
        if not _is_float(op.results[0]):
            return NONE
        rule = _RULES.get(kind_of(op))
        return rule(op, flags) if rule else ANYTHING if _union(flags) else NONE

    def _region(self, op: ir.OpView, flags: Flags) -> NonFinite:
        block = op.regions[0].blocks[0]
        for argument, flag in zip(block.arguments, flags, strict=True):
            self._add(argument, flag)
        for inner in block.operations:
            if isinstance(inner, YieldOp):
                return self[inner.operands[0]]
            self._add(inner.results[0], self._result(inner))
        return NONE

    def _repeat(self, op: ir.OpView) -> None:
        """The function's values may hold what any iteration brings: carried values, until nothing
        is new (flags only grow, so that ends)."""
        parts, block = Repeat.of(op), block_function(op).regions[0].blocks[0]
        for iteration in range(parts.count):
            given = (*parts.carried, *parts.arguments(iteration))
            for argument, value in zip(block.arguments, given, strict=True):
                self._add(argument, self[value])
        count, grows = len(parts.carried), True
        while grows:
            returned = self._follow(block)
            carried = zip(block.arguments, returned[:count], strict=False)
            grows = any([self._add(argument, flag) for argument, flag in carried])
        for value, flag in zip(parts.carried_out, returned, strict=False):
            self._add(value, flag)
        for collected in parts.collected:
            for value, flag in zip(collected, returned[count:], strict=True):
                self._add(value, flag)


_MASK_WAYS = VIEWS | {AddOp, SubtractOp, SelectOp, ConvertOp, MaximumOp, MinimumOp}
"""Operations through which a mask comes to the scores."""


def _given_masks(main: ir.Operation, blocks: Sequence[ir.Block]) -> Iterator[ir.Value]:
    """Float inputs of `main` that are added to what a softmax reads. An argument of a function
    that is repeated stands for what every call gets in its place."""
    callers = {
        argument: value
        for block in blocks
        for op in block.operations
        if isa(op, RepeatOp)
        for k in range(Repeat.of(op).count)
        for argument, value in zip(
            block_function(op).regions[0].blocks[0].arguments,
            (*Repeat.of(op).carried, *Repeat.of(op).arguments(k)),
            strict=True,
        )
    }
    softmaxes = [o for b in blocks for o in b.operations if isa(o, SoftmaxOp)]
    stack, seen = [o.operands[0] for o in softmaxes], set()
    weights = _arguments_with(main, blocks[0], WEIGHT)
    while stack:
        value = stack.pop()
        if value in seen or not _is_float(value):
            continue
        seen.add(value)
        owner = value.owner
        if value in callers:
            stack.append(callers[value])
        elif isinstance(owner, ir.Block):
            if owner == blocks[0] and value not in weights:
                yield value
        elif kind_of(owner) in PRODUCTS:
            stack.extend(owner.extras)
        elif kind_of(owner) in _MASK_WAYS or isinstance(owner, FusedOp):
            stack.extend(owner.operands)


def _arguments_with(main: ir.Operation, block: ir.Block, name: str) -> list[ir.Value]:
    """Arguments of `main` that have this attribute."""
    if "arg_attrs" not in main.attributes:
        return []
    given = [ir.DictAttr(a) for a in ir.ArrayAttr(main.attributes["arg_attrs"])]
    return [v for v, names in zip(block.arguments, given, strict=True) if name in names]
