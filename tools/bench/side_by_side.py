"""One compiled program: its modelled time, and the executor beside XLA:CPU in one process.

    python -m axonc.tools.bench.side_by_side PROGRAM.axon MODEL.mlirbc WEIGHTS INPUTS.npz

Prints JSON. The two sides run in turn and the shortest run of each counts: the ratio is the
figure, machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import axonc
from axonc.frontends import import_program
from axonc.run.executable import Executable
from axonc.tools.xla_reference import XlaProgram
from axonc.weights.references import open_weight_file

RUNS = 5
"""Timed runs of each side, interleaved; the shortest counts."""


@dataclass(frozen=True)
class Modelled:
    """Modelled times of one program."""

    modelled_ms: float
    """One call on the target."""
    bound_ms: dict[str, float]
    """The least each resource alone needs."""
    instructions: int
    dma_transfers: int
    hbm_bytes_read: int


@dataclass(frozen=True)
class Ran:
    """Seconds of the shortest run of each side. Errors are over all results, to XLA:CPU in float32:
    the largest over the largest value of its result, and the least cosine."""

    executor_seconds: float
    xla_seconds: float
    error: float
    cosine: float


def modelled(executable: Executable) -> Modelled:
    """Modelled figures; needs no weights."""
    profile = executable.profile()
    return Modelled(
        modelled_ms=profile.modelled_seconds * 1e3,
        bound_ms={name: seconds * 1e3 for name, seconds in profile.bound_seconds.items()},
        instructions=sum(profile.timeline.instruction_count.values()),
        dma_transfers=profile.timeline.transfer_count,
        hbm_bytes_read=profile.hbm_bytes_read,
    )


def run_both(executable: Executable, artifact: Path, weights: Path, inputs: Path) -> Ran:
    """Both sides for the arrays in `inputs`."""
    program = import_program(artifact, weights=open_weight_file(weights))
    arrays = {name: ref.load() for name, ref in open_weight_file(inputs).items()}
    xla = XlaProgram(program)
    placed = xla.place({**{name: ref.load() for name, ref in program.weights.items()}, **arrays})
    expected, found = xla.execute(placed), executable.run(arrays)
    seconds = shortest(
        {"executor": lambda: executable.run(arrays), "xla": lambda: xla.execute(placed)}
    )
    return Ran(
        executor_seconds=seconds["executor"],
        xla_seconds=seconds["xla"],
        error=max(map(relative_error, found, expected)),
        cosine=min(map(cosine, found, expected)),
    )


def shortest(sides: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of the shortest of RUNS calls of each side, the sides in turn."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(RUNS):
        for name, call in sides.items():
            begin = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - begin)
    return best


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """max |found - expected| / max |expected|."""
    wide = expected.astype(np.float64)
    return float(np.abs(found.astype(np.float64) - wide).max() / np.abs(wide).max())


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The cosine of the angle between two arrays as vectors."""
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path)
    parser.add_argument("files", type=Path, nargs="*", help="model, weights, inputs: run both")
    options = parser.parse_args(arguments)
    executable = axonc.load(options.program)
    facts = asdict(modelled(executable))
    if options.files:
        facts |= asdict(run_both(executable, *options.files))
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
