"""Every option has three doors that agree: `axonc.compile`, the command line, the manifest."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from source_tree import ROOT

import axonc
from axonc.diagnostics import UsageError
from axonc.options import OPTIONS, CompileOptions, chosen_options
from axonc.tools import cli_compile

SOURCE = "func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> { return %x : tensor<4xf32> }"


def test_python_shows_every_option_with_its_default() -> None:
    shown = inspect.signature(axonc.compile).parameters
    for option in dataclasses.fields(CompileOptions):
        assert shown[option.name].default == option.default
        assert f"{option.name}: {OPTIONS[option.name].help}" in str(axonc.compile.__doc__)


def test_without_flags_the_command_line_has_the_defaults() -> None:
    given = cli_compile.make_parser().parse_args(["model.mlir"])
    chosen = chosen_options(given, cli_compile._made_by_hand(given))
    assert chosen == CompileOptions()


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_option_has_a_flag_with_help(name: str) -> None:
    actions = [a for a in cli_compile.make_parser()._actions if a.dest == name]
    assert actions and all(a.help for a in actions)


def test_an_option_that_does_not_exist_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'auto_cast'"):
        axonc.compile(SOURCE, autocast="all")


def test_options_as_one_object() -> None:
    executable = axonc.compile(SOURCE, options=CompileOptions(target="trn1"))
    assert executable.compiled.options.target == "trn1"
    with pytest.raises(UsageError, match="give one of them"):
        axonc.compile(SOURCE, options=CompileOptions(), target="trn1")


def test_a_new_option_is_one_field(tmp_path: Path) -> None:
    """Tried in a process of its own: a field with a text is all it takes."""
    text = (ROOT / "compiler" / "options.py").read_text()
    anchor = "    exact_transposes: bool = option("
    assert text.count(anchor) == 1
    added = '    haste: int = option(1, "how fast", choices=(1, 2), flags=(Flag(metavar="N"),))\n'
    (tmp_path / "options.py").write_text(text.replace(anchor, added + anchor))
    code = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("axonc.options", {str(tmp_path / "options.py")!r})
module = sys.modules["axonc.options"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
import axonc
from axonc.tools import cli_compile
executable = axonc.compile({SOURCE!r}, haste=2)
assert executable.compiled.options.as_dict()["haste"] == 2
given = cli_compile.make_parser().parse_args(["m.mlir", "--haste", "2"])
assert module.chosen_options(given, cli_compile._made_by_hand(given)).haste == 2
assert "how fast: 1 (default), 2" in cli_compile.make_parser().format_help()
assert "haste: how fast (1, 2)" in axonc.compile.__doc__
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
