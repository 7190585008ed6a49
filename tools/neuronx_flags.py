"""Flags of `neuronx-cc compile` that have no separate meaning here: accepted, with a one-line note.

Names, values and meanings: hardware.md 5.1 (the neuronx-cc command-line reference).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class AcceptedFlag:
    """note: printed when the flag is given, unless its value is in `quiet_values`.

    choices: values it may have; none: any. An empty metavar makes it a switch without a value.
    """

    names: tuple[str, ...]
    note: str
    meaning: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    quiet_values: tuple[str, ...] = ()

    @property
    def destination(self) -> str:
        return self.names[0].lstrip("-").replace("-", "_")


ACCEPTED_FLAGS = (
    AcceptedFlag(
        ("--framework",),
        "every input is StableHLO or HLO here",
        "framework the model comes from",
        "NAME",
        ("XLA",),
        ("XLA",),
    ),
    AcceptedFlag(
        ("--native-int64",),
        "NeuronCore-v2 has no 64-bit integers",
        "keep 64-bit integers (trn2 only)",
        "MODE",
        ("default", "enabled", "disabled"),
        ("default", "disabled"),
    ),
    AcceptedFlag(
        ("--distribution-strategy",),
        "one NeuronCore is compiled for; nothing is sharded",
        "passes for sharded training",
        "NAME",
        ("llm-training", "NEMO", "generic"),
        ("generic",),
    ),
    AcceptedFlag(
        ("--logical-nc-config", "-lnc", "--lnc"),
        "a logical core is a physical one on NeuronCore-v2",
        "physical cores per logical core",
        "N",
        ("1",),
        ("1",),
    ),
    AcceptedFlag(
        ("--enable-mixed-precision-accumulation",),
        "always so here: reductions and norms accumulate in FP32",
        "FP32 intermediates in softmax, layer norm and reductions",
    ),
    AcceptedFlag(
        ("--disable-mixed-precision-accumulation",),
        "no effect: reductions and norms accumulate in FP32 all the same",
        "narrow intermediates",
    ),
    AcceptedFlag(
        ("--enable-saturate-infinity",),
        "no effect: infinities in a transpose are an error; --exact-transposes keeps them",
        "infinities become the largest finite value before transposes",
    ),
    AcceptedFlag(
        ("--enable-fast-context-switch",),
        "no effect: weights are loaded when a program is",
        "load weights at run time",
    ),
    AcceptedFlag(
        ("--enable-fast-loading-neuron-binaries",),
        "no effect: program files are never compressed",
        "uncompressed output",
    ),
    AcceptedFlag(
        ("--num-parallel-jobs",),
        "no effect: the compiler works in one thread",
        "parallel compile jobs",
        "N",
    ),
    AcceptedFlag(
        ("--enable-experimental-O1",),
        "replaced by --optlevel 1",
        "old name of -O1",
    ),
    AcceptedFlag(
        ("--experimental-unsafe-fp8e4m3fn-as-fp8e4m3",),
        "no effect: e4m3fn is converted, never reinterpreted",
        "read e4m3fn bits as e4m3",
    ),
)


def add_accepted_flags(parser: argparse.ArgumentParser) -> None:
    """All of them, in a help section of their own."""
    group = parser.add_argument_group(
        "neuronx-cc flags without a separate meaning here (accepted, with a note)"
    )
    for flag in ACCEPTED_FLAGS:
        if flag.metavar:
            choices = flag.choices or None
            group.add_argument(
                *flag.names, dest=flag.destination, metavar=flag.metavar, choices=choices,
                help=flag.meaning + (f" ({', '.join(flag.choices)})" if choices else ""),
            )  # fmt: skip
        else:
            group.add_argument(
                *flag.names, dest=flag.destination, action="store_true", help=flag.meaning
            )


def notes_of(options: argparse.Namespace) -> Iterator[str]:
    """A line for each such flag that was given."""
    for flag in ACCEPTED_FLAGS:
        value = getattr(options, flag.destination)
        if value and value not in flag.quiet_values:
            yield f"{flag.names[0]}: {flag.note}"
