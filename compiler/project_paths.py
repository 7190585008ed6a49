"""Source files by their place in the project or package they belong to, not on this machine.

A program says of each instruction which line it came from. With the paths of one machine in it, the
same model compiled in another folder would be another program, and a program given away would tell
where its author works.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path, PurePath

PACKAGES = ("site-packages", "dist-packages")
PROJECT_MARKS = ("pyproject.toml", "setup.py", "setup.cfg", ".git", ".hg")
"""What lies in the outermost folder of a project."""


@cache
def project_path(file: str) -> str:
    """`file` relative to the folder of installed packages or to its project's folder; its name
    alone where it is in neither. Names that are no absolute paths stay as they are."""
    path = PurePath(file)
    if not path.is_absolute():
        return file
    for packages in PACKAGES:
        if packages in path.parts:
            last = len(path.parts) - 1 - path.parts[::-1].index(packages)
            return PurePath(*path.parts[last + 1 :]).as_posix()
    for folder in Path(file).parents:
        if any((folder / mark).exists() for mark in PROJECT_MARKS):
            return path.relative_to(folder).as_posix()
    return path.name
