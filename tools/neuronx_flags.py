"""Flags of `neuronx-cc compile` that have no separate meaning here: accepted, with a one-line note.

Names, values and meanings: machine.md#compiler-flags (the neuronx-cc command-line reference).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from axonc.diagnostics import UsageError, nearest


@dataclass(frozen=True)
class AcceptedFlag:
    """A flag of neuronx-cc that is taken and changes nothing."""

    names: tuple[str, ...]
    note: str
    """Printed when the flag is given, unless its value is in `quiet_values`."""
    meaning: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    """Values it may have; none: any, of type `kind`."""
    quiet_values: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    """Values that are documented but cannot be had here, with the reason. An empty metavar makes it
    a switch without a value."""
    kind: type = str

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
        "no effect: how a program is cut over cores is said by its shardings, or --cores",
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
        ("1", "2"),
        ("1",),
        {"2": "a NeuronCore-v2 cannot be half of a logical core; trn2's NeuronCore-v3 can"},
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
        "no effect: infinities are kept; --exact-transposes keeps them from the first call on",
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
        kind=int,
    ),
    AcceptedFlag(
        ("--enable-experimental-O1",),
        "replaced by --optlevel 1",
        "old name of -O1",
    ),
    AcceptedFlag(
        ("--tensorizer-options",),
        "no effect: options of another compiler's passes",
        "options of neuronx-cc's tensorizer",
        "OPTIONS",
    ),
    AcceptedFlag(
        ("--hlo2tensorizer-options",),
        "no effect: options of another compiler's passes",
        "options of neuronx-cc's front end",
        "OPTIONS",
    ),
    AcceptedFlag(
        ("--fast-math",),
        "no effect: what is rounded is said by --auto-cast and --auto-cast-type",
        "fast relayout and casts of neuron-cc",
        "WHAT",
    ),
    AcceptedFlag(
        ("--fp32-cast",),
        "no effect: what is rounded is said by --auto-cast and --auto-cast-type",
        "casts of neuron-cc",
        "WHAT",
    ),
    AcceptedFlag(
        ("--hbm-scratchpad-page-size",),
        "no effect: device memory has no pages here",
        "page size of scratch memory in MiB",
        "MIB",
        kind=int,
    ),
    AcceptedFlag(
        ("--compile_workdir", "--workdir"),
        "no effect: nothing is written but the program; --dump-ir DIR writes the steps",
        "where torch-neuronx leaves files of a compile",
        "DIR",
    ),
    AcceptedFlag(
        ("--cache_dir",),
        "no effect: there is no cache of compiled programs",
        "torch-neuronx's cache of compiled programs",
        "DIR",
    ),
    AcceptedFlag(
        ("--no_cache",),
        "always so here: there is no cache of compiled programs",
        "compile in any case",
    ),
    AcceptedFlag(
        ("--retry_failed_compilation",),
        "always so here: there is no cache of compiled programs",
        "compile what failed before",
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
            choices = f" ({', '.join(flag.choices)})" if flag.choices else ""
            group.add_argument(
                *flag.names,
                dest=flag.destination,
                metavar=flag.metavar,
                choices=flag.choices or None,
                type=flag.kind,
                help=flag.meaning + choices,
            )
        else:
            group.add_argument(
                *flag.names, dest=flag.destination, action="store_true", help=flag.meaning
            )


def notes_of(options: argparse.Namespace) -> Iterator[str]:
    """A line for each such flag that was given.

    Raises:
        UsageError: a value that cannot be had here.
    """
    for flag in ACCEPTED_FLAGS:
        value = getattr(options, flag.destination)
        if value in flag.refused:
            raise UsageError(f"{flag.names[0]} {value}: {flag.refused[value]}")
        if value and value not in flag.quiet_values:
            yield f"{flag.names[0]}: {flag.note}"
    for word in options.tolerated:
        yield f"{word.partition('=')[0]}: no effect: an internal option of neuronx-cc"
    for name, value in respelled(options).items():
        flag_name = "--" + name.replace("_", "-")
        yield f"{flag_name} {getattr(options, name)}: taken for {flag_name} {value}"


INTERNAL_FLAGS = (
    "--internal-", "--experimental-", "--enable-internal-", "--disable-internal-", "--no-internal-",
)  # fmt: skip
"""Beginnings of flags that frameworks write and no page documents."""

SPELLINGS: dict[str, dict[Any, Any]] = {
    "auto_cast": {"matmul": "matmult"},
    "optlevel": {0: 1},
    "model_type": {"cnn-training": "generic", "unet": "unet-inference"},
}
"""Values that scripts write, by option, and what they mean."""


def respelled(options: argparse.Namespace) -> dict[str, Any]:
    """Options whose value is one of `SPELLINGS`, put right."""
    return {
        name: known[getattr(options, name)]
        for name, known in SPELLINGS.items()
        if getattr(options, name) in known
    }


# Instances whose NeuronCores are those of another target, and what differs.
SAME_CORES = {"trn1n": ("trn1", "the network between instances, which is not modelled")}
NEWER_TARGETS = {"trn2": "NeuronCore-v3", "trn3": "NeuronCore-v4"}


def known_target(name: str) -> tuple[str, str]:
    """(the target to compile for, a note or "") for a --target of neuronx-cc. Any other name is
    returned as it is.

    Raises:
        UsageError: its cores are of a generation that is not described here.
    """
    if name in NEWER_TARGETS:
        raise UsageError(
            f"--target {name} has {NEWER_TARGETS[name]} cores; NeuronCore-v2 is compiled for",
            hint="inf2 and trn1 have it",
        )
    if name not in SAME_CORES:
        return name, ""
    target, difference = SAME_CORES[name]
    return target, f"--target {name}: compiled for {target}; it differs in {difference}"


DOWNCASTS = ("dot", "scatter", "all_reduce", "reduce_scatter", "pow")
"""Operations --implicit-integer-downcast may list."""


def allows_lossy_integers(value: str | None) -> tuple[bool, str]:
    """(whether 64-bit arithmetic may wrap at 32 bits, a note or "") for the value of
    --implicit-integer-downcast. Without the flag, and for a list, it may not.

    Raises:
        UsageError: an operation that cannot be listed.
    """
    if value in (None, "none"):
        return False, ""
    if value in ("all", "default"):
        return True, "64-bit integer arithmetic may wrap at 32 bits"
    for name in str(value).split(","):
        if name not in DOWNCASTS:
            known = ("all", "default", "none", *DOWNCASTS)
            hint = nearest(name, known) or f"known: {', '.join(known)}"
            raise UsageError(f"--implicit-integer-downcast does not know '{name}'", hint=hint)
    return False, f"--implicit-integer-downcast {value}: only all or none here; none is used"
