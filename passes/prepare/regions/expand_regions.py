"""Make reductions, windows and maps with regions of their own operations on whole tensors.

Why: engines reduce by one operation at once. What else a region may say, of several tensors too,
becomes elementwise operations on whole tensors, for every type that these have.

Precondition: StableHLO, inlined; before 64-bit integers are narrowed.
Postcondition: `reduce` and `reduce_window` of one tensor each, by add, maximum, minimum, multiply,
and, or; no `map` and no `select_and_scatter`. What has a region that cannot be applied to tensors
is left: `legalize-to-neuron` names it.

Before:
    %0:2 = stablehlo.reduce(%x init: %a), (%y init: %b) across dimensions = [0]  : 4 elements each
     reducer: %s = add %x0, %x1; %m = multiply %y0, %x1
After:
    %xs, %ys = region(x[0::2], y[0::2], x[1::2], y[1::2])
    %0 = region(xs[0:1], ys[0:1], xs[1:2], ys[1:2])

Tensors of one reduction that have nothing to do with each other are reduced each for itself. An
argmax is a maximum and the least place at which it stands (arg_extremes.py). Where cores hold parts
of a dim, each reduces its part first (gathered_reductions.py). The rest are trees
(reduction_tree.py, reduction_windows.py, selected_windows.py).

Proof: StableHLO leaves the tree to the implementation by which the elements and the initial value
are combined, as long as they stay in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.dialects.stablehlo import dense_integers
from axonc.passes.base import Pass
from axonc.passes.graph.rewrite import in_place_of, replace
from axonc.passes.prepare import words
from axonc.passes.prepare.integer_range import WORD
from axonc.passes.prepare.regions.arg_extremes import arg_extreme
from axonc.passes.prepare.regions.gathered_reductions import (
    erase_unread_gathers,
    reduced_before_gathering,
)
from axonc.passes.prepare.regions.plain_reductions import plain_reduce_from, plain_windows_from
from axonc.passes.prepare.regions.reduction_tree import reduced
from axonc.passes.prepare.regions.reduction_windows import windows_of, windows_reduced
from axonc.passes.prepare.regions.scalar_body import ScalarBody, Tensors
from axonc.passes.prepare.regions.selected_windows import select_and_scatter


@dataclass(frozen=True)
class ExpandRegionsPass(Pass, name="expand-regions"):
    """Make regions of reductions, windows and maps operations on whole tensors."""

    def apply(self, op: ir.Operation) -> bool:
        return any([_expand(each) for each in _with_regions(op)])


def _with_regions(root: ir.Operation) -> list[ir.Operation]:
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.name in _RULES:
            found.append(op)
        return ir.WalkResult.ADVANCE

    root.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found


def _expand(op: ir.Operation) -> bool:
    """Whether `op` was replaced."""
    with in_place_of(op):
        made = _RULES[op.name](op)
        if made is None:
            return False
        pairs = zip(made, op.results, strict=True)
        values = [words.convert(new, old.type.element_type) for new, old in pairs]
    operands = list(op.operands)
    replace(op, *values)
    erase_unread_gathers(operands)
    return True


# ---- rules: what an operation becomes, or None when it stays -------------------------------------


def _reduce(op: ir.Operation) -> Tensors | None:
    body = ScalarBody.of(op.regions[0])
    if body is None or _is_plain(op, body):
        return None
    found = reduced_before_gathering(op, body) or arg_extreme(op, body)
    dims = dense_integers(op.attributes["dimensions"])
    return found or _by_groups(
        op,
        body,
        lambda group, tensors, initial: reduced(group.combine, tensors, initial, dims),
        lambda kind, tensor, initial: plain_reduce_from(tensor, initial, kind, dims),
    )


def _reduce_window(op: ir.Operation) -> Tensors | None:
    body = ScalarBody.of(op.regions[0])
    if body is None or _is_plain(op, body):
        return None
    windows = windows_of(op)
    return _by_groups(
        op,
        body,
        lambda group, tensors, initial: windows_reduced(group.combine, tensors, initial, windows),
        lambda kind, tensor, initial: plain_windows_from(op, tensor, initial, kind),
    )


def _is_plain(op: ir.Operation, body: ScalarBody) -> bool:
    """Whether it is what engines do: of one tensor, by one operation, in its own type."""
    return (
        len(op.results) == 1
        and _has_form(op, body)
        and body.element(0) == op.operands[0].type.element_type
    )


def _has_form(op: ir.Operation, body: ScalarBody) -> bool:
    """Whether a part of the reduction may stay one of one tensor."""
    kind = body.kind()
    is_window = op.name == "stablehlo.reduce_window"
    if is_window and element_name(op.operands[body.results[0]].type) in WORD:
        return kind in _WIDE_WINDOWS
    return kind is not None


_WIDE_WINDOWS = frozenset(("add", "and", "or"))
"""What `narrow-integers` reduces windows of 64-bit integers by."""


def _by_groups(
    op: ir.Operation,
    body: ScalarBody,
    tree: Callable[[ScalarBody, Tensors, Tensors], Tensors],
    plain: Callable[[str, ir.Value, ir.Value], ir.Value],
) -> Tensors:
    """Each part of a reduction for itself, by `plain` where it is one operation on one tensor."""
    count = len(op.results)
    found: dict[int, ir.Value] = {}
    for group in body.groups():
        tensors, initial = (
            [words.convert(op.operands[n + first], body.element(n)) for n in group.results]
            for first in (0, count)
        )
        if _has_form(op, group):
            made = [plain(group.kind() or "", tensors[0], initial[0])]
        else:
            made = tree(group, tensors, initial)
        found.update(zip(group.results, made, strict=True))
    return [found[n] for n in range(count)]


def _map(op: ir.Operation) -> Tensors | None:
    body = ScalarBody.of(op.regions[0])
    return body(*op.operands) if body is not None else None


_RULES: Mapping[str, Callable[[ir.Operation], Tensors | None]] = {
    "stablehlo.map": _map,
    "stablehlo.reduce": _reduce,
    "stablehlo.reduce_window": _reduce_window,
    "stablehlo.select_and_scatter": select_and_scatter,
}
