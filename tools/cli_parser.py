"""How every verb's parser looks: examples below the options, `--traceback` everywhere."""

from __future__ import annotations

import argparse


def verb_parser(verb: str, summary: str, examples: str) -> argparse.ArgumentParser:
    """A parser that shows `examples` (lines) at the end of its help."""
    parser = argparse.ArgumentParser(
        prog=f"axonc {verb}",
        description=summary,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--traceback", action="store_true", help="show where in axonc an error was raised"
    )
    return parser


def add_program(parser: argparse.ArgumentParser) -> None:
    """`PROGRAM`, and how far its weight files are trusted."""
    parser.add_argument("program", metavar="PROGRAM", help="what 'axonc compile' wrote")
    parser.add_argument(
        "--trust-weights",
        action="store_true",
        help="use weight files that have changed since the program was compiled",
    )


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """`--inputs FILE` or `--random-inputs SEED`, one of which gives the arrays of a call."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--inputs",
        metavar="FILE",
        help=".npz, .npy or .safetensors; by input name, or in order: in0 in1 ... or arr_0 ...",
    )
    group.add_argument(
        "--random-inputs",
        metavar="SEED",
        type=int,
        help="seeded inputs: floats standard normal, integers 0 or 1",
    )
