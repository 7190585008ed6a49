"""The container of a compiled program: a zip archive with deterministic bytes.

Members are stored, not compressed: compressors differ between zlib builds, and a stored member can
be memory-mapped. Times are fixed.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from axonc.diagnostics import ProgramFormatError, UsageError
from axonc.weights.open_file import OpenFile

# The earliest time a zip entry can have (APPNOTE.TXT 4.4.6: MS-DOS dates begin in 1980).
_TIME = (1980, 1, 1, 0, 0, 0)
# Local file header: 30 bytes, name and extra lengths in the last four (APPNOTE.TXT 4.3.7).
_LOCAL_HEADER_BYTES = 30
_LOCAL_SIGNATURE = b"PK\3\4"
_ENCRYPTED = 1
"""Bit of the flags of an entry (APPNOTE.TXT 4.4.4)."""

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


def write_archive(
    file: BinaryIO, members: Iterable[tuple[str, Iterable[bytes | memoryview]]]
) -> None:
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
    """A program file opened for reading. Every damage is a ProgramFormatError that names the file.

    Members are stored, so none is larger than the file: an ordinary zip tool may have packed the
    archive anew, but one that has compressed it is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = OpenFile(path, what="program file")
        with self._naming_damage(), zipfile.ZipFile(self.file.reader()) as archive:
            entries = archive.infolist()
        self._entries = {entry.filename: entry for entry in entries}
        if len(self._entries) < len(entries):
            raise self.damaged("two members have one name")
        for entry in entries:
            self._check(entry)

    def _check(self, entry: zipfile.ZipInfo) -> None:
        if entry.flag_bits & _ENCRYPTED:
            raise self.damaged(f"member {entry.filename} is encrypted")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise self.damaged(
                f"member {entry.filename} is compressed",
                hint="pack it without compression (zip -0)",
            )
        if entry.file_size != entry.compress_size:
            raise self.damaged(f"member {entry.filename} has two sizes")

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each member."""
        return {name: entry.file_size for name, entry in self._entries.items()}

    def read(self, name: str) -> bytes:
        """A copy of a whole member; its checksum is verified.

        Raises:
            ProgramFormatError: missing or damaged.
        """
        data = self.view(name).tobytes()
        if zlib.crc32(data) != self._entries[name].CRC:
            raise self.damaged(f"member {name} has another checksum")
        return data

    def view(self, name: str) -> np.ndarray:
        """The bytes of a member, uint8, in place.

        Raises:
            ProgramFormatError: missing, or not inside of the file.
        """
        start = self.data_offset(name)
        end = start + self._entries[name].file_size
        if end > self.file.size_bytes:
            raise self.damaged(f"member {name} ends at byte {end} of {self.file.size_bytes}")
        return self.file.data[start:end]

    def data_offset(self, name: str) -> int:
        """Where in the file the bytes of a member begin.

        Raises:
            ProgramFormatError: there is none, or its header is another's.
        """
        if name not in self._entries:
            raise self.damaged(f"member {name} is missing")
        start = self._entries[name].header_offset
        header = self.file.data[start : start + _LOCAL_HEADER_BYTES].tobytes()
        if len(header) < _LOCAL_HEADER_BYTES or header[:4] != _LOCAL_SIGNATURE:
            raise self.damaged(f"member {name} has no header")
        name_bytes, extra_bytes = struct.unpack("<HH", header[-4:])
        start += _LOCAL_HEADER_BYTES
        if self.file.data[start : start + name_bytes].tobytes() != name.encode():
            raise self.damaged(f"member {name} has the header of another")
        return start + name_bytes + extra_bytes

    def damaged(self, why: str, hint: str = "") -> ProgramFormatError:
        """What to raise about a file that is not what was written."""
        return ProgramFormatError(
            f"{self.path}: not a program of axonc, or damaged: {why}",
            hint=hint or "make it again: axonc compile MODEL --output PROGRAM",
        )

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror or error}") from None
        except _DAMAGE as error:
            raise self.damaged(str(error) or type(error).__name__) from None
