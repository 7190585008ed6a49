"""One direction of data flow: which part of axonc may import which.

A folder is a stage or a level. A level may be imported by all parts above it, a stage by none but
the driver. The table says for each part what it may import besides itself and the ground
(GROUND); a module belongs to the part with the longest name that is
the beginning of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_tree import ROOT, module_name, source_files

GROUND = {"axonc.diagnostics", "axonc.version", "axonc.project_paths"}

MACHINE = {"backends.targets", "backends.numerics", "backends.isa"}
BACKENDS = MACHINE | {
    "backends", "backends.program", "backends.link", "backends.encoding", "backends.cost",
}  # fmt: skip
DIALECTS = BACKENDS | {"dialects", "dialects.neuron", "dialects.ntile"}
GRAPH = DIALECTS | {"passes", "passes.base", "passes.unsupported", "passes.graph"}
TILES = DIALECTS | {"passes", "passes.base", "passes.tile_level"}
SHARED = {"backends.targets", "backends.numerics", "options", "sharding", "weights"}
IMPORTED = SHARED | {"imported", "dialects.neuron.argument_names"}
EXECUTOR = BACKENDS | {"backends.executor.steps", "backends.executor.memory"}
TIMED = EXECUTOR | {"backends.executor.semantics", "backends.executor.time"}
BOUND = TIMED | {"backends.executor.native", "backends.executor.effects"}
EVERYTHING = {"*"}

MAY_IMPORT: dict[str, set[str]] = {
    # the machine
    "backends": set(),
    "backends.targets": set(),
    "backends.numerics": set(),
    "backends.isa": {"backends.targets", "backends.numerics"},
    "backends.program": MACHINE,
    "backends.link": MACHINE | {"backends.program", "backends.encoding"},
    "backends.encoding": MACHINE | {"backends.program"},
    "backends.cost": MACHINE | {"backends.program"},
    "backends.executor": {"backends.executor.machine"},
    "backends.executor.blas_threads": set(),
    "backends.executor.steps": BACKENDS,
    "backends.executor.memory": BACKENDS | {"backends.executor.steps"},
    "backends.executor.semantics": EXECUTOR,
    "backends.executor.time": TIMED,
    "backends.executor.native": TIMED,
    "backends.executor.effects": BOUND,
    "backends.executor.blocks": BOUND,
    "backends.executor.laws": BOUND,
    "backends.executor.machine": BOUND
    | {"backends.executor.blocks", "backends.executor.laws", "backends.executor.blas_threads"},
    "backends.executor.cores": BOUND
    | {"backends.executor.machine", "backends.executor.laws", "backends.executor.blas_threads"},
    "backends.executor.trace": TIMED | {"backends.executor.machine"},
    # the words
    "dialects": BACKENDS,
    "dialects.neuron": DIALECTS,
    "dialects.ntile": DIALECTS,
    # the verbs: tensors
    "passes": set(),
    "passes.base": DIALECTS | {"passes"},
    "passes.unsupported": DIALECTS | {"passes"},
    "passes.blocks": DIALECTS | {"passes", "passes.base"},
    "passes.graph": GRAPH,
    "passes.prepare": GRAPH,
    "passes.control": GRAPH | {"passes.blocks"},
    "passes.legalize": GRAPH,
    "passes.canonicalize": GRAPH,
    "passes.recognize": GRAPH,
    "passes.cast": GRAPH | {"weights"},
    "passes.fuse": GRAPH,
    "passes.layout": GRAPH,
    # tiling reads the layouts that were chosen, and makes the first state of the tile level
    "passes.tile": GRAPH | {"passes.layout", "passes.tile_level"},
    # the verbs: tiles
    "passes.tile_level": TILES,
    "passes.schedule": TILES,
    "passes.memory": TILES | {"passes.blocks"},
    "passes.lower": TILES | {"passes.blocks"},
    # what a program is before our dialects
    "sharding": {"backends.targets", "backends.numerics"},
    "options": {"backends.targets", "backends.numerics"},
    "output_files": set(),
    "weights": SHARED,
    "imported": SHARED | {"dialects.neuron.argument_names"},
    "partition": IMPORTED,
    "frontends": IMPORTED | {"partition"},
    # compiling and running
    "context": DIALECTS | {"passes.base"},
    "pass_manager": GRAPH | {"passes.blocks", "output_files"},
    "program": BACKENDS | SHARED | {"passes.cast.cast_report", "output_files"},
    "driver": GRAPH
    | TILES
    | IMPORTED
    | {
        "context", "pass_manager", "program", "partition", "frontends", "passes.prepare",
        "passes.control", "passes.legalize", "passes.canonicalize",
        "passes.recognize", "passes.cast",
        "passes.fuse", "passes.layout", "passes.tile", "passes.schedule", "passes.memory",
        "passes.lower",
    },
    "run": SHARED | {"dialects.neuron.argument_names"}
    | BOUND
    | {"program", "output_files", "backends.executor", "backends.executor.machine",
       "backends.executor.cores", "backends.executor.trace", "backends.executor.laws"},
    "kernel": EVERYTHING,
    "api": EVERYTHING,
    "tools": EVERYTHING,
    "": EVERYTHING,
}  # fmt: skip

PARTS = sorted(MAY_IMPORT, key=len, reverse=True)

ALLOWED: dict[tuple[str, str], str] = {}
"""(module, module it imports): the reason. No more than two."""


def part_of(module: str) -> str:
    """The part of the table a module belongs to."""
    inner = module.removeprefix("axonc").removeprefix(".")
    return next(p for p in PARTS if not p or inner == p or inner.startswith(f"{p}."))


def imports(path: Path) -> Iterator[str]:
    """Modules of ours that a file imports, except for type checkers; of packages, the modules that
    are named in them."""
    tree = ast.parse((ROOT / path).read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    modules = {module_name(p) for p in source_files()}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("axonc"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("axonc"):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in modules else str(node.module)


def wrong_imports(part: str) -> list[str]:
    allowed = MAY_IMPORT[part]
    found = []
    for path in source_files():
        module = module_name(path)
        if part_of(module) != part or allowed == EVERYTHING:
            continue
        for used in imports(path):
            home = part_of(used)
            fine = home == part or home in allowed or used in GROUND or used in allowed
            fine = fine or used.removeprefix("axonc.") in allowed
            if not fine and (module, used) not in ALLOWED:
                found.append(f"{path}: {used}")
    return found


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_imports_go_one_way(part: str) -> None:
    assert wrong_imports(part) == []


MLIR_HOMES = {
    "jaxlib.mlir": ("axonc.imported.", "axonc.partition.", "axonc.frontends."),
    "torch_mlir": (
        "axonc.context", "axonc.pass_manager", "axonc.driver.", "axonc.dialects", "axonc.passes.",
        "axonc.backends.executor.native.", "axonc.kernel", "axonc.tools.", "axonc.frontends.torch.",
    ),
}  # fmt: skip
"""Two copies of MLIR live in one process; objects of one mean nothing to the other."""


@pytest.mark.parametrize("library", sorted(MLIR_HOMES))
def test_each_copy_of_mlir_is_imported_in_its_own_parts(library: str) -> None:
    wrong = [
        str(path)
        for path in source_files()
        if library in (ROOT / path).read_text()
        and not module_name(path).startswith(MLIR_HOMES[library])
        and any(used.startswith(library) for used in all_imports(path))
    ]
    assert wrong == []


def all_imports(path: Path) -> Iterator[str]:
    """Every module a file imports, ours or not."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
