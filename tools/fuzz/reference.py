"""The two texts of a program, and what is expected of it: in float64, with bounds, by XLA:CPU and
by StableHLO's interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch_mlir import ir
from torch_mlir._mlir_libs import _stablehlo

from axonc.context import make_context, parse_module
from axonc.dialects.attributes import dense_to_numpy, numpy_to_dense
from axonc.frontends import import_program
from axonc.tools.fuzz.bounds import WIDE, Bounded, BoundWriter, Rounding, wide
from axonc.tools.fuzz.inputs import DTYPES
from axonc.tools.fuzz.operations import OPS
from axonc.tools.fuzz.program import INPUT, Program
from axonc.tools.fuzz.writer import Value, Writer, module_text
from axonc.tools.xla_reference import XlaProgram


def program_text(program: Program) -> str:
    """The program as axonc compiles it."""
    writer = Writer()
    values: list[Value] = []
    arguments = _arguments([program.nodes[p].kind for p in program.inputs])
    given = iter(arguments)
    for node in program.nodes:
        if node.op == INPUT:
            values.append(next(given))
            continue
        operands = [values[p] for p in node.operands]
        values.append(OPS[node.op].write(writer, node, operands, node.kind.element))
    return module_text(arguments, writer, [values[r] for r in program.results])


def bounded_text(program: Program, rounding: Rounding) -> tuple[str, tuple[bool, ...]]:
    """The program in float64, which returns every result and, behind it, its bound; and which
    results have one: the others are exact."""
    writer = BoundWriter(rounding)
    values: list[Bounded] = []
    arguments = _arguments([wide(program.nodes[p].kind) for p in program.inputs])
    given = iter(arguments)
    for node in program.nodes:
        if node.op == INPUT:
            argument = next(given)
            is_float = argument.kind.element == WIDE
            values.append(writer.rounded(argument) if is_float else Bounded(argument, None))
            continue
        op = OPS[node.op]
        values.append(op.bound(writer, op, node, [values[p] for p in node.operands]))
    found = [values[r] for r in program.results]
    returned = [v for b in found for v in (b.value, b.error) if v is not None]
    return module_text(arguments, writer, returned), tuple(b.error is not None for b in found)


def _arguments(kinds: Sequence[Any]) -> list[Value]:
    return [Value(f"%arg{i}", kind) for i, kind in enumerate(kinds)]


@dataclass(frozen=True)
class Expected:
    """One result: its value in float64 (or its integer), and how far from it is right."""

    value: np.ndarray
    error: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Where something is promised."""
        return np.isfinite(self.error)

    def wrong(self, found: np.ndarray) -> np.ndarray:
        """Where a result is not within its bound. Zeros are equal, whatever their sign."""
        if found.dtype.kind not in "fV":
            return self.known & (found != self.value)
        given = found.astype(np.float64)
        same = (given == self.value) | (np.isnan(given) & np.isnan(self.value))
        with np.errstate(invalid="ignore"):
            near = np.abs(given - self.value) <= self.error * (1 + 1e-6)
        return self.known & ~(same | near)


Evaluator = Callable[[str, Sequence[np.ndarray]], Sequence[np.ndarray]]
"""Results of the text of a module, whose arguments are `arg0`, `arg1` ..."""


def on_xla(text: str, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """By XLA:CPU, which is quick."""
    compiled = XlaProgram(import_program(text), quickly=True)
    named = {f"arg{number}": array for number, array in enumerate(arrays)}
    return compiled.execute(compiled.place(named))


def interpreted(text: str, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """By the reference interpreter of StableHLO, which is slow, and knows no chlo operations."""
    module = parse_module(text, make_context())
    with module.context, ir.Location.unknown():
        kinds = module.body.operations[0].regions[0].blocks[0].arguments
        given = [numpy_to_dense(a, k.type.element_type) for a, k in zip(arrays, kinds, strict=True)]
        return [dense_to_numpy(found) for found in _stablehlo.eval_module(module, given)]


def expected_results(
    program: Program,
    arrays: Sequence[np.ndarray],
    rounding: Rounding,
    evaluate: Evaluator = on_xla,
) -> list[Expected]:
    """The results of a program, with bounds."""
    text, has_error = bounded_text(program, rounding)
    is_float = [program.nodes[place].kind.is_float for place in program.inputs]
    wide_arrays = [
        a.astype(DTYPES[WIDE]) if wide else a for a, wide in zip(arrays, is_float, strict=True)
    ]
    returned = iter(evaluate(text, wide_arrays))
    found = []
    for bounded in has_error:
        value = next(returned)
        error = next(returned) if bounded else np.zeros(value.shape)
        found.append(Expected(value, error))
    return found
