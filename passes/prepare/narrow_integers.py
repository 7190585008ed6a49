"""Make 64-bit integers 32-bit ones, or pairs of 32-bit words: the machine has no others.

Why: frameworks index with int64. Indices, masks and lengths rarely need more than 32 bits, and
ranges prove that of most (integer_ranges.py). What may need more is computed on two words, exactly
modulo 2^64 (expand_wide.py).

Precondition: StableHLO, inlined (`simplify`).
Postcondition: no i64 / ui64 tensors. Arguments and results of `@main` that had such a type carry
`neuron.host_dtype`; those in two words are `tensor<2x...xui32>`, the low words first.

Before:
    func.func @main(%i: tensor<4xi64>) -> tensor<4xi1> {
      %c = stablehlo.constant dense<0> : tensor<4xi64>
      %0 = stablehlo.compare NE, %i, %c : (tensor<4xi64>, tensor<4xi64>) -> tensor<4xi1>
      return %0 : tensor<4xi1>
    }
After:
    func.func @main(%i: tensor<4xi32> {neuron.host_dtype = "i64"}) -> tensor<4xi1> {
      %c = stablehlo.constant dense<0> : tensor<4xi32>
      %0 = stablehlo.compare NE, %i, %c : (tensor<4xi32>, tensor<4xi32>) -> tensor<4xi1>
      return %0 : tensor<4xi1>
    }

An argument takes one word where its values beyond 32 bits mean nothing else (input_promises.py);
what the host does with them is reported (`InputRange`). When a repeated block computes on two
words, all blocks are inlined first.

Refuses: operations that have no form on words (UnsupportedOpError). With `allow-lossy=true`
everything takes one word and wraps at 32 bits; then constants that do not fit are refused
(CompileError).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch_mlir import ir

from axonc.diagnostics import CompileError, Finding, unsupported_error
from axonc.dialects.attributes import dense_to_numpy, element_name, numpy_to_dense
from axonc.dialects.locations import source_location
from axonc.dialects.neuron.argument_names import ALIAS, BLOCK, HOST_DTYPE, NAME, WEIGHT
from axonc.dialects.neuron.repeat import REPEAT
from axonc.passes.base import Pass, Reporting
from axonc.passes.graph.module import main_function
from axonc.passes.graph.rewrite import body_of
from axonc.passes.prepare import words
from axonc.passes.prepare.expand_wide import Expander
from axonc.passes.prepare.fold_ranges import fold_ranges
from axonc.passes.prepare.inline_blocks import InlineBlocksPass
from axonc.passes.prepare.input_promises import Promise, promise_of
from axonc.passes.prepare.integer_range import WORD, Interval
from axonc.passes.prepare.integer_ranges import IntegerRanges
from axonc.passes.prepare.wide_arithmetic import Wide
from axonc.passes.prepare.wide_values import (
    WideValues,
    block_arguments,
    find_wide_values,
    is_expanded,
    is_wide_type,
    wide_operations,
)

NARROW = {"i64": "i32", "ui64": "ui32"}

MARGIN = 2**20
"""How far an argument's range is drawn in, so that offsets can be added to it in 32 bits."""


@dataclass(frozen=True)
class InputRange:
    """Which values of an input of 64-bit integers reach the machine, which holds it in 32 bits."""

    name: str
    low: int
    high: int
    saturates: bool
    """Whether others are replaced by the nearest of these; else they are an error."""


@dataclass(frozen=True)
class NarrowIntegersPass(Reporting, Pass, name="narrow-integers"):
    """Make 64-bit integers 32-bit ones where they fit, and pairs of words where they may not."""

    allow_lossy: bool = False

    def apply_and_report(self, op: ir.Operation) -> tuple[bool, Sequence[object]]:
        if not wide_operations(op):
            return False, ()
        reports: Sequence[object] = ()
        if self.allow_lossy:
            fold_ranges(wide_operations(op), IntegerRanges())
            _note_host_dtypes(main_function(op))
        else:
            reports, findings = _expand(op)
            if findings:
                raise unsupported_error(findings)
        _narrow_all(op, refuses=self.allow_lossy)
        return True, reports


def narrow_and_find(root: ir.Operation) -> list[Finding]:
    """Narrow as the pass does, and every operation that cannot be compiled; with anything in the
    place of its results, so that it does not hide other findings."""
    if not wide_operations(root):
        return []
    _, findings = _expand(root)
    _narrow_all(root, refuses=False)
    return list(findings)


# ---- which take two words ------------------------------------------------------------------------


@dataclass
class _Plan:
    """Which values of a program need two words."""

    promises: dict[ir.Value, Promise]
    """By argument of `@main` that takes one word."""
    ranges: IntegerRanges
    wide: WideValues = field(default_factory=lambda: WideValues(frozenset(), 0))


