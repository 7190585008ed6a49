"""A weight file as it was when it was opened.

Its bytes are mapped, not read, and stay those of the opened file when another one takes its name. A
write into it is noticed by `verify`, which has to be called before the bytes are used.
"""

from __future__ import annotations

import io
import mmap
import os
import threading
import weakref
from functools import cached_property
from pathlib import Path

import numpy as np

from axonc.diagnostics import UsageError
from axonc.weights.content_hash import Content, Stamp, content_of


class OpenFile:
    """path: what it was called. expected: what has to be in it; None: whatever there is.

    Raises:
        UsageError: no such file, it cannot be read, or it has another size than expected.
    """

    def __init__(
        self, path: Path, expected: Content | None = None, *, what: str = "weight file"
    ) -> None:
        self.path = path
        self.expected = expected
        if not path.is_file():
            raise UsageError(f"{path}: no such {what}")
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
        weakref.finalize(self, os.close, self._descriptor)
        self._stamp = Stamp.of(self._descriptor)
        self._turn = threading.Lock()
        self._is_verified = expected is None
        if expected is not None and expected.size_bytes != self._stamp.size_bytes:
            raise self._changed()

    @property
    def size_bytes(self) -> int:
        return self._stamp.size_bytes

    @cached_property
    def data(self) -> np.ndarray:
        """All bytes, uint8, read-only, mapped."""
        if not self.size_bytes:
            return np.empty(0, np.uint8)
        mapped = mmap.mmap(self._descriptor, self.size_bytes, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, np.uint8)

    def reader(self) -> io.BufferedReader:
        """A file object with a position of its own."""
        return io.BufferedReader(_Bytes(self.data))

    def content(self) -> Content:
        """Size and hash of the bytes.

        Raises:
            UsageError: the file was written to.
        """
        before = Stamp.of(self._descriptor)
        if before.size_bytes != self.size_bytes:
            raise self._changed()
        found = content_of(self.data, before)
        if Stamp.of(self._descriptor) != before:
            raise self._changed()
        return found

    def verify(self) -> None:
        """The bytes are those that were expected, or at least those of the file that was opened;
        they are hashed the first time, and again after a write.

        Raises:
            UsageError: they are not.
        """
        with self._turn:
            now = Stamp.of(self._descriptor)
            if self._is_verified and not _is_rewritten(self._stamp, now):
                return
            if self.expected is None or self.content() != self.expected:
                raise self._changed()
            self._stamp, self._is_verified = now, True

    def _changed(self) -> UsageError:
        since = "it was opened" if self.expected is None else "the program was compiled"
        return UsageError(
            f"{self.path} has changed since {since}",
            hint="compile again, or bring the old file back; to use it as it is: --trust-weights "
            "(trust_weights=True)",
        )


def _is_rewritten(old: Stamp, new: Stamp) -> bool:
    return (old.size_bytes, old.written_ns) != (new.size_bytes, new.written_ns)


class _Bytes(io.RawIOBase):
    """An array as a file to read."""

    def __init__(self, data: np.ndarray) -> None:
        self._data = data
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._data)}
        if start[whence] + offset < 0:
            raise OSError(f"seek to {start[whence] + offset}")
        self._position = start[whence] + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self._data[self._position : self._position + len(buffer)]
        buffer[: len(part)] = part.data
        self._position += len(part)
        return len(part)
