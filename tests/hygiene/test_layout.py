"""The tree is what pyproject.toml, the design and the registries say it is."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("compiler", "dialects", "passes", "backends", "tools")
# design.md: the top level, and nothing else (dot files are configuration).
TOP_LEVEL = {
    "pyproject.toml", "README.md", "Makefile", "LICENSE", "CHANGELOG.md",
    "compiler", "dialects", "passes", "backends", "tests", "tools", "docs",
}  # fmt: skip
# A stage knows the vocabulary before it, never one after it: what each part may import of ours.
MAY_IMPORT = {
    "axonc.backends": ("axonc.backends", "axonc.diagnostics"),
    "axonc.dialects": ("axonc.backends", "axonc.dialects", "axonc.diagnostics", "axonc.context"),
    "axonc.frontends": (
        "axonc.frontends",
        "axonc.imported",
        "axonc.partition",
        "axonc.sharding",
        "axonc.diagnostics",
        "axonc.weights",
    ),  # fmt: skip
}
# Exceptions, each with its reason.
ALLOWED = {
    # The ntile dialect is the text of tile programs; their classes live beside the passes.
    ("axonc.dialects", "axonc.dialects.ntile.program"),
    ("axonc.dialects", "axonc.dialects.ntile.footprint"),
}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [Path(name) for name in listed.stdout.split("\0") if name]


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    parts = parts[1:] if parts[0] == "compiler" else parts
    return ".".join(("axonc", *(p for p in parts if p != "__init__")))


def source_files() -> list[Path]:
    return [p for p in tracked() if p.suffix == ".py" and p.parts[0] in FOLDERS]


def runtime_imports(path: Path) -> Iterator[str]:
    """Names of our modules a file imports, except for type checkers."""
    tree = ast.parse((ROOT / path).read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("axonc"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("axonc"):
            yield str(node.module)


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


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_imports_go_one_way(part: str) -> None:
    wrong = []
    for path in source_files():
        name = module_name(path)
        if name == part or name.startswith(f"{part}."):
            wrong += [
                f"{path}: {used}"
                for used in runtime_imports(path)
                if not used.startswith(MAY_IMPORT[part]) and (part, used) not in ALLOWED
            ]
    assert wrong == []


def test_nothing_below_the_tools_imports_them() -> None:
    wrong = [
        f"{path}: {used}"
        for path in source_files()
        if path.parts[0] != "tools"
        for used in runtime_imports(path)
        if used.startswith("axonc.tools")
    ]
    assert wrong == []


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
        assert home in (name.replace("-", "_"), "tile_state"), (name, home)
        assert kind.summary().endswith("."), name


def test_every_compile_stage_is_a_registered_pass() -> None:
    from axonc.driver.driver import machine_pipeline
    from axonc.driver.pipeline import tensor_pipeline
    from axonc.pass_manager import UpstreamPass, all_passes

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
