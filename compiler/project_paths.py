"""Source files by their place in the project or package they belong to, not on this machine.

A program says of each instruction which line it came from. With the paths of one machine in it, the
same model compiled in another folder would be another program, and a program given away would tell
where its author works.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path, PurePath

PACKAGES = ("site-packages", "dist-packages")
PROJECT_MARKS = ("pyproject.toml", "setup.py", "setup.cfg", ".git", ".hg")
"""What lies in the folder of a project."""


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
    project = _project_of(Path(file))
    return path.name if project is None else path.relative_to(project).as_posix()


def openable_path(file: str, near: Iterable[str] = ()) -> str:
    """Where a file that `project_path` has named lies now, to be told to a user: relative to the
    working folder if it is in there. It is looked for in the working folder, around the files
    `near`, and where Python finds modules; found nowhere, its name has to do."""
    if not file or Path(file).is_file():
        return file
    for folder in _folders(near):
        found = folder / file
        if found.is_file():
            here = Path.cwd()
            return str(found.relative_to(here) if found.is_relative_to(here) else found)
    return file


def _folders(near: Iterable[str]) -> Iterator[Path]:
    """Folders that names may be relative to: those of files and projects, then those of modules."""
    names = ["any", *near, *(os.path.join(entry, "any") for entry in sys.path)]
    for start in (Path(os.path.abspath(name)) for name in names):
        yield start.parent
        project = _project_of(start)
        if project is not None:
            yield project


def _project_of(file: Path) -> Path | None:
    """The folder of the project that a file belongs to."""
    return next(
        (f for f in file.parents if any((f / mark).exists() for mark in PROJECT_MARKS)), None
    )
