"""Add what all cores hold before an all_reduce, a core's share each, instead of after it.

Why: behind a product that is summed over the cores come a bias and a residual. Added afterwards
they are passes over the tensor that nothing can hide, as everything waits for the sum. Added
before, they ride in the eviction of the product, and are ready long before it.

Precondition: neuron operations before fusion; arguments of `@main` say in `neuron.parts` which
cores hold the same. Postcondition: an all_reduce that sums a product, and to whose result alone
values are added which all cores of a group hold alike, sums the product plus a share of them.

Before (two cores, %b and %x the same on both):
    %0 = "neuron.dot"(%h, %w)
    %1 = "neuron.all_reduce"(%0) {groups = [[0, 1]], kind = "sum"}
    %2 = "neuron.add"(%1, %b)
    %3 = "neuron.add"(%2, %x)
After:
    %4 = "neuron.add"(%b, %x)
    %5 = "neuron.multiply"(%4, 0.5)
    %6 = "neuron.add"(%0, %5)
    %3 = "neuron.all_reduce"(%6) {groups = [[0, 1]], kind = "sum"}

The sum is the same up to rounding: shares are exact for 2^k cores, and sums are made in another
order. Leaves alone: addends that may differ between cores, sums read by more than one operation,
and what is no product of floats.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects import neuron_builder as build
from axonc.dialects.attributes import element_name, integer_lists
from axonc.dialects.neuron_table import FLOAT
from axonc.dialects.repeat import called_functions
from axonc.pass_manager import Pass
from axonc.passes.dead_code import defining_op, use_count
from axonc.passes.legalize_collectives import Groups, cores_of
from axonc.passes.legalize_to_neuron import main_function
from axonc.passes.replication import Replication


@dataclass(frozen=True)
class AddBeforeReducePass(Pass, name="add-before-reduce"):
    """Add biases and residuals before an all_reduce, a core's share each, instead of after it."""

    def apply(self, op: ir.Operation) -> bool:
        cores = cores_of(op)
        if cores == 1:
            return False
        main = main_function(op)
        replication = Replication(main, cores)
        changed = False
        for function in called_functions(main):
            block = function.regions[0].blocks[0]
            for each in [o.operation for o in block.operations]:
                if each.name == "neuron.all_reduce" and _sums_product(each):
                    changed |= _rewrite(each, replication)
        return changed


@dataclass(frozen=True)
class _Addends:
    """values: what is added to a sum, one after the other. chain: the operations that do so, the
    last of which gives the final result."""

    values: tuple[ir.Value, ...] = ()
    chain: tuple[ir.Operation, ...] = ()


def _sums_product(op: ir.Operation) -> bool:
    is_sum = ir.StringAttr(op.attributes["kind"]).value == "sum"
    is_float = element_name(op.results[0].type) in FLOAT
    product = defining_op(op.operands[0], "neuron.dot")
    return is_sum and is_float and product is not None and use_count(op.operands[0]) == 1


def _only_user(value: ir.Value) -> ir.Operation | None:
    uses = list(value.uses)
    return uses[0].owner.operation if len(uses) == 1 else None


def _rewrite(reduction: ir.Operation, replication: Replication) -> bool:
    groups = integer_lists(reduction.attributes["groups"])
    found = _addends(reduction, groups, replication)
    if not found.values:
        return False
    product, last = reduction.operands[0], found.chain[-1]
    with ir.InsertionPoint(last), last.location:
        share = _share(found.values, len(groups[0]), build.shape_of(product))
        summand = build.create("add", (product, share), product.type)
    with ir.InsertionPoint(last), reduction.location:
        result = build.all_reduce(summand, "sum", groups)
        final = build.reshape(result, build.shape_of(last.results[0]))
    last.results[0].replace_all_uses_with(final)
    for op in (*reversed(found.chain), reduction):
        op.erase()
    return True


def _addends(reduction: ir.Operation, groups: Groups, replication: Replication) -> _Addends:
    """Follows the sum through additions and reshapes, as long as one operation reads it."""
    value = reduction.results[0]
    values: tuple[ir.Value, ...] = ()
    chain: tuple[ir.Operation, ...] = ()
    found = _Addends()
    while (user := _only_user(value)) is not None:
        chain += (user,)
        if user.name == "neuron.add":
            other = user.operands[1 if user.operands[0] == value else 0]
            if not replication.is_equal(other, groups):
                break
            values += (other,)
            found = _Addends(values, chain)
        elif user.name != "neuron.reshape":
            break
        value = user.results[0]
    return found


def _share(values: tuple[ir.Value, ...], cores: int, shape: tuple[int, ...]) -> ir.Value:
    """The sum of the values, divided by the number of cores."""
    total, *others = (build.reshape(value, shape) for value in values)
    for other in others:
        total = build.create("add", (total, other), total.type)
    factor = build.splat_constant(1 / cores, total.type)
    return build.create("multiply", (total, factor), total.type)