def _expand(root: ir.Operation) -> tuple[Sequence[object], Sequence[Finding]]:
    """Give every value that needs it two words: reports, and what could not be done."""
    main = main_function(root)
    plan = _plan(root, main)
    if any(_is_in_block(value, main) for value in plan.wide.values):
        with root.context, ir.Location.unknown():
            InlineBlocksPass().apply(root)
        plan = _plan(root, main)
    _note_host_dtypes(main)
    if plan.wide.expanded:
        fold_ranges(wide_operations(root), plan.ranges)
        states = {v for pair in _states(main) for v in pair}
        forced = (*(states & plan.wide.values), *_borders(root, main))
        plan.wide = find_wide_values(wide_operations(root), plan.ranges, forced)
    reports = [
        _report(main, v, p) for v, p in plan.promises.items() if _is_worth_telling(main, v, p)
    ]
    expander = Expander(plan.ranges, plan.wide.values)
    if plan.wide.expanded:
        _expand_block(body_of(main), expander)
    return reports, expander.findings


def _expand_block(block: ir.Block, expander: Expander) -> None:
    """Of `@main`."""
    operations = [o.operation for o in block.operations]
    _split_arguments(block, expander)
    for op in operations:
        if op.name == "func.return":
            _join_results(op, expander)
        elif is_expanded(op, expander.wide, expander.ranges):
            expander.expand(op)


def _plan(root: ir.Operation, main: ir.Operation) -> _Plan:
    """With drawn-in ranges of the arguments where that saves operations on two words."""
    plan = _planned(root, main, 0)
    if plan.wide.expanded and plan.promises:
        other = _planned(root, main, MARGIN)
        if other.wide.expanded < plan.wide.expanded:
            return other
    return plan


def _planned(root: ir.Operation, main: ir.Operation, margin: int) -> _Plan:
    """The module is not changed."""
    states, operations = _states(main), wide_operations(root)
    forced = _borders(root, main)
    while True:
        promises = _promises(main, margin, forced, {a for a, _ in states})
        ranges = IntegerRanges({v: p.limits for v, p in promises.items()})
        wide = find_wide_values(operations, ranges, tuple(forced))
        more = {v for pair in states for v in pair if set(pair) & wide.values} - wide.values
        if not more:
            return _Plan(promises, ranges, wide)
        forced |= wide.values & {v for pair in states for v in pair} | more


def _promises(
    main: ir.Operation, margin: int, forced: set[ir.Value], states: set[ir.Value]
) -> dict[ir.Value, Promise]:
    """State is what the program left there, so its range is not drawn in."""
    found = {}
    for argument, given in zip(body_of(main).arguments, _attributes(main), strict=True):
        if not is_wide_type(argument.type) or argument in forced:
            continue
        word = WORD[element_name(argument.type)]
        drawn_in = 0 if argument in states or WEIGHT in given else margin
        low = word.low + drawn_in if word.low else 0
        promise = promise_of(argument, Interval(low, word.high - drawn_in))
        if promise is not None:
            found[argument] = promise
    return found


def _states(main: ir.Operation) -> list[tuple[ir.Value, ir.Value]]:
    """(argument, result that is its next value), of 64-bit integers: both take as many words."""
    block = body_of(main)
    results = list(block.operations)[-1].operands
    return [
        (argument, results[ir.IntegerAttr(given[ALIAS]).value])
        for argument, given in zip(block.arguments, _attributes(main), strict=True)
        if ALIAS in given and is_wide_type(argument.type)
    ]


def _borders(root: ir.Operation, main: ir.Operation) -> set[ir.Value]:
    """Of a block: 64-bit integers that come from others or go to them, all of which see them in two
    words, whatever they know of the values. Of a whole program: none."""
    if BLOCK not in root.attributes:
        return set()
    block = body_of(main)
    values = [*block.arguments, *list(block.operations)[-1].operands]
    return {v for v in values if is_wide_type(v.type)}


def _attributes(main: ir.Operation) -> list[ir.DictAttr]:
    """The attributes of the arguments."""
    if "arg_attrs" not in main.attributes:
        return [ir.DictAttr.get({})] * len(body_of(main).arguments)
    return [ir.DictAttr(d) for d in ir.ArrayAttr(main.attributes["arg_attrs"])]


def _is_in_block(value: ir.Value, main: ir.Operation) -> bool:
    """Whether it belongs to a repeated block, or is passed to one or comes from one."""
    owner = value.owner
    if isinstance(owner, ir.Block):
        function = owner.owner.operation
        return bool(function.name == "func.func" and function != main)
    op = owner.operation
    if op.name == REPEAT or any(use.owner.operation.name == REPEAT for use in value.uses):
        return True
    while op.name != "func.func":
        op = op.parent.operation
    return bool(op != main)


# ---- the edges of @main --------------------------------------------------------------------------


