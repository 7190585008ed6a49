"""How every verb's parser looks: examples below the options, `--traceback` everywhere."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import NoReturn

from axonc.diagnostics import nearest


class VerbParser(argparse.ArgumentParser):
    """Says what is wrong in two lines, with the nearest flag, instead of a screen of usage."""

    tolerated: tuple[str, ...] = ()
    """Beginnings of flags that are taken whatever they are; what was given is in `tolerated` of the
    namespace."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def,override]
        words = list(sys.argv[1:] if args is None else args)
        taken, kept = self._without_tolerated(words)
        found, rest = super().parse_known_args(kept, namespace)
        found.tolerated = [*getattr(found, "tolerated", ()), *taken]
        return found, rest

    def _without_tolerated(self, words: list[str]) -> tuple[list[str], list[str]]:
        """Tolerated flags, and the other words. A flag's value may be a word of its own: whatever
        follows one of `...-options`, else a word that is neither a flag nor an existing file."""
        known = {name for action in self._actions for name in action.option_strings}
        taken: list[str] = []
        kept: list[str] = []
        rest = iter([*words, None])
        word = next(rest)
        while word is not None:
            following = next(rest)
            if word.partition("=")[0] in known or not word.startswith(self.tolerated or "\0"):
                kept.append(word)
            else:
                taken.append(word)
                if following is not None and _is_value(word, following):
                    following = next(rest)
            word = following
        return taken, kept

    def error(self, message: str) -> NoReturn:
        words = re.findall(r"unrecognized arguments: (--?[A-Za-z][^\s=]*)", message)
        flags = [name for action in self._actions for name in action.option_strings]
        hints = [found for word in words if (found := nearest(word, flags))]
        hint = hints[0] if hints else f"'{self.prog} --help' lists what it takes"
        self.exit(2, f"{self.prog}: error: {message}\n  hint: {hint}\n")


def _is_value(flag: str, following: str) -> bool:
    """Whether the word after a tolerated flag is the flag's."""
    if "=" in flag:
        return False
    return flag.endswith("-options") or not (following.startswith("-") or Path(following).exists())


def verb_parser(verb: str, summary: str, examples: str) -> VerbParser:
    """A parser that shows `examples` (lines) at the end of its help."""
    parser = VerbParser(
        prog=f"axonc {verb}",
        description=summary,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # else --pipeline would be taken for --pipeline-cores
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
