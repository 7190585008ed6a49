"""What a user may choose about a compile, with the names and meanings of `neuronx-cc compile`.

Each option is one field of `CompileOptions`: its type, default, values, help text and flag. The
keyword arguments of `axonc.compile`, the flags of `axonc compile`, their `--help` and the manifest
of a program are made from the fields (docs/how-to-add/option.md).

Source of names, values and defaults: machine.md#compiler-flags (the neuronx-cc command-line
reference).
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from axonc.backends.numerics.format_names import FORMAT_NAMES, SCALE_OPTIONS
from axonc.backends.targets import TARGETS
from axonc.diagnostics import UsageError, nearest

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Flag:
    """How the command line asks for an option, where that does not follow from the field."""

    names: tuple[str, ...] = ()
    """`--like-this`; by default the field's name."""
    metavar: str = ""
    """What stands for the value in the help."""
    help: str = ""
    """Instead of the option's own text."""
    value: Any = None
    """What the option becomes when a flag without value is given."""
    several: bool = False
    """Whether it may be given more than once."""
    by_hand: bool = False
    """Whether the command line makes the option of flags with other meanings (neuronx_flags)."""


@dataclass(frozen=True)
class Option:
    """What is known of an option besides its name, type and default."""

    help: str
    choices: tuple[Any, ...] = ()
    """The values there are; none: any that `check` accepts."""
    check: Callable[[Any], str] | None = None
    """What is wrong with a value, "" if nothing."""
    hint: str = ""
    """A good value, for who gave a bad one."""
    flags: tuple[Flag, ...] = (Flag(),)


def option(default: Any, help: str, **facts: Any) -> Any:
    """A field of `CompileOptions`."""
    return field(default=default, metadata={"option": Option(help, **facts)})


