"""Passes, their registry, textual pipelines, and the manager that runs, checks, times and dumps.

A pass is a frozen dataclass in `passes/<name>.py`; its fields are its options. Pipelines mix our
passes and upstream MLIR passes: `canonicalize,cse,func.func(cse),auto-cast{mode=all type=fp16}`.
The manager knows nothing of MLIR modules: it works on a `State`, of which `ModuleState` is one
kind.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import lark
from torch_mlir import ir
from torch_mlir.passmanager import PassManager as UpstreamManager

import axonc.passes
from axonc.diagnostics import AxoncError, InternalError, UsageError, nearest
from axonc.output_files import written_whole
from axonc.passes.base import REGISTRY, Pass, State, UpstreamPass, pass_label
from axonc.passes.blocks import run_pass

# ---- passes --------------------------------------------------------------------------------------


def find_pass(name: str) -> type[Pass] | None:
    """The pass of this name, from the file of that name in `passes/`; None when there is none."""
    module = _pass_modules().get(name.replace("-", "_"))
    if name not in REGISTRY and module:
        importlib.import_module(module)
    return REGISTRY.get(name)


@cache
def _pass_modules() -> dict[str, str]:
    """Every module of `passes/` by the last part of its name; files of passes have unique ones."""
    found = pkgutil.walk_packages(axonc.passes.__path__, "axonc.passes.")
    return {m.name.rpartition(".")[2]: m.name for m in found if not m.ispkg}


def all_passes() -> dict[str, type[Pass]]:
    """Every pass by name."""
    for name in sorted(_pass_modules()):
        importlib.import_module(_pass_modules()[name])
    return {name: REGISTRY[name] for name in sorted(REGISTRY) if name != UpstreamPass.name}


# ---- textual pipelines ---------------------------------------------------------------------------

_GRAMMAR = lark.Lark(
    r"""
    start: [item ("," item)*]
    item: NAME [options] [nested]
    options: "{" (NAME "=" VALUE ","?)* "}"
    nested: "(" item ("," item)* ")"
    NAME: /[A-Za-z_][\w.\-]*/
    VALUE: /[^\s{},]+/
    %ignore /\s+/
    """,
    parser="lalr",
)


def parse_pipeline(text: str) -> list[Pass]:
    """The passes of a textual pipeline.

    Raises:
        UsageError: it does not parse; an unknown pass or option; a bad value.
    """
    try:
        tree = _GRAMMAR.parse(text)
    except lark.UnexpectedInput as error:
        where = getattr(error, "column", -1)
        raise UsageError(
            f"pipeline '{text}' does not parse at column {where}",
            hint="write it as name,name{option=value},func.func(name)",
        ) from None
    return [
        p for item in tree.children if isinstance(item, lark.Tree) for p in _passes_of(item, ())
    ]


def _passes_of(item: lark.Tree, path: tuple[str, ...]) -> Iterator[Pass]:
    name, options, nested = item.children
    if nested is not None:
        outer = path if str(name) == "builtin.module" else (*path, str(name))
        for child in nested.children:
            yield from _passes_of(child, outer)
        return
    words = [str(token) for token in options.children] if options is not None else []
    pairs = dict(zip(words[::2], words[1::2], strict=True))
    ours = find_pass(str(name))
    yield configure(ours, pairs) if ours else _upstream(str(name), pairs, path)


def option_fields(kind: type[Pass] | Pass) -> list[dataclasses.Field[Any]]:
    """The fields of a pass that are options. Fields without repr hold what is no text: weights,
    samples."""
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    return [f for f in fields if f.init and f.repr]


def configure(kind: type[Pass], options: dict[str, str]) -> Pass:
    """A pass with options given as text, kebab-case or snake_case."""
    fields = {f.name: f for f in option_fields(kind)}
    values: dict[str, Any] = {}
    for key, text in options.items():
        name = key.replace("-", "_")
        if name not in fields:
            known = ", ".join(fields) or "none"
            raise UsageError(
                f"pass '{kind.name}' has no option '{key}' (options: {known})",
                hint=nearest(name, fields),
            )
        values[name] = _parsed(kind.name, key, text, str(fields[name].type))
    return kind(**values)


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text]


def _texts(text: str) -> tuple[str, ...]:
    return tuple(text.split(";"))


_PARSERS: dict[str, Callable[[str], Any]] = {
    "bool": _boolean, "int": int, "float": float, "str": str,
    "tuple[str, ...]": _texts,
}  # fmt: skip


def _parsed(pass_name: str, key: str, text: str, kind: str) -> Any:
    try:
        return _PARSERS[kind](text)
    except (KeyError, ValueError):
        raise UsageError(
            f"option '{key}' of pass '{pass_name}' is a {kind}, got '{text}'"
        ) from None


def _upstream(name: str, options: dict[str, str], path: tuple[str, ...]) -> UpstreamPass:
    text = name
    if options:
        text += "{" + " ".join(f"{k}={v}" for k, v in options.items()) + "}"
    for anchor in reversed(path):
        text = f"{anchor}({text})"
    try:
        UpstreamManager.parse(f"builtin.module({text})", ir.Context())
    except (ValueError, ir.MLIRError):
        known = [n.replace("_", "-") for n in _pass_modules()]
        raise UsageError(f"no pass '{text}'", hint=nearest(name, known)) from None
    return UpstreamPass(text)


# ---- the manager ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ManagerOptions:
    """on_pass(name, index, total) is called before each pass."""

    dump_dir: Path | None = None
    """Numbered IR files go there."""
    print_after: tuple[str, ...] = ()
    """Names, or ("all",)."""
    skip: tuple[str, ...] = ()
    """Passes not to run."""
    time_passes: bool = False
    verify_each: bool = True
    check_claims: bool = True
    """With `verify_each`: after each pass, verify the state, and check that a pass which says it
    changed nothing did not."""
    on_pass: Callable[[str, int, int], None] | None = None
    stream: TextIO = field(default_factory=lambda: sys.stderr)


@dataclass(frozen=True)
class PassTiming:
    """What one pass took, with verification and dumps left out."""

    name: str
    seconds: float
    changed: bool


class PassManager:
    """Runs passes in order. `timings` holds one entry per pass that ran."""

    def __init__(self, passes: Sequence[Pass], options: ManagerOptions | None = None) -> None:
        self.passes = tuple(passes)
        self.options = options or ManagerOptions()
        self.timings: list[PassTiming] = []
        self._dumped = 0

    def run(self, state: State) -> State:
        """The state after all passes.

        Raises:
            AxoncError: as passes raise. InternalError: a pass crashed, broke a rule, or lied about
                having changed nothing; names the pass and the file with the IR before it.
        """
        self._dump(state, "input")
        for index, item in enumerate(self.passes):
            if pass_label(item) in self.options.skip:
                continue
            if self.options.on_pass:
                self.options.on_pass(pass_label(item), index, len(self.passes))
            state = self._run_one(item, state)
        if self.options.time_passes:
            self._report_times()
        return state

    def _run_one(self, item: Pass, state: State) -> State:
        before = state.snapshot()
        mark = state.fingerprint() if self.options.check_claims else b""
        start = time.perf_counter()
        try:
            after, changed = run_pass(item, state)
        except AxoncError as error:
            _name_pass(error, item)
            raise
        except Exception as error:
            raise self._internal(item, before, f"{type(error).__name__}: {error}") from error
        self.timings.append(PassTiming(pass_label(item), time.perf_counter() - start, changed))
        if not changed and after is state and mark and after.fingerprint() != mark:
            raise self._internal(item, before, "it says it changed nothing, but it did")
        if changed or after is not state:
            self._after_change(item, after, before)
        return after

    def _after_change(self, item: Pass, state: State, before: Callable[[], str]) -> None:
        if self.options.verify_each:
            try:
                state.verify()
            except Exception as error:
                raise self._internal(item, before, f"its result is not valid: {error}") from error
        self._dump(state, pass_label(item))
        if {"all", pass_label(item)} & set(self.options.print_after):
            self.options.stream.write(f"// ---- after {pass_label(item)}\n{state.print()}\n")

    def _internal(self, item: Pass, before: Callable[[], str], what: str) -> InternalError:
        """An InternalError; the IR before the pass is on disk when it is raised."""
        folder = self.options.dump_dir or Path(tempfile.mkdtemp(prefix="axonc-"))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"before-{_file_name(pass_label(item))}.mlir"
        _write(path, before())
        return InternalError(
            f"pass failed: {what}",
            pass_name=pass_label(item),
            hint=f"the IR before the pass is in {path}; please report it. Repeat with: "
            f"axonc opt {path} --pass-pipeline '{pipeline_text(item)}'",
        )

    def _dump(self, state: State, name: str) -> None:
        if self.options.dump_dir is None:
            return
        self.options.dump_dir.mkdir(parents=True, exist_ok=True)
        path = self.options.dump_dir / f"{self._dumped:03d}-{_file_name(name)}.mlir"
        _write(path, state.print())
        self._dumped += 1

    def _report_times(self) -> None:
        for timing in self.timings:
            note = "" if timing.changed else "  (unchanged)"
            self.options.stream.write(f"{timing.seconds * 1e3:9.2f} ms  {timing.name}{note}\n")


def pipeline_text(item: Pass) -> str:
    """The pass as a textual pipeline says it."""
    if isinstance(item, UpstreamPass):
        return item.pipeline
    options = " ".join(
        f"{f.name.replace('_', '-')}={_option_text(getattr(item, f.name))}"
        for f in option_fields(item)
        if getattr(item, f.name) != ()
    )
    return f"{item.name}{{{options}}}" if options else item.name


def _option_text(value: object) -> str:
    if isinstance(value, tuple):
        return ";".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _write(path: Path, text: str) -> None:
    """Raises: UsageError where it cannot be written."""
    with written_whole(path) as file:
        file.write(text.encode())


def _file_name(label: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in label)[:60]


def _name_pass(error: AxoncError, item: Pass) -> None:
    """Say in the error which pass it came from, unless it says so already."""
    if not error.pass_name:
        error.pass_name = pass_label(item)
        error.args = (error.render(),)
