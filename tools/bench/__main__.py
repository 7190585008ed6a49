"""The benchmarks. Without arguments: every row of the table of models.

python -m axonc.tools.bench bert-base 'bert-large*'     # one row; every row of a model
python -m axonc.tools.bench --parts instructions gemm   # single instructions, published GEMMs
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from axonc.diagnostics import UsageError

FOLDER = Path("out/bench")


def _models(options: argparse.Namespace) -> None:
    from rich.console import Console

    from axonc.tools.bench import models_table

    settings = models_table.Settings(
        folder=options.folder,
        auto_cast=options.auto_cast,
        small=options.small,
        reuse=options.reuse,
        layers=options.layers,
    )
    rows = models_table.selected(options.rows)
    options.folder.mkdir(parents=True, exist_ok=True)
    models_table.run(rows, settings, Console(width=None if sys.stdout.isatty() else 132))


def _instructions(_: argparse.Namespace) -> None:
    from axonc.tools.bench import instructions

    instructions.main()


def _gemm(_: argparse.Namespace) -> None:
    from axonc.tools.bench import gemm_kernels

    gemm_kernels.main([])


def _bert_large(options: argparse.Namespace) -> None:
    from axonc.tools.bench import bert_large

    bert_large.main(["--folder", str(options.folder)])


# Imported when run: a parent that is large spoils the peak memory of its children.
PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "models": _models,
    "instructions": _instructions,
    "gemm": _gemm,
    "bert-large": _bert_large,
}


def main(arguments: list[str] | None = None) -> int:
    """Command line; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        for part in options.parts:
            PARTS[part](options)
    except UsageError as error:
        print(error.render(), file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m axonc.tools.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows of the table of models")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["models"])
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"default: {FOLDER}")
    parser.add_argument("--auto-cast", choices=("none", "matmult", "all"), default="matmult")
    parser.add_argument("--layers", type=int, help="cut the models to so many layers")
    parser.add_argument("--small", action="store_true", help="the zoo's narrow models")
    parser.add_argument("--reuse", action="store_true", help="keep model files of an earlier run")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
