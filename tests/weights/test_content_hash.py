"""Content of files: all bytes count; hashes are kept under what the inode tells."""

from __future__ import annotations

import os
import time
from pathlib import Path
from unittest import mock

import blake3
import numpy as np
import pytest

from axonc.weights import content_hash
from axonc.weights.content_hash import Content, Stamp, content_of
from axonc.weights.open_file import OpenFile

SIZE = content_hash.MIN_KEPT_BYTES


def stamp_of(path: Path) -> Stamp:
    with path.open("rb") as file:
        return Stamp.of(file.fileno())


def large(path: Path, *, age_seconds: float = 10) -> np.ndarray:
    """A file that is large enough to be kept, and as old as that."""
    data = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)
    path.write_bytes(data.tobytes())
    return data


def test_it_is_the_blake3_of_all_bytes() -> None:
    for size in (0, 1, 100_003):
        data = np.arange(size, dtype=np.uint32).astype(np.uint8)
        assert Content.of(data) == Content(size, blake3.blake3(data.tobytes()).hexdigest())


def test_a_settled_file_is_hashed_once(tmp_path: Path) -> None:
    path, folder = tmp_path / "w", tmp_path / "cache"
    data = large(path)
    later = time.time_ns() + int(10e9)
    with mock.patch.object(content_hash.time, "time_ns", lambda: later):
        first = content_of(data, stamp_of(path), folder)
        with mock.patch.object(content_hash.Content, "of", side_effect=AssertionError):
            assert content_of(data, stamp_of(path), folder) == first
    assert first == Content.of(data)


def test_a_file_that_was_just_written_is_hashed_again(tmp_path: Path) -> None:
    path, folder = tmp_path / "w", tmp_path / "cache"
    content_of(large(path), stamp_of(path), folder)
    assert not folder.exists()


def test_a_write_that_sets_its_time_back_is_hashed_again(tmp_path: Path) -> None:
    path, folder = tmp_path / "w", tmp_path / "cache"
    data = large(path)
    before = path.stat()
    later = time.time_ns() + int(10e9)
    with mock.patch.object(content_hash.time, "time_ns", lambda: later):
        old = content_of(data, stamp_of(path), folder)
        changed = data.copy()
        changed[SIZE // 2] ^= 1
        time.sleep(0.02)
        with path.open("r+b") as file:
            file.write(changed.tobytes())
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert content_of(changed, stamp_of(path), folder) != old


@pytest.mark.parametrize("text", [b"", b"[]", b'{"a": 1}', b"[" * 100_000, b"\xff"])
def test_a_damaged_cache_is_none(tmp_path: Path, text: bytes) -> None:
    path, folder = tmp_path / "w", tmp_path / "cache"
    folder.mkdir()
    (folder / "content-hashes.json").write_bytes(text)
    data = large(path)
    later = time.time_ns() + int(10e9)
    with mock.patch.object(content_hash.time, "time_ns", lambda: later):
        assert content_of(data, stamp_of(path), folder) == Content.of(data)


def test_a_gigabyte_takes_less_than_a_second() -> None:
    data = np.zeros(1 << 28, np.uint8)
    data[::4096] = 1
    begin = time.perf_counter()
    Content.of(data)
    assert time.perf_counter() - begin < 0.25


def test_an_open_file_has_the_bytes_it_had(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"old bytes")
    file = OpenFile(path)
    (tmp_path / "new").write_bytes(b"new bytes")
    os.replace(tmp_path / "new", path)
    file.verify()
    assert file.data.tobytes() == b"old bytes"
    with file.reader() as reader:
        reader.seek(-5, os.SEEK_END)
        assert (reader.tell(), reader.read()) == (4, b"bytes")
