"""The container of a compiled program: a zip archive with deterministic bytes, written all or
nothing.

Members are stored, not compressed: compressors differ between zlib builds, and a stored member can
be memory-mapped. Times are fixed. A file appears under its name only when it is complete.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from axonc.diagnostics import ProgramFormatError, UsageError

# The earliest time a zip entry can have (APPNOTE.TXT 4.4.6: MS-DOS dates begin in 1980).
_TIME = (1980, 1, 1, 0, 0, 0)
# Local file header: 30 bytes, name and extra lengths in the last four (APPNOTE.TXT 4.3.7).
_LOCAL_HEADER_BYTES = 30
_CHUNK_BYTES = 1 << 22
# What zipfile raises on bytes that are no zip archive, or a damaged one.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    IndexError,
    ValueError,  # with UnicodeDecodeError, of a damaged name
    RuntimeError,  # with NotImplementedError: unknown compression, encryption, version
    OverflowError,
)


def check_writable(path: Path) -> None:
    """Fail before long work rather than after it.

    Raises:
        UsageError: `path` is a directory or a device, or its folder is missing or cannot be
        written.
    """
    if path.exists() and not path.is_file():
        raise UsageError(f"cannot write {path}: it is not a regular file")
    folder = path.parent
    if not folder.is_dir():
        raise UsageError(f"cannot write {path}: no folder {folder}", hint=f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write {path}: folder {folder} is not writable")


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file for writing that appears as `path` when the block ends well, and not at all otherwise.

    Raises:
        UsageError: it cannot be written (missing folder, no permission, full disk).
    """
    check_writable(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("w+b") as file:
            yield file
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_archive(file: BinaryIO, members: Iterable[tuple[str, Iterable[bytes]]]) -> None:
    """Write members in the order given; each is the concatenation of its pieces."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, pieces in members:
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # the same bytes on every system
            with archive.open(entry, "w", force_zip64=True) as member:
                for piece in pieces:
                    member.write(piece)


class Archive:
    """A program file opened for reading. Every damage is a ProgramFormatError that names the
    file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise UsageError(f"{path}: no such program file")
        with self._naming_damage():
            with zipfile.ZipFile(path) as archive:
                self._entries = {entry.filename: entry for entry in archive.infolist()}

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def read(self, name: str) -> bytes:
        """A whole member; its checksum is verified.

        Raises:
            ProgramFormatError: missing or damaged.
        """
        with self._naming_damage(name), zipfile.ZipFile(self.path) as archive:
            return archive.read(name)

    def verify(self, name: str) -> None:
        """Check the checksum of a member without holding it in memory.

        Raises:
            ProgramFormatError: missing or damaged.
        """
        with self._naming_damage(name), zipfile.ZipFile(self.path) as archive:
            with archive.open(name) as member:
                while member.read(_CHUNK_BYTES):
                    pass

    def data_offset(self, name: str) -> int:
        """Where in the file the bytes of a stored member begin."""
        with self._naming_damage(name), self.path.open("rb") as file:
            file.seek(self._entries[name].header_offset)
            header = file.read(_LOCAL_HEADER_BYTES)
            name_bytes, extra_bytes = struct.unpack("<HH", header[-4:])
            return file.tell() + name_bytes + extra_bytes

    @contextmanager
    def _naming_damage(self, member: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror or error}") from None
        except _DAMAGE as error:
            part = f", member {member}" if member else ""
            raise ProgramFormatError(
                f"{self.path}: not a program of axonc, or damaged{part}: {error or type(error)}",
                hint="make it again: axonc compile MODEL --output PROGRAM",
            ) from None
