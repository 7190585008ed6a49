"""The `Before:` and `After:` blocks of passes that are IR: the pass makes the one of the other."""

from __future__ import annotations

import re
import sys

import pytest

from axonc.context import make_context, parse_module
from axonc.pass_manager import PassManager, parse_pipeline
from axonc.passes.base import ModuleState
from tests.passes.test_docstrings import OURS, sketches_of

IR = (
    "auto-cast",
    "flatten-control-flow",
    "fold-batch-norm",
    "fuse-dot-epilogue",
    "fuse-elementwise",
    "group-repeated-heads",
    "guard-masked-softmax",
    "inline-calls",
    "legalize-to-neuron",
    "merge-views",
    "narrow-integers",
    "plan-casts",
    "recognize-gelu",
    "recognize-layer-norm",
    "recognize-silu",
    "recognize-softmax",
    "simplify",
    "sink-reshape",
    "sink-transpose",
    "split-kernels",
    "split-reductions",
    "split-wide-results",
)
"""Passes whose blocks are IR, not shortened and not in other words."""

LONG = "what it makes would hide in its IR what the sketch tells; its .mlir test runs it"
TILES = "tiles and streams are shown in words, shorter than their IR; its .mlir test runs it"
IN_WORDS = {
    **dict.fromkeys(
        ("add-before-reduce", "expand-complex", "expand-random", "expand-regions",
         "expand-small-types", "inline-blocks", "outline-blocks", "quantize", "scan-windows",
         "split-attention", "split-control-flow", "split-feed-forward"), LONG),
    **dict.fromkeys(
        ("allocate-memory", "assign-engines", "check-collectives", "choose-layouts", "link-blocks",
         "lower", "place-blocks", "schedule", "spill-buffers", "tile"), TILES),
}  # fmt: skip
"""Passes whose blocks are not run, and why; test_docstrings.py compares them with their cases."""

OPERATION = re.compile(r'^ *(?:%\w+ = )?(?:"[\w.]+"\(([^)]*)\)|[\w.]+ ([^:]*)).* : (.*)$')
TENSOR = re.compile(r"tensor<[^>]*>")


def arguments_of(sketch: str) -> dict[str, str]:
    """The values that no operation of it makes, with their types, by first use."""
    made = set(re.findall(r"(%\w+) =", sketch))
    found: dict[str, str] = {}
    without_regions = re.sub(r"\(\{\n.*?\n    \}\)", "({})", sketch, flags=re.S)
    for line in re.sub(r"\n {5,}", " ", without_regions).splitlines():
        operation = OPERATION.match(line)
        if operation is None:
            continue
        values = re.findall(r"%\w+", operation[1] or operation[2] or "")
        types = TENSOR.findall(operation[3].split("->")[0])
        if len(types) == 1:  # of all operands
            types *= len(values)
        for value, of in zip(values, types, strict=True):
            if value not in made:
                found.setdefault(value, of)
    return found


def module_of(sketch: str, arguments: dict[str, str]) -> str:
    """The sketch if it is a program; else one that returns what its last operation makes."""
    if "func.func @main" in sketch:
        return sketch
    body, *functions = re.split(r"^(?=    func\.func)", sketch, flags=re.M)
    result, of = re.findall(r"^ {4}(%\w+) =", body, re.M)[-1], TENSOR.findall(body)[-1]
    parameters = ", ".join(f"{name}: {of}" for name, of in arguments.items())
    main = f"func.func @main({parameters}) -> {of} {{\n{body}return {result} : {of}\n}}"
    return "\n".join([main, *functions])


def options_of(name: str) -> str:
    """Those that the docstring names beside `Before` or `After`."""
    text = sys.modules[OURS[name].__module__].__doc__ or ""
    return " ".join(re.findall(r"^(?:Before|After) \((\S+=[^)]*)\):$", text, re.M))


def printed(text: str, *pipeline: str) -> str:
    """The program as MLIR prints it, after the passes, and without StableHLO that is not used."""
    state = ModuleState(parse_module(text, make_context()))
    PassManager(parse_pipeline(",".join([*pipeline, "canonicalize"]))).run(state)
    return state.print()


@pytest.mark.parametrize("name", IR)
def test_the_pass_makes_what_its_docstring_shows(name: str) -> None:
    before, after = sketches_of(OURS[name])
    arguments = arguments_of(before) if "func.func @main" not in before else {}
    result = printed(module_of(before, arguments), f"{name}{{{options_of(name)}}}")
    assert result == printed(module_of(after, arguments))
    assert result != printed(module_of(before, arguments))


def test_every_pass_is_run_or_says_why_not() -> None:
    assert {*IR} | {*IN_WORDS} == {*OURS} and not {*IR} & {*IN_WORDS}
