"""The tracked files of the project, and the modules they are."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("compiler", "dialects", "passes", "backends", "tools")


@cache
def tracked() -> tuple[Path, ...]:
    """Relative to ROOT."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return tuple(Path(name) for name in listed.stdout.split("\0") if name)


def module_name(path: Path) -> str:
    """`axonc....` of a source file."""
    parts = path.with_suffix("").parts
    parts = parts[1:] if parts[0] == "compiler" else parts
    return ".".join(("axonc", *(p for p in parts if p != "__init__")))


@cache
def source_files() -> tuple[Path, ...]:
    """The Python files of the package."""
    return tuple(p for p in tracked() if p.suffix == ".py" and p.parts[0] in FOLDERS)
