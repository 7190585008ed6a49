"""One program in one mode: compiled, run checked and fast, compared."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

import axonc
from axonc.backends.executor.steps.findings import FindingError
from axonc.backends.targets import TARGETS
from axonc.diagnostics import AxoncError, CompileError, FindingWarning, InternalError, UsageError
from axonc.tools.fuzz.inputs import input_arrays
from axonc.tools.fuzz.modes import Mode, state_pair
from axonc.tools.fuzz.program import Program
from axonc.tools.fuzz.reference import Expected, expected_results, interpreted, program_text


class Outcome(Enum):
    """How a trial ends."""

    RIGHT = "right"
    REFUSED = "refused"
    UNFIT = "cannot be cut"
    """Over the cores of a mode: nothing is wrong with the program on one."""
    WRONG = "wrong"
    INTERNAL = "internal error"
    FINDING = "finding of checked mode"
    NO_REFERENCE = "no reference"

    @property
    def is_bad(self) -> bool:
        """Whether it asks for a repair."""
        return self not in (Outcome.RIGHT, Outcome.REFUSED, Outcome.UNFIT)


@dataclass(frozen=True)
class Verdict:
    """An outcome, and why."""

    outcome: Outcome
    reason: str = ""
    known: float = 0.0
    """The share of the results' elements that were compared."""


@dataclass(frozen=True)
class Trial:
    """A program, the seed of its inputs, and how it is compiled."""

    program: Program
    mode: Mode
    seed: int

    def run(self) -> Verdict:
        arrays = input_arrays(self.program, self.seed)
        try:
            expected = expected_results(self.program, arrays, self.mode.rounding)
        except Exception as error:  # the generator wrote nonsense: a finding about it
            return Verdict(Outcome.NO_REFERENCE, _first_line(error))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FindingWarning)
                checked, fast = self._results(arrays)
        except FindingError as error:
            return Verdict(Outcome.FINDING, _without_places(error))
        except InternalError as error:
            return Verdict(Outcome.INTERNAL, _without_places(error))
        except (CompileError, UsageError) as error:
            is_cut = "cores" in self.mode.options and type(error) in (CompileError, UsageError)
            outcome = Outcome.UNFIT if is_cut else Outcome.REFUSED
            return Verdict(outcome, _without_places(error))
        except AxoncError as error:
            return Verdict(Outcome.INTERNAL, _without_places(error))
        except Exception as error:
            return Verdict(Outcome.INTERNAL, f"{_last_frame(error)}: {_first_line(error)}")
        verdict = _judged(expected, checked, fast)
        return (
            verdict if not verdict.outcome.is_bad else self._again(verdict, arrays, checked, fast)
        )

    def _again(
        self,
        verdict: Verdict,
        arrays: Sequence[np.ndarray],
        checked: Sequence[np.ndarray],
        fast: Sequence[np.ndarray],
    ) -> Verdict:
        """XLA:CPU is wrong at times, too: results that the interpreter agrees with are right."""
        try:
            expected = expected_results(self.program, arrays, self.mode.rounding, interpreted)
        except Exception:  # it does not know all operations
            return verdict
        return _judged(expected, checked, fast)

    def _results(self, arrays: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        inputs = self.program.inputs
        bound = {
            f"arg{i}": array
            for i, (array, place) in enumerate(zip(arrays, inputs, strict=True))
            if self.mode.binds_weights and self.program.nodes[place].fact("weight")
        }
        given = [a for i, a in enumerate(arrays) if f"arg{i}" not in bound]
        aliases = state_pair(self.program) if self.mode.has_state else None
        with small_memory(self.mode.sbuf_kib):
            executable = axonc.compile(
                program_text(self.program),
                weights=bound or None,
                aliases=aliases or None,
                **self.mode.options,
            )
            return executable.run(*given, checked=True), executable.run(*given)


@contextmanager
def small_memory(kib: int) -> Iterator[None]:
    """The machine with so little SBUF in each partition; 0: as much as it has."""
    whole = TARGETS["inf2"]
    if kib:
        TARGETS["inf2"] = replace(whole, sbuf_partition_bytes=kib * 1024)
    try:
        yield
    finally:
        TARGETS["inf2"] = whole


def _judged(
    expected: Sequence[Expected], checked: Sequence[np.ndarray], fast: Sequence[np.ndarray]
) -> Verdict:
    known = [e.known.mean() for e in expected if e.value.size]
    share = float(np.mean(known)) if known else 1.0
    for mode, results in (("checked", checked), ("fast", fast)):
        for number, (wanted, found) in enumerate(zip(expected, results, strict=True)):
            reason = _difference(wanted, found)
            if reason:
                return Verdict(Outcome.WRONG, f"{mode} mode, result {number}: {reason}", share)
    return Verdict(Outcome.RIGHT, known=share)


def _difference(wanted: Expected, found: np.ndarray) -> str:
    """What is wrong with a result; empty if nothing."""
    if found.shape != wanted.value.shape:
        return f"shape {found.shape} instead of {wanted.value.shape}"
    wrong = wanted.wrong(found)
    if not wrong.any():
        return ""
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"{int(wrong.sum())} of {wrong.size} wrong; at {place} "
        f"{found[place]} instead of {wanted.value[place]} +- {wanted.error[place]:.3g}"
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"


def _last_frame(error: Exception) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "axonc" in f.filename]
    frame = (frames or traceback.extract_tb(error.__traceback__))[-1]
    return f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"


def _without_places(error: AxoncError) -> str:
    """The kind of an error: without lines, names and numbers, so that equal reasons are counted
    together."""
    text = f"{error.op}: {error.message}" if error.op else error.message
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = re.sub(r"\S*:\d+:\d+: ", "", lines[0] if lines else "")
    return f"{type(error).__name__}: {re.sub(r'[0-9]+', 'N', line)}"
