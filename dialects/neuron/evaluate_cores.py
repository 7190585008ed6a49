"""Reference semantics of a neuron module that several cores run: operation by operation, all cores
at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch_mlir import ir

from axonc.diagnostics import InternalError, UsageError
from axonc.dialects.attributes import element_name, integer_lists
from axonc.dialects.neuron.evaluate import (
    argument_array,
    called_block,
    evaluate_op,
    forget,
    main_block,
    repeated,
    round_to,
)
from axonc.dialects.neuron.repeat import REPEAT
from axonc.dialects.neuron.table import CORE_REDUCTIONS, FLOAT

Arrays = list[np.ndarray]
"""One array per core."""


def evaluate_on_cores(
    module: ir.Module, inputs: Sequence[Sequence[np.ndarray]], f64: bool = False
) -> list[Arrays]:
    """Results of `@main` per core, for the arguments of every core.

    Raises:
        UsageError: the inputs do not fit the arguments.
    """
    block = main_block(module)
    values: dict[ir.Value, Arrays] = {}
    for number, argument in enumerate(block.arguments):
        values[argument] = [
            argument_array(number, argument.type, _given(arrays, block)[number], f64)
            for arrays in inputs
        ]
    returned = _evaluate_block(block, values, len(inputs), f64)
    return [[array[core] for array in returned] for core in range(len(inputs))]


def _evaluate_block(
    block: ir.Block, values: dict[ir.Value, Arrays], cores: int, f64: bool
) -> list[Arrays]:
    """Run the operations of a block on all cores; the operands of its terminator."""
    uses_left: dict[ir.Value, int] = {}
    for op in block.operations:
        operation = op.operation
        operands = [values[v] for v in operation.operands]
        if operation.name == "func.return":
            return operands
        if operation.name == REPEAT:
            values.update(_evaluate_repeat(operation, values, cores, f64))
        else:
            values[operation.results[0]] = _evaluate(operation, operands, cores, f64)
        forget(operation, values, uses_left)
    raise InternalError("a block without terminator was evaluated")


def _evaluate_repeat(
    op: ir.Operation, values: dict[ir.Value, Arrays], cores: int, f64: bool
) -> dict[ir.Value, Arrays]:
    """Every result of a `neuron.repeat`, all cores in step: they meet in every call."""
    block = called_block(op)

    def call(arguments: list[Arrays]) -> list[Arrays]:
        given = dict(zip(block.arguments, arguments, strict=True))
        return _evaluate_block(block, given, cores, f64)

    return repeated(op, values, call)


def _given(arrays: Sequence[np.ndarray], block: ir.Block) -> Sequence[np.ndarray]:
    if len(arrays) != len(block.arguments):
        raise UsageError(f"@main has {len(block.arguments)} arguments, got {len(arrays)}")
    return arrays


def _evaluate(op: ir.Operation, operands: list[Arrays], cores: int, f64: bool) -> Arrays:
    if op.name == "neuron.partition_id":
        return [np.asarray(core, np.uint32) for core in range(cores)]
    rule = _COLLECTIVES.get(op.name)
    if rule is None:
        return [evaluate_op(op, [array[core] for array in operands], f64) for core in range(cores)]
    with np.errstate(all="ignore"):
        found = rule(op, operands[0], f64)
    return [round_to(array, op.results[0].type, f64) for array in found]


def _wide(op: ir.Operation, array: np.ndarray, f64: bool) -> np.ndarray:
    if element_name(op.operands[0].type) not in FLOAT:
        return array
    return np.asarray(array, np.float64 if f64 else np.float32)


def _by_group(
    op: ir.Operation, arrays: Arrays, compute: Callable[[Arrays], Sequence[np.ndarray]]
) -> Arrays:
    """compute: the arrays of a group, in its order -> the results of its cores."""
    results: Arrays = [np.zeros(0)] * len(arrays)
    for group in integer_lists(op.attributes["groups"]):
        for core, result in zip(group, compute([arrays[c] for c in group]), strict=True):
            results[core] = result
    return results


def _folded(op: ir.Operation, arrays: Arrays, f64: bool) -> np.ndarray:
    function = CORE_REDUCTIONS[ir.StringAttr(op.attributes["kind"]).value]
    total = _wide(op, arrays[0], f64)
    for array in arrays[1:]:
        total = function(total, _wide(op, array, f64))
    return total


def _all_reduce(op: ir.Operation, arrays: Arrays, f64: bool) -> Arrays:
    return _by_group(op, arrays, lambda group: [_folded(op, group, f64)] * len(group))


def _all_gather(op: ir.Operation, arrays: Arrays, f64: bool) -> Arrays:
    return _by_group(op, arrays, lambda group: [np.stack(group)] * len(group))


def _reduce_scatter(op: ir.Operation, arrays: Arrays, f64: bool) -> Arrays:
    return _by_group(op, arrays, lambda group: list(_folded(op, group, f64)))


def _all_to_all(op: ir.Operation, arrays: Arrays, f64: bool) -> Arrays:
    return _by_group(op, arrays, lambda group: list(np.stack(group, axis=1)))


def _collective_permute(op: ir.Operation, arrays: Arrays, f64: bool) -> Arrays:
    results = [np.zeros_like(array) for array in arrays]
    for source, target in integer_lists(op.attributes["pairs"]):
        results[target] = arrays[source]
    return results


_COLLECTIVES: dict[str, Callable[[ir.Operation, Arrays, bool], Arrays]] = {
    "neuron.all_reduce": _all_reduce,
    "neuron.all_gather": _all_gather,
    "neuron.reduce_scatter": _reduce_scatter,
    "neuron.all_to_all": _all_to_all,
    "neuron.collective_permute": _collective_permute,
}
CORE_OPS = frozenset((*_COLLECTIVES, "neuron.partition_id"))
"""Operations that only have a meaning on several cores."""
