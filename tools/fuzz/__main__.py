"""`axonc-fuzz`: random programs and near-misses of rewriting rules, against XLA:CPU.

axonc-fuzz --programs 5000 --near-misses 2000 --jobs 2
axonc-fuzz --only program:17                  # one case again
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from axonc.tools.fuzz.modes import MODES

if TYPE_CHECKING:
    from axonc.tools.fuzz.campaign import Case


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("axonc-fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--programs", type=int, default=100, metavar="N", help="random programs")
    parser.add_argument("--near-misses", type=int, default=40, metavar="N", help="and patterns")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first of each")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes")
    parser.add_argument("--mode", choices=tuple(MODES), help="in this mode alone")
    parser.add_argument("--only", metavar="FAMILY:SEED", help="one case, such as program:17")
    parser.add_argument(
        "--out", default="out/fuzz", metavar="DIR", help="for what goes wrong (out/fuzz)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 if something went wrong."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # else XLA prints warnings on stderr
    options = make_parser().parse_args(arguments)
    from axonc.tools.fuzz.campaign import Summary, described, run_cases

    cases = _cases(options)
    summary, began = Summary(), time.monotonic()
    try:
        for report in run_cases(cases, options.jobs, options.out):
            summary.add(report)
            if report.verdict.outcome.is_bad:
                print(described(report), flush=True)
            if summary.count % 100 == 0:
                done = f"{summary.count} of {len(cases)}, {time.monotonic() - began:.0f} s"
                print(f"{done}: {summary.counts()}", flush=True)
    except KeyboardInterrupt:
        print("interrupted")
    print(summary.text())
    return 1 if summary.bad else 0


def _cases(options: argparse.Namespace) -> list[Case]:
    from axonc.tools.fuzz.campaign import NEAR_MISSES, PROGRAMS, Case

    mode = options.mode or ""
    if options.only:
        family, _, seed = options.only.partition(":")
        return [Case(family, int(seed), mode)]
    counts = {PROGRAMS: options.programs, NEAR_MISSES: options.near_misses}
    cases = [Case(f, options.seed + i, mode) for f, count in counts.items() for i in range(count)]
    return sorted(cases, key=lambda case: case.seed)  # some of each from the start


if __name__ == "__main__":
    sys.exit(main())
