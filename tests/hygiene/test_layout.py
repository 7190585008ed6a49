"""The tree is what pyproject.toml, the design and the registries say it is."""

from __future__ import annotations

import ast
import tomllib
from collections import Counter

from source_tree import ROOT, module_name, source_files, tracked

# design.md: the top level, and nothing else (dot files are configuration).
TOP_LEVEL = {
    "pyproject.toml", "README.md", "Makefile", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md",
    "compiler", "dialects", "passes", "backends", "tests", "tools", "docs",
}  # fmt: skip


def test_package_list_matches_the_folders() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed = set(tomllib.load(file)["tool"]["setuptools"]["packages"])
    found = {module_name(p) for p in source_files() if p.name == "__init__.py"}
    assert listed == found


def test_every_folder_with_code_is_a_package() -> None:
    folders = {p.parent for p in source_files()}
    assert [f for f in folders if not (ROOT / f / "__init__.py").exists()] == []


def test_top_level_is_what_the_design_fixes() -> None:
    names = {p.parts[0] for p in tracked()}
    assert {n for n in names if not n.startswith(".")} <= TOP_LEVEL


def test_no_folder_is_one_big_room() -> None:
    sizes = Counter(p.parent for p in source_files() if p.name != "__init__.py")
    assert {str(folder): n for folder, n in sizes.items() if n > 25} == {}


def test_files_of_passes_have_names_of_their_own() -> None:
    """The registry finds a pass by the last part of its module's name."""
    from axonc.pass_manager import all_passes

    passes = {name.replace("-", "_") for name in all_passes()}
    stems = Counter(p.stem for p in source_files() if p.parts[0] == "passes")
    assert {stem for stem in passes if stems[stem] > 1} == set()


def test_no_file_is_called_by_no_subject() -> None:
    vague = {"utils.py", "helpers.py", "misc.py", "common.py", "util.py"}
    assert [str(p) for p in tracked() if p.name in vague] == []


def test_every_source_file_says_what_it_is() -> None:
    silent = [
        str(path)
        for path in source_files()
        if not ast.get_docstring(ast.parse((ROOT / path).read_text()))
    ]
    assert silent == []


def test_passes_are_found_by_the_name_of_their_file() -> None:
    from axonc.pass_manager import all_passes

    ours = {n: k for n, k in all_passes().items() if k.__module__.startswith("axonc.")}
    assert len(ours) > 10  # other tests register passes of their own
    for name, kind in ours.items():
        home = kind.__module__.rpartition(".")[2]
        assert home == name.replace("-", "_"), (name, home)
        assert kind.summary().endswith("."), name


def test_every_compile_stage_is_a_registered_pass() -> None:
    from axonc.driver.driver import machine_pipeline
    from axonc.driver.pipeline import tensor_pipeline
    from axonc.pass_manager import all_passes
    from axonc.passes.base import UpstreamPass

    known = set(all_passes().values()) | {UpstreamPass}
    assert {type(p) for p in (*tensor_pipeline(), *machine_pipeline("inf2"))} <= known


def test_every_verb_has_its_module() -> None:
    from axonc.tools.cli import VERBS

    for verb in VERBS:
        module = verb.load()
        assert callable(module.make_parser) and callable(module.run)


def test_registry_host_names_are_nowhere() -> None:
    hosts = ("pypi" + ".org", "python" + "hosted.org", "download.py" + "torch.org")
    text_files = [p for p in tracked() if p.suffix in (".py", ".md", ".toml", ".mlir", "")]
    found = [
        str(p)
        for p in text_files
        if any(h in (ROOT / p).read_text(errors="replace") for h in hosts)
    ]
    assert found == []
