"""`neuron.repeat` as Python sees it: its operands and results by role, and its builder.

An IRDL variadic takes values of one type only, so operands and results are declared as runs of
equal types. That is why operands lie slot by slot (all iterations of slot 0, then of slot 1, ...)
and why `outline-blocks` sorts slots by type; `Repeat` gives them by iteration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from torch_mlir import ir

from axonc.diagnostics import InternalError
from axonc.dialects.attributes import integer

REPEAT = "neuron.repeat"
OPERAND_RUNS, RESULT_RUNS = 48, 16
"""Most runs of equal types among the operands and the results."""

Values = tuple[ir.Value, ...]


@dataclass(frozen=True)
class Repeat:
    """The parts of a `neuron.repeat`."""

    callee: str
    count: int
    """How many iterations there are."""
    carried: Values
    """Values that go from iteration to iteration, before the first."""
    invariant: Values
    """Operands that all iterations have in common."""
    varying: tuple[Values, ...]
    """By iteration, the operands that only it has."""
    carried_out: Values
    """The carried values after the last iteration."""
    collected: tuple[Values, ...]
    """By iteration, the results that only it makes."""

    @classmethod
    def of(cls, op: ir.Operation) -> Repeat:
        """The parts of a verified `neuron.repeat`."""
        count, carried, invariant = (
            ir.IntegerAttr(op.attributes[n]).value for n in ("count", "carried", "invariant")
        )
        operands, results = tuple(op.operands), tuple(op.results)
        return cls(
            ir.FlatSymbolRefAttr(op.attributes["callee"]).value,
            count,
            operands[:carried],
            operands[carried : carried + invariant],
            _by_iteration(operands[carried + invariant :], count),
            results[:carried],
            _by_iteration(results[carried:], count),
        )

    def arguments(self, iteration: int) -> Values:
        """Operands of one call, without the carried ones."""
        return (*self.invariant, *self.varying[iteration])


def _by_iteration(values: Values, count: int) -> tuple[Values, ...]:
    return tuple(values[k::count] for k in range(count))


def repeat(
    callee: str,
    count: int,
    carried: Sequence[ir.Value],
    invariant: Sequence[ir.Value],
    varying: Sequence[Sequence[ir.Value]],
    collected: Sequence[ir.Type],
    loc: ir.Location | None = None,
) -> ir.Operation:
    """A new `neuron.repeat` at the insertion point. varying[s][k]: slot s of iteration k.

    Raises:
        ValueError: types change more often than the operation can say.
    """
    operands = [*carried, *invariant, *(value for slot in varying for value in slot)]
    results = [v.type for v in carried] + [kind for kind in collected for _ in range(count)]
    attributes = {
        "callee": ir.FlatSymbolRefAttr.get(callee),
        "count": integer(count),
        "carried": integer(len(carried)),
        "invariant": integer(len(invariant)),
        "operandSegmentSizes": _runs([v.type for v in operands], OPERAND_RUNS),
        "resultSegmentSizes": _runs(results, RESULT_RUNS),
    }
    return ir.Operation.create(REPEAT, results, operands, attributes, loc=loc)


def _runs(kinds: Sequence[ir.Type], limit: int) -> ir.Attribute:
    sizes = [len(list(group)) for _, group in groupby(kinds)]
    if len(sizes) > limit:
        raise ValueError(f"types change {len(sizes)} times, at most {limit} runs are possible")
    return ir.DenseI32ArrayAttr.get(sizes + [0] * (limit - len(sizes)))


def function_named(module: ir.Operation, name: str) -> ir.Operation | None:
    """The function of this name in a module."""
    for each in module.regions[0].blocks[0].operations:
        op = each.operation
        if op.name == "func.func" and ir.StringAttr(op.attributes["sym_name"]).value == name:
            return op
    return None


def module_of(op: ir.Operation) -> ir.Operation | None:
    """The module an operation is in, None when it is in none."""
    while op.name != "builtin.module":
        if op.parent is None:
            return None
        op = op.parent.operation
    return op


def repeats_in(function: ir.Operation) -> list[ir.Operation]:
    """The `neuron.repeat` operations of a function."""
    operations = function.regions[0].blocks[0].operations
    return [op.operation for op in operations if op.operation.name == REPEAT]


def called_functions(main: ir.Operation) -> list[ir.Operation]:
    """`main` and the functions its `neuron.repeat` operations call, each once, in order."""
    module = module_of(main)
    found = {_name_of(main): main}
    for op in repeats_in(main):
        name = ir.FlatSymbolRefAttr(op.attributes["callee"]).value
        function = function_named(module, name) if module is not None else None
        if function is not None:
            found[name] = function
    return list(found.values())


def _name_of(function: ir.Operation) -> str:
    return ir.StringAttr(function.attributes["sym_name"]).value


def is_repeated(function: ir.Operation) -> bool:
    """Whether the function is the block of a repeat: a private one that is left after inlining."""
    attributes = function.attributes
    private = "sym_visibility" in attributes
    return private and ir.StringAttr(attributes["sym_visibility"]).value == "private"


def block_function(op: ir.Operation) -> ir.Operation:
    """The function that a `neuron.repeat` calls."""
    module = module_of(op)
    name = Repeat.of(op).callee
    function = None if module is None else function_named(module, name)
    if function is None:
        raise InternalError(f"there is no function @{name}")
    return function
