"""Many trials: drawn by seed, run by several processes, counted, shrunk and written down."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from axonc.tools.array_files import write_arrays
from axonc.tools.fuzz.draw import EVEN_SIZES, SIZES, repeated
from axonc.tools.fuzz.inputs import input_arrays
from axonc.tools.fuzz.modes import MODES
from axonc.tools.fuzz.near_misses import near_miss
from axonc.tools.fuzz.program import Program
from axonc.tools.fuzz.reference import program_text
from axonc.tools.fuzz.shrink import shrunk
from axonc.tools.fuzz.steps import random_program
from axonc.tools.fuzz.trial import Outcome, Trial, Verdict

PROGRAMS, NEAR_MISSES = "program", "near-miss"

TRIALS_PER_PROCESS = 200
"""Then a process is replaced: compilers keep memory."""


@dataclass(frozen=True)
class Case:
    """What a seed draws."""

    family: str
    """`PROGRAMS` or `NEAR_MISSES`."""
    seed: int
    mode: str = ""
    """Only in this mode; empty: in one that is drawn."""

    def trial(self) -> tuple[Trial, str]:
        """And what it is called."""
        if self.family == NEAR_MISSES:
            program, mode, name = near_miss(np.random.default_rng([1, self.seed]))
        else:
            rng = np.random.default_rng([0, self.seed])
            mode, name = self.mode or _some_mode(rng), ""
            cuts_batch = MODES[mode].options.get("parallel") == "data"
            program = random_program(rng, EVEN_SIZES if cuts_batch else SIZES)
        chosen = MODES[self.mode or mode]
        program = repeated(program, chosen.layers)
        return Trial(program, chosen, self.seed), name

    @property
    def command(self) -> str:
        """Draws and runs it again."""
        mode = f" --mode {self.mode}" if self.mode else ""
        return f"axonc-fuzz --only {self.family}:{self.seed}{mode}"


def _some_mode(rng: np.random.Generator) -> str:
    shares = np.array([m.share for m in MODES.values()])
    return str(rng.choice(list(MODES), p=shares / shares.sum()))


@dataclass(frozen=True)
class Report:
    """How one case ended."""

    case: Case
    mode: str
    name: str
    verdict: Verdict
    operations: tuple[str, ...]
    seconds: float
    folder: str = ""
    """Where it was written down, if it was bad."""


def try_case(case: Case, out: str = "") -> Report:
    """Run one case; if it goes wrong, shrink it and write it below `out`."""
    began = time.monotonic()
    trial, name = case.trial()
    verdict = trial.run()
    operations = tuple(sorted({n.op for n in trial.program.operations()}))
    folder = ""
    if verdict.outcome.is_bad and out:
        folder = _write_down(case, name, trial, verdict, Path(out))
    seconds = time.monotonic() - began
    return Report(case, trial.mode.name, name, verdict, operations, seconds, folder)


def _write_down(case: Case, name: str, trial: Trial, verdict: Verdict, out: Path) -> str:
    """The program as it was drawn and shrunk, inputs, and how to run it."""

    def goes_wrong(program: Program) -> bool:
        found = replace(trial, program=program).run()
        return found.outcome is verdict.outcome

    small = replace(trial, program=shrunk(trial.program, goes_wrong))
    folder = out / f"{case.family}-{case.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "whole.mlir").write_text(program_text(trial.program))
    (folder / "shrunk.mlir").write_text(program_text(small.program))
    arrays = input_arrays(small.program, small.seed)
    is_npz = all(array.dtype.kind != "V" for array in arrays)  # npz cannot name bf16
    named = {f"arg{i}": array for i, array in enumerate(arrays)}
    write_arrays(folder / ("inputs.npz" if is_npz else "inputs.safetensors"), named)
    (folder / "report.json").write_text(
        json.dumps(_described(case, name, small, verdict), indent=2)
    )
    return str(folder)


def _described(case: Case, name: str, small: Trial, verdict: Verdict) -> dict[str, object]:
    return {
        "again": case.command,
        "name": name,
        "mode": small.mode.name,
        "options": dict(small.mode.options),
        "outcome": verdict.outcome.value,
        "reason": verdict.reason,
        "reason_when_shrunk": small.run().reason,
    }


@dataclass
class Summary:
    """Counts of what was tried so far."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    known: list[float] = field(default_factory=list)
    bad: list[Report] = field(default_factory=list)

    def add(self, report: Report) -> None:
        self.outcomes[report.verdict.outcome] += 1
        self.modes[report.mode] += 1
        self.operations.update(report.operations)
        outcome = report.verdict.outcome.value
        if report.verdict.outcome in (Outcome.REFUSED, Outcome.UNFIT):
            self.refused[f"{outcome}: [{report.mode}] {report.verdict.reason}"] += 1
        if report.verdict.outcome is Outcome.RIGHT:
            self.known.append(report.verdict.known)
        if report.verdict.outcome.is_bad:
            self.bad.append(report)

    @property
    def count(self) -> int:
        return sum(self.outcomes.values())

    def text(self) -> str:
        """For people."""
        lines = [f"{self.count} tried: " + self.counts()]
        if self.known:
            lines.append(f"{np.mean(self.known):.1%} of the elements of results were compared")
        lines.append("modes: " + ", ".join(f"{m} {n}" for m, n in self.modes.most_common()))
        lines += [f"{n} times {reason}" for reason, n in self.refused.most_common()]
        lines += [described(report) for report in self.bad]
        return "\n".join(lines)

    def counts(self) -> str:
        """Of each outcome."""
        return ", ".join(f"{n} {o.value}" for o, n in self.outcomes.most_common())


def described(report: Report) -> str:
    """A case that went wrong, in a few lines."""
    title = f"{report.verdict.outcome.value}: {report.case.command} [{report.mode}] {report.name}"
    where = f"\n  see {report.folder}" if report.folder else ""
    return f"{title}\n  {report.verdict.reason}{where}"


def run_cases(cases: Sequence[Case], jobs: int, out: str) -> Iterator[Report]:
    """Reports as they come; with one job, in this process."""
    if jobs == 1:
        yield from (try_case(case, out) for case in cases)
        return
    for start in range(0, len(cases), TRIALS_PER_PROCESS * jobs):
        yield from _with_processes(cases[start : start + TRIALS_PER_PROCESS * jobs], jobs, out)


def _with_processes(cases: Iterable[Case], jobs: int, out: str) -> Iterator[Report]:
    """In new processes, which end with the last case: so memory is bounded."""
    with ProcessPoolExecutor(jobs, get_context("spawn"), _quiet) as pool:
        for done in as_completed([pool.submit(try_case, case, out) for case in cases]):
            yield done.result()


def _quiet() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
