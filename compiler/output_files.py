"""Files that axonc writes: whole or not at all, and never over what it reads.

A file is written beside its place, under a name of its own, and takes the place when it is
complete. So a reader sees the old file or the new one; of two writers the last one wins. What is
left of a writer that was killed is removed by the next one that writes into the folder: as long as
a writer lives, it holds a lock on its file.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from axonc.diagnostics import UsageError

try:
    import fcntl
except ImportError:  # Windows: nothing is removed there
    fcntl = None  # type: ignore[assignment]

_SUFFIX = ".axonc-partial"


def check_output(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Fail before long work rather than after it. inputs: files that must not be written over,
    under whatever name.

    Raises:
        UsageError: `path` is one of the inputs, a directory or a device; or its folder is missing
        or cannot be written.
    """
    for given in inputs:
        if _is_same(path, given):
            raise UsageError(
                f"cannot write {path}: it is the input {given}", hint="write it under another name"
            )
    place = _place(path)
    if place.exists() and not place.is_file():
        raise UsageError(f"cannot write {path}: it is not a regular file")
    folder = place.parent
    if not folder.is_dir():
        raise UsageError(f"cannot write {path}: no folder {folder}", hint=f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write {path}: folder {folder} is not writable")


def _is_same(path: Path, given: Path) -> bool:
    """Also through links, hard ones too."""
    try:
        return os.path.samefile(path, given)
    except OSError:  # one of them is not there
        return os.path.realpath(path) == os.path.realpath(given)


def _place(path: Path) -> Path:
    """Where the file is to be: a symbolic link stays one."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextmanager
def written_whole(path: Path, inputs: Iterable[Path] = ()) -> Iterator[BinaryIO]:
    """A file for writing that appears as `path` when the block ends well, and not at all otherwise.
    It has the mode of the file it replaces. inputs: as for `check_output`.

    Raises:
        UsageError: it cannot be written (an input, a missing folder, no permission, a full disk).
    """
    check_output(path, inputs)
    place = _place(path)
    try:
        _remove_leftovers(place.parent)
        with _partial(place) as (temporary, file):
            yield file
            file.flush()
            os.replace(temporary, place)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


@contextmanager
def _partial(place: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside `place`, locked; gone when the block ends, unless it has been moved."""
    temporary, descriptor = _locked_file(place)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            if place.exists():
                os.chmod(temporary, stat.S_IMODE(place.stat().st_mode))
            yield temporary, file
    finally:
        temporary.unlink(missing_ok=True)


def _locked_file(place: Path) -> tuple[Path, int]:
    """A new file of this process. Another process that removes leftovers may delete it before it is
    locked; then a further one is made."""
    while True:
        token = secrets.token_hex(4)
        temporary = place.with_name(f".{place.name[:_MAX_NAME]}.{token}{_SUFFIX}")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        is_ours = fcntl is None or _lock(descriptor)
        if is_ours and os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)


_MAX_NAME = 100
"""Characters of the name that go into that of the partial file: names have 255 bytes."""


def _lock(descriptor: int) -> bool:
    """Lock the file; whether no other process has it locked."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_leftovers(folder: Path) -> None:
    """Delete partial files whose writers have ended."""
    for path in folder.glob(f".*{_SUFFIX}"):
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:  # gone, or another user's
            continue
        try:
            if _lock(descriptor):
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
