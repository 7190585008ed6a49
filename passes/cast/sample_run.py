"""The neuron graph on one sample, by its reference evaluators, and again with some results changed.

Everything is kept, so that a change costs only what depends on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from torch_mlir import ir

from axonc.backends.numerics.wide_integers import COMPLEX, are_words, split_words
from axonc.diagnostics import UsageError, nearest
from axonc.dialects.neuron.argument_names import NAME
from axonc.dialects.neuron.evaluate import argument_array, evaluate_op
from axonc.passes.cast.cast_data import CastData, Sample

Change = Callable[[list[np.ndarray]], np.ndarray]
"""From an operation's operands to its changed result."""


class SampleRun:
    """values: of everything, without changes. results: of the program."""

    def __init__(self, function: ir.Operation, data: CastData, sample: Sample) -> None:
        self._block = function.regions[0].blocks[0]
        self.values = _arguments(function, data, sample)
        self.results: list[np.ndarray] = []
        for op in self._operations():
            operands = [self.values[v] for v in op.operands]
            if not op.results:
                self.results = operands
            else:
                self.values[op.results[0]] = evaluate_op(op, operands)

    def _operations(self) -> list[ir.Operation]:
        return list(self._block.operations)

    def operands(self, op: ir.Operation) -> list[np.ndarray]:
        """What an operation reads, without changes."""
        return [self.values[v] for v in op.operands]

    def results_with(self, changes: Mapping[ir.Operation, Change]) -> list[np.ndarray]:
        """The program's results when these operations do something else."""
        new: dict[ir.Value, np.ndarray] = {}
        for op in self._operations():
            if op not in changes and not any(v in new for v in op.operands):
                continue
            operands = [new[v] if v in new else self.values[v] for v in op.operands]
            if not op.results:
                return operands
            change = changes.get(op)
            result = change(operands) if change else evaluate_op(op, operands)
            new[op.results[0]] = result
        return self.results


def _arguments(
    function: ir.Operation, data: CastData, sample: Sample
) -> dict[ir.Value, np.ndarray]:
    """Raises: UsageError for a sample without an input the function has."""
    block = function.regions[0].blocks[0]
    found = {}
    for number, (argument, name) in enumerate(zip(block.arguments, _names(function), strict=True)):
        if name in data.weights:
            array = data.weights[name].load()
        elif name in sample:
            array = sample[name]
        else:
            raise UsageError(
                f"the sample inputs have no '{name}'",
                hint=nearest(name, sample) or f"they have {', '.join(sample)}",
            )
        dtype = {"int64": "i64", "uint64": "ui64", "complex64": COMPLEX}.get(array.dtype.name, "")
        if are_words(tuple(argument.type.shape), array.shape, dtype):
            array = split_words(array)
        found[argument] = argument_array(number, argument.type, array, False)
    return found


def _names(function: ir.Operation) -> list[str]:
    count = len(function.regions[0].blocks[0].arguments)
    if "arg_attrs" not in function.attributes:
        return [f"arg{i}" for i in range(count)]
    given = [ir.DictAttr(a) for a in ir.ArrayAttr(function.attributes["arg_attrs"])]
    return [ir.StringAttr(a[NAME]).value if NAME in a else f"arg{i}" for i, a in enumerate(given)]


def cosine(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The worst over the float results; -1 when one is not finite. Two zero vectors agree."""
    worst = 1.0
    for a, b in zip(found, expected, strict=True):
        if b.dtype.kind in "iub":
            continue
        x, y = (np.asarray(v, np.float64).ravel() for v in (a, b))
        lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
        if not np.isfinite(lengths):
            return -1.0
        same = bool((x == y).all())
        worst = min(worst, 1.0 if same else float(x @ y) / lengths if lengths else 0.0)
    return worst


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Norm of the difference over the norm of what was expected."""
    x, y = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    norm = float(np.linalg.norm(y))
    return float(np.linalg.norm(x - y)) / norm if norm else float(np.linalg.norm(x))