def _is_cosine(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    good = is_number and 0 <= value <= 1
    return "" if good else "it is the least cosine of the results to float32's"


def _is_count(value: Any) -> str:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    return "" if good else "it is a number of NeuronCores"


def _is_seed(value: Any) -> str:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32
    return "" if good else "it is a number of 32 bits, from 0 on"


@dataclass(frozen=True)
class CompileOptions:
    """The options of one compile.

    Raises:
        UsageError: a value that does not exist; names the nearest that does.
    """

    target: str = option(
        "inf2",
        "the machine to compile for",
        choices=tuple(TARGETS),
        flags=(Flag(metavar="NAME", help="inf2 (default), trn1, trn1n", by_hand=True),),
    )
    auto_cast: str = option(
        "none",
        "FP32 operations to compute in auto_cast_type: none, matmult (those of the tensor engine), "
        "or all",
        choices=("none", "matmult", "all"),
        flags=(Flag(metavar="WHAT"),),
    )
    auto_cast_type: str = option(
        "bf16",
        "the type they compute in",
        choices=("bf16", "fp16", "tf32", "fp8_e4m3", "fp8_e5m2", "fp8_e3m4"),
        flags=(Flag(metavar="TYPE"),),
    )
    weight_dtype: str = option(
        "none",
        "how weights lie in memory, if not as they are computed: an 8-bit type, with scales",
        choices=("none", *FORMAT_NAMES),
        flags=(Flag(metavar="TYPE"),),
    )
    weight_scale: str = option(
        "auto",
        "scales of 8-bit weights: channel: one per output channel, per row of a table; tensor: "
        "one; auto: channel for int8 and fp8_e3m4, whose range is small",
        choices=SCALE_OPTIONS,
        flags=(Flag(metavar="WHAT"),),
    )
    auto_cast_override: tuple[str, ...] = option(
        (),
        "another type for operations whose name, file:line, op or weight matches: fp32, bf16, "
        "fp16, tf32, an 8-bit type, or COMPUTE/STORAGE; the last match counts",
        flags=(Flag(metavar="REGEX=TYPE", several=True),),
    )
    auto_cast_budget: float = option(
        0.0,
        "search the cheapest casts whose results keep this cosine to float32's on the sample "
        "inputs (needs calibrate); 0: no search",
        check=_is_cosine,
        hint="a number up to 1, such as 0.999",
        flags=(Flag(metavar="COSINE"),),
    )
    allow_lossy_integers: bool = option(
        False,
        "let 64-bit integer arithmetic wrap at 32 bits instead of refusing it",
        flags=(
            Flag(
                names=("--implicit-integer-downcast",),
                metavar="OPS",
                help="all or default: let 64-bit integer arithmetic wrap at 32 bits; none: refuse "
                "it (what axonc does unless asked)",
                by_hand=True,
            ),
        ),
    )
    exact_transposes: bool = option(
        False,
        "transpose on VectorE, which keeps infinities and NaN (slower), also where none are "
        "expected; without, a program that meets some is compiled again so, where its source is "
        "at hand",
        flags=(Flag(value=True),),
    )
    optlevel: int = option(
        2,
        "1, 2: equal layers are compiled once, as a loop on the machine; 3: each by itself, for a "
        "few percent of modelled time; compiling takes as many times longer",
        choices=(1, 2, 3),
        flags=(Flag(names=("--optlevel", "-O"), metavar="N"),),
    )
    model_type: str = option(
        "generic",
        "accepted; one strategy serves all of its values today",
        choices=("generic", "transformer", "unet-inference"),
        flags=(Flag(metavar="NAME"),),
    )
    seed: int = option(
        0,
        "what the random numbers of a program begin with (dropout, rand, stablehlo.rng); every "
        "call of an executable draws others, and the same again after Executable.seed",
        check=_is_seed,
        flags=(Flag(metavar="N"),),
    )
    cores: int = option(
        1,
        "NeuronCores, two to a chip; a program with shardings takes as many as its mesh has",
        check=_is_count,
        flags=(Flag(metavar="N"),),
    )
    parallel: str = option(
        "none",
        "what of a program without shardings is cut over the cores: tensor: the weights (columns, "
        "then rows, two all-reduces a layer), data: the batch, pipeline: the layers",
        choices=("none", "tensor", "data", "pipeline"),
        flags=(
            Flag(
                names=("--tensor-parallel",),
                value="tensor",
                help="cut the weights over --cores: columns, then rows, two all-reduces a layer",
            ),
            Flag(
                names=("--data-parallel",),
                value="data",
                help="cut the batch over --cores; every core has all weights",
            ),
        ),
    )

    @property
    def repeat_layers(self) -> bool:
        """Whether equal layers become a loop."""
        return self.optlevel < 3

    def __post_init__(self) -> None:
        # A manifest, and a user, may give a list.
        object.__setattr__(self, "auto_cast_override", tuple(self.auto_cast_override))
        for name, about in OPTIONS.items():
            _check(name.replace("_", "-"), getattr(self, name), about)
        most = TARGETS[self.target].max_cores
        if self.cores > most:
            raise UsageError(
                f"cores is {self.cores}; the largest {self.target} instance has {most}",
                hint=f"a number from 1 to {most}",
            )

    @classmethod
    def of(cls, chosen: dict[str, Any]) -> CompileOptions:
        """The options with the chosen ones changed.

        Raises:
            UsageError: a name or value that does not exist; names the nearest that does.
        """
        for name in chosen:
            if name not in OPTIONS:
                raise UsageError(f"there is no option '{name}'", hint=_nearest_option(name))
        return cls(**chosen)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the manifest of a program."""
        return asdict(self)

    def with_changes(self, **changes: Any) -> CompileOptions:
        """A copy with some fields replaced, checked like a new one."""
        return replace(self, **changes)


OPTIONS: dict[str, Option] = {
    f.name: f.metadata["option"] for f in dataclasses.fields(CompileOptions)
}
"""What is known of each option, by its name in Python."""


def _nearest_option(name: str) -> str:
    return nearest(name, OPTIONS) or f"options: {', '.join(OPTIONS)}"


def _check(name: str, value: Any, about: Option) -> None:
    if about.choices:
        _check_choice(name, value, about.choices)
    problem = about.check(value) if about.check else ""
    if problem:
        raise UsageError(f"{name} is {value!r}; {problem}", hint=about.hint)


def _check_choice(name: str, value: object, known: tuple[Any, ...]) -> None:
    if value in known and not isinstance(value, bool):
        return
    hint = nearest(str(value), map(str, known)) or f"known: {', '.join(map(str, known))}"
    raise UsageError(f"{name} is {value!r}, which does not exist", hint=hint)


# ---- the options as keyword arguments ----------------------------------------------------------


def default_of(name: str) -> Any:
    """What an option is when nothing is said."""
    return getattr(CompileOptions, name)


def takes_options(function: _Function) -> _Function:
    """Show the options in the signature and the description of a function whose `**chosen` are
    options; `{options}` in its docstring is where they go."""
    fields, kind = dataclasses.fields(CompileOptions), inspect.Parameter.KEYWORD_ONLY
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    keywords = [
        inspect.Parameter(f.name, kind, default=f.default, annotation=f.type) for f in fields
    ]
    shown = signature.replace(parameters=[*own, *keywords])
    function.__signature__ = shown  # type: ignore[attr-defined]
    lines = "\n    ".join(_described(f.name) for f in fields)
    function.__doc__ = (function.__doc__ or "").replace("{options}", lines)
    return function


def _described(name: str) -> str:
    about = OPTIONS[name]
    values = f" ({', '.join(map(str, about.choices))})" if about.choices else ""
    return f"{name}: {about.help}{values}; default {default_of(name)!r}."


# ---- the options as flags ----------------------------------------------------------------------


def add_option_flags(group: Any) -> None:
    """Give an argparse group or parser the flags of every option."""
    for name, about in OPTIONS.items():
        exclusive = group.add_mutually_exclusive_group() if len(about.flags) > 1 else group
        for flag in about.flags:
            _add_flag(exclusive, name, about, flag)


def _add_flag(group: Any, name: str, about: Option, flag: Flag) -> None:
    names = flag.names or (f"--{name.replace('_', '-')}",)
    text = (flag.help or _help(name, about)).replace("%", "%%")
    if flag.value is not None:
        group.add_argument(
            *names, dest=name, action="store_const", const=flag.value,
            default=default_of(name), help=text,
        )  # fmt: skip
        return
    known = {} if flag.by_hand or flag.several else {"type": type(default_of(name))}
    default = None if flag.by_hand else [] if flag.several else default_of(name)
    action = "append" if flag.several else "store"
    group.add_argument(
        *names, dest=name, action=action, metavar=flag.metavar, default=default, help=text, **known
    )


def _help(name: str, about: Option) -> str:
    words = about.help.replace("auto_cast_type", "--auto-cast-type")
    words = words.replace("calibrate", "--calibrate")
    values = ", ".join(f"{c} (default)" if c == default_of(name) else str(c) for c in about.choices)
    return f"{words}: {values}" if values else words


def chosen_options(given: Any, by_hand: Mapping[str, Any]) -> CompileOptions:
    """The options that parsed flags say. by_hand: those the command line has made itself."""
    chosen = {name: getattr(given, name) for name in OPTIONS}
    return CompileOptions.of({**chosen, **by_hand})
