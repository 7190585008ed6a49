"""The two texts of a program, and what is expected of it: by XLA:CPU, in float64, with bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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


def expected_results(
    program: Program, arrays: Sequence[np.ndarray], rounding: Rounding
) -> list[Expected]:
    """Runs the program with bounds on XLA:CPU."""
    text, has_error = bounded_text(program, rounding)
    given = [_widened(a, program.nodes[p].kind.is_float)
             for a, p in zip(arrays, program.inputs, strict=True)]  # fmt: skip
    compiled = XlaProgram(import_program(text), quickly=True)
    named = {f"arg{number}": array for number, array in enumerate(given)}
    returned = iter(compiled.execute(compiled.place(named)))
    found = []
    for bounded in has_error:
        value = next(returned)
        error = next(returned) if bounded else np.zeros(value.shape)
        found.append(Expected(value, error))
    return found


def _widened(array: np.ndarray, is_float: bool) -> np.ndarray:
    return array.astype(DTYPES[WIDE]) if is_float else array