def _split_arguments(block: ir.Block, expander: Expander) -> None:
    for argument in block.arguments:
        if argument not in expander.wide:
            continue
        shape, is_signed = list(argument.type.shape), words.is_signed(argument)
        # Uses ask for its old type until they are expanded.
        with ir.InsertionPoint.at_block_begin(block), block.owner.location:
            new = ir.RankedTensorType.get([2, *shape], words.u32())
            stand_in = words.filled(0, argument.type)
            argument.replace_all_uses_with(stand_in)
            argument.set_type(new)
            rows = (words.slice_along(argument, 0, n, n + 1) for n in (0, 1))
            low, high = (words.reshape(row, shape) for row in rows)
        expander.adopt(stand_in, Wide(low, high, is_signed))


def _join_results(op: ir.Operation, expander: Expander) -> None:
    for number, value in enumerate(op.operands):
        pair = expander.pairs.get(value)
        if pair is None:
            continue
        with ir.InsertionPoint(op), op.location:
            rows = [words.reshape(w, [1, *w.type.shape]) for w in pair.words]
            op.operands[number] = words.concatenate(rows, 0)


def _report(main: ir.Operation, argument: ir.Value, promise: Promise) -> InputRange:
    given = _attributes(main)[ir.BlockArgument(argument).arg_number]
    name = ir.StringAttr(given[NAME]).value if NAME in given else ""
    return InputRange(name, promise.limits.low, promise.limits.high, promise.saturates)


def _is_worth_telling(main: ir.Operation, argument: ir.Value, promise: Promise) -> bool:
    """Without a report, what does not fit in 32 bits is an error."""
    return promise.saturates or promise.limits != WORD[element_name(argument.type)]


def _note_host_dtypes(main: ir.Operation) -> None:
    """`neuron.host_dtype` on each 64-bit argument and result: the host passes it so, the runtime
    converts."""
    block = body_of(main)
    _note(main, "arg_attrs", list(block.arguments))
    _note(main, "res_attrs", list(list(block.operations)[-1].operands))


def _note(function: ir.Operation, which: str, values: list[ir.Value]) -> None:
    present = function.attributes[which] if which in function.attributes else [()] * len(values)
    dictionaries = [{a.name: a.attr for a in d} for d in present]
    for attributes, value in zip(dictionaries, values, strict=True):
        if is_wide_type(value.type):
            attributes[HOST_DTYPE] = ir.StringAttr.get(str(value.type.element_type))
    if any(dictionaries):
        array = [ir.DictAttr.get(d) for d in dictionaries]
        function.attributes[which] = ir.ArrayAttr.get(array)


# ---- the rest takes one word ---------------------------------------------------------------------

_KEPT = frozenset(("stablehlo.custom_call", "stablehlo.while"))
"""Operations that are not dropped even if their results have no uses."""


def _erase_dead(operations: Sequence[ir.Operation]) -> None:
    for op in reversed(operations):
        is_read = any(list(v.uses) for v in op.results)
        if op.name.startswith("stablehlo.") and len(op.results) and not is_read:
            if op.name not in _KEPT and "channel_handle" not in op.attributes:
                op.erase()


def _narrow_all(root: ir.Operation, *, refuses: bool) -> None:
    """refuses: see `_narrow`."""
    _erase_dead(wide_operations(root))
    for each in wide_operations(root):
        _narrow(each, refuses=refuses)
    for function in root.regions[0].blocks[0].operations:
        if function.operation.name == "func.func":
            _update_signature(function.operation)


def _narrowed(kind: ir.Type) -> ir.Type | None:
    """The 32-bit form of a 64-bit integer tensor type; None for other types."""
    if not is_wide_type(kind):
        return None
    return ir.RankedTensorType.get(kind.shape, ir.Type.parse(NARROW[element_name(kind)]))


def _narrow(op: ir.Operation, *, refuses: bool) -> None:
    """refuses: constants that do not fit; else they are cut off, as their high words have no
    uses."""
    if op.name == "stablehlo.constant":
        _narrow_constant(op, refuses=refuses)
    for value in (*op.results, *block_arguments(op)):
        if narrow := _narrowed(value.type):
            value.set_type(narrow)


def _narrow_constant(op: ir.Operation, *, refuses: bool) -> None:
    kind = _narrowed(op.results[0].type)
    attribute = op.attributes["value"]
    if kind is None or not isinstance(attribute, ir.DenseElementsAttr):
        return
    array = dense_to_numpy(attribute)
    dtype = np.dtype(np.uint32 if str(kind.element_type) == "ui32" else np.int32)
    limits = np.iinfo(dtype)
    outside = array[(array < limits.min) | (array > limits.max)]
    if outside.size and refuses:
        raise CompileError(
            f"the constant {outside.flat[0]} does not fit in {kind.element_type} "
            f"({limits.min} to {limits.max})",
            location=source_location(op),
            op=op.name,
            hint="it does without allow_lossy_integers",
        )
    op.attributes["value"] = numpy_to_dense(array.astype(dtype), kind.element_type)


def _update_signature(function: ir.Operation) -> None:
    block = body_of(function)
    results = [v.type for v in list(block.operations)[-1].operands]
    kind = ir.FunctionType.get([a.type for a in block.arguments], results)
    function.attributes["function_type"] = ir.TypeAttr.get(kind)
