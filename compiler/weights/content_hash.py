"""What is in a file: its size and the BLAKE3 hash of its bytes, all of them.

A gigabyte takes some tenths of a second (threads, memory-mapped). Large files are hashed once: the
hash is kept in the user's cache folder under the file's inode, size and times. A file that was
written less than RACE_SECONDS ago is not kept: a second write could leave its times as they are.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import blake3
import numpy as np

MIN_KEPT_BYTES = 1 << 24
"""Smaller files are hashed faster than the cache is read."""

RACE_SECONDS = 2.0
MAX_KEPT = 1000


@dataclass(frozen=True)
class Content:
    """What is in a file."""

    size_bytes: int
    blake3: str
    """The BLAKE3 hash of its bytes, in hex."""

    @classmethod
    def of(cls, data: np.ndarray) -> Content:
        """The content of a file whose bytes are `data`, uint8 [size]."""
        hasher = blake3.blake3(max_threads=blake3.blake3.AUTO)
        hasher.update(data.data)
        return cls(len(data), hasher.hexdigest())


@dataclass(frozen=True)
class Stamp:
    """A file as far as its inode tells. Times in nanoseconds; `changed_ns` cannot be set back."""

    device: int
    inode: int
    size_bytes: int
    written_ns: int
    changed_ns: int

    @classmethod
    def of(cls, descriptor: int) -> Stamp:
        found = os.fstat(descriptor)
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    @property
    def key(self) -> str:
        facts = (self.device, self.inode, self.size_bytes, self.written_ns, self.changed_ns)
        return "-".join(map(str, facts))

    @property
    def is_settled(self) -> bool:
        """Whether a write from now on would change the times."""
        latest = max(self.written_ns, self.changed_ns)
        return time.time_ns() - latest > RACE_SECONDS * 1e9


def content_of(data: np.ndarray, stamp: Stamp, folder: Path | None = None) -> Content:
    """Content of the file with that stamp, whose bytes are `data`. folder: of kept hashes, the
    user's cache folder by default."""
    if stamp.size_bytes < MIN_KEPT_BYTES or not stamp.is_settled:
        return Content.of(data)
    folder = folder or _cache_folder()
    kept = _read(folder)
    if stamp.key not in kept:
        kept[stamp.key] = Content.of(data).blake3
        _write(folder, dict([*kept.items()][-MAX_KEPT:]))
    return Content(stamp.size_bytes, kept[stamp.key])


def _cache_folder() -> Path | None:
    try:
        return Path.home() / ".cache" / "axonc"
    except RuntimeError:  # a user without a home
        return None


_NAME = "content-hashes.json"


def _read(folder: Path | None) -> dict[str, str]:
    """Empty where there is none, or not ours: everything can be hashed again."""
    if folder is None:
        return {}
    try:
        found = json.loads((folder / _NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, str) and len(v) == 64}


def _write(folder: Path | None, kept: Mapping[str, str]) -> None:
    """A cache that cannot be written is none; another process may write it at the same time."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=f".{_NAME}.")
        with os.fdopen(descriptor, "w") as file:
            json.dump(kept, file)
        os.replace(name, folder / _NAME)
    except OSError:
        return
