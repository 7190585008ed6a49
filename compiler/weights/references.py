"""Weights by reference: where the bytes of a tensor live, read only when somebody needs them.

A compiled program names its weights; the numbers stay in the user's files, or in the arrays the
user already holds. Files are memory-mapped: opening a checkpoint reads its header alone.

Source of the layout of safetensors: the format section of the README of huggingface/safetensors
(u64 little-endian header size, JSON header, data).
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import ml_dtypes
import numpy as np

from axonc.diagnostics import UsageError, nearest

# MLIR spelling of an element type -> the numpy dtype that stores it on the host.
NUMPY_OF_MLIR: dict[str, np.dtype] = {
    "f64": np.dtype(np.float64),
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f8E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "f8E4M3": np.dtype(ml_dtypes.float8_e4m3),
    "f8E4M3FN": np.dtype(ml_dtypes.float8_e4m3fn),
    "f8E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "f8E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "f8E4M3B11FNUZ": np.dtype(ml_dtypes.float8_e4m3b11fnuz),
    "f8E3M4": np.dtype(ml_dtypes.float8_e3m4),
    "f8E8M0FNU": np.dtype(ml_dtypes.float8_e8m0fnu),
    "i1": np.dtype(np.bool_),
    "i8": np.dtype(np.int8),
    "i16": np.dtype(np.int16),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
    "ui8": np.dtype(np.uint8),
    "ui16": np.dtype(np.uint16),
    "ui32": np.dtype(np.uint32),
    "ui64": np.dtype(np.uint64),
    "complex<f32>": np.dtype(np.complex64),
    "complex<f64>": np.dtype(np.complex128),
}
MLIR_OF_NUMPY: dict[np.dtype, str] = {dtype: name for name, dtype in NUMPY_OF_MLIR.items()}

MLIR_OF_SAFETENSORS: dict[str, str] = {
    "F64": "f64",
    "F32": "f32",
    "F16": "f16",
    "BF16": "bf16",
    "F8_E4M3": "f8E4M3FN",
    "F8_E5M2": "f8E5M2",
    "F8_E8M0": "f8E8M0FNU",
    "F8_E4M3FNUZ": "f8E4M3FNUZ",
    "F8_E5M2FNUZ": "f8E5M2FNUZ",
    "BOOL": "i1",
    "I8": "i8",
    "I16": "i16",
    "I32": "i32",
    "I64": "i64",
    "U8": "ui8",
    "U16": "ui16",
    "U32": "ui32",
    "U64": "ui64",
    "C64": "complex<f32>",
}

# Larger headers are refused by the safetensors library too (MAX_HEADER_SIZE in its tensor.rs).
_MAX_HEADER_BYTES = 100_000_000


def mlir_dtype(dtype: np.dtype, *, what: str) -> str:
    """The MLIR spelling of a numpy dtype. `what` names the tensor in the error.

    Raises:
        UsageError: the dtype has no tensor element type (strings, objects, raw bytes).
    """
    try:
        return MLIR_OF_NUMPY[np.dtype(dtype).newbyteorder("=")]
    except KeyError:
        hint = "npy and npz cannot name bf16 or f8; store these as safetensors"
        raise UsageError(f"{what} has dtype {dtype}, which no tensor can hold", hint=hint) from None


class Storage(Protocol):
    """Where bytes live. `describe()` names the place for messages; `load` gives the array."""

    def load(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray: ...

    def describe(self) -> str: ...


@dataclass(frozen=True)
class FileRegion:
    """A C-ordered tensor at `offset_bytes` of a file, memory-mapped read-only on load."""

    path: Path
    key: str
    offset_bytes: int

    def load(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if 0 in shape:
            return np.empty(shape, dtype)
        mapped = np.memmap(
            self.path, np.uint8, "r", self.offset_bytes, (_size_bytes(shape, dtype),)
        )
        return mapped.view(dtype).reshape(shape)

    def describe(self) -> str:
        return f"'{self.key}' of {self.path}"


@dataclass(frozen=True)
class ZipMember:
    """An array inside a .npz (possibly compressed): read whole on load."""

    path: Path
    key: str

    def load(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        with np.load(self.path, allow_pickle=False) as archive:
            return archive[self.key].reshape(shape)

    def describe(self) -> str:
        return f"'{self.key}' of {self.path}"


@dataclass(frozen=True, eq=False)
class HeldArray:
    """An array somebody already has in memory; never copied."""

    array: np.ndarray = field(repr=False)

    def load(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return self.array

    def describe(self) -> str:
        return "an array in memory"


@dataclass(frozen=True)
class Absent:
    """A weight of which only name and type are known. Its program compiles, and its time and memory
    can be told; it cannot run."""

    name: str

    def load(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Raises:
        UsageError: always; it says what is missing.
        """
        raise UsageError(
            f"weight '{self.name}' has no data: the program was compiled without it",
            hint="compile with the weights to run it (--weights FILE, or weights= in Python)",
        )

    def describe(self) -> str:
        return f"'{self.name}', without data"


@dataclass(frozen=True)
class WeightRef:
    """A tensor by reference. shape: elements per axis; dtype: MLIR spelling ("bf16", "i64").
    stored_shape: as the storage has it, where that differs."""

    shape: tuple[int, ...]
    dtype: str
    storage: Storage
    stored_shape: tuple[int, ...] | None = None

    @classmethod
    def of_array(cls, array: np.ndarray, *, name: str = "array") -> WeightRef:
        """Refer to `array` without copying it.

        Raises:
            UsageError: its dtype has no tensor element type.
        """
        return cls(array.shape, mlir_dtype(array.dtype, what=f"weight '{name}'"), HeldArray(array))

    @classmethod
    def absent(cls, shape: tuple[int, ...], dtype: str, *, name: str) -> WeightRef:
        """A weight without data, for compiling alone. dtype: MLIR spelling."""
        return cls(shape, dtype, Absent(name))

    @property
    def size_bytes(self) -> int:
        return _size_bytes(self.shape, NUMPY_OF_MLIR[self.dtype])

    def load(self) -> np.ndarray:
        """The tensor. Memory-mapped or shared where the storage allows; treat it as read-only."""
        return self.storage.load(self.shape, NUMPY_OF_MLIR[self.dtype])

    def reshaped(self, shape: tuple[int, ...]) -> WeightRef:
        """The same bytes as a tensor of another shape, which has as many elements."""
        storage = self.storage
        if isinstance(storage, HeldArray):
            storage = HeldArray(storage.array.reshape(shape))
        return WeightRef(shape, self.dtype, storage, self.stored_shape or self.shape)

    def describe(self) -> str:
        """`'key' of file, tensor<2x3xf32>` for messages."""
        return f"{self.storage.describe()}, {tensor_spelling(self.shape, self.dtype)}"


def is_absent(weight: WeightRef) -> bool:
    """Whether the weight has no data."""
    return isinstance(weight.storage, Absent)


def held_copy(weight: WeightRef) -> WeightRef:
    """The weight with an array of its own, if somebody else's memory has its numbers."""
    if not isinstance(weight.storage, HeldArray):
        return weight
    return WeightRef(weight.shape, weight.dtype, HeldArray(weight.storage.array.copy()))


def tensor_spelling(shape: tuple[int, ...], dtype: str) -> str:
    """`tensor<2x3xf32>`, as MLIR would print it."""
    return f"tensor<{'x'.join([*map(str, shape), dtype])}>"


def check_fits(name: str, shape: tuple[int, ...], dtype: str, weight: WeightRef) -> None:
    """Refuse a weight whose shape or dtype is not the argument's.

    Raises:
        UsageError: naming the argument, its type, the weight and its type.
    """
    if (weight.shape, weight.dtype) == (shape, dtype):
        return
    what = "shape" if weight.shape != shape else "dtype"
    expected = tensor_spelling(shape, dtype)
    raise UsageError(
        f"{what} of weight {weight.describe()} does not fit argument '{name}': {expected}",
        hint="the program was made for another model, or the weight needs a transpose or a cast",
    )


def open_weight_file(path: str | Path) -> dict[str, WeightRef]:
    """Every tensor of a .safetensors, .npz or .npy file, by name; only headers are read.

    A .npy holds one tensor, named after the file.

    Raises:
        UsageError: missing, truncated or damaged file, unknown extension or dtype.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        hint = nearest(path.suffix, _READERS) or f"known: {', '.join(_READERS)}"
        raise UsageError(
            f"{path}: cannot tell the format of a weight file from '{path.suffix}'", hint=hint
        )
    if not path.is_file():
        raise UsageError(f"{path}: no such weight file")
    return reader(path)


def _size_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def _read_safetensors(path: Path) -> dict[str, WeightRef]:
    header, data_start = _safetensors_header(path)
    data_bytes = path.stat().st_size - data_start
    return {
        name: _safetensors_entry(path, name, entry, data_start, data_bytes)
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise _damaged(path, f"{file_bytes} bytes, too short for a header")
        (header_bytes,) = struct.unpack("<Q", prefix)
        if header_bytes > min(_MAX_HEADER_BYTES, file_bytes - 8):
            raise _damaged(path, f"header of {header_bytes} bytes in a file of {file_bytes} bytes")
        text = file.read(header_bytes)
    try:
        header = json.loads(text)
    except ValueError as error:
        raise _damaged(path, f"header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise _damaged(path, "header is not a JSON object")
    return header, 8 + header_bytes


def _safetensors_entry(
    path: Path, name: str, entry: Any, data_start: int, data_bytes: int
) -> WeightRef:
    try:
        spelled, shape = str(entry["dtype"]), tuple(int(n) for n in entry["shape"])
        begin, end = (int(n) for n in entry["data_offsets"])
    except (KeyError, TypeError, ValueError):
        raise _damaged(path, f"malformed header entry of tensor '{name}'") from None
    if spelled not in MLIR_OF_SAFETENSORS:
        raise UsageError(
            f"{path}: tensor '{name}' has dtype {spelled}, which axonc does not know",
            hint=nearest(spelled, MLIR_OF_SAFETENSORS),
        )
    dtype = MLIR_OF_SAFETENSORS[spelled]
    expected = _size_bytes(shape, NUMPY_OF_MLIR[dtype])
    if not 0 <= begin <= end <= data_bytes:
        raise _damaged(
            path, f"tensor '{name}' is at data bytes {begin}..{end}, the file holds {data_bytes}"
        )
    if end - begin != expected:
        raise _damaged(path, f"tensor '{name}' has {end - begin} bytes, its type needs {expected}")
    return WeightRef(shape, dtype, FileRegion(path, name, data_start + begin))


def _damaged(path: Path, why: str) -> UsageError:
    return UsageError(f"{path}: truncated or damaged: {why}", hint="download or write it again")


def _read_npz(path: Path) -> dict[str, WeightRef]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                name.removesuffix(".npy"): _npz_member(archive, path, name)
                for name in archive.namelist()
                if name.endswith(".npy")
            }
    except (zipfile.BadZipFile, EOFError) as error:
        raise _damaged(path, str(error)) from None


def _npz_member(archive: zipfile.ZipFile, path: Path, name: str) -> WeightRef:
    key = name.removesuffix(".npy")
    with archive.open(name) as member:
        shape, _, dtype = _npy_header(member, path)
    return WeightRef(shape, mlir_dtype(dtype, what=f"{path}: '{key}'"), ZipMember(path, key))


def _read_npy(path: Path) -> dict[str, WeightRef]:
    with path.open("rb") as file:
        shape, fortran_order, dtype = _npy_header(file, path)
        start = file.tell()
    spelled = mlir_dtype(dtype, what=str(path))
    if path.stat().st_size - start < _size_bytes(shape, dtype):
        raise _damaged(
            path,
            f"{path.stat().st_size - start} data bytes, "
            f"{tensor_spelling(shape, spelled)} needs {_size_bytes(shape, dtype)}",
        )
    if fortran_order or not dtype.isnative:
        return {path.stem: WeightRef.of_array(np.load(path, allow_pickle=False))}
    return {path.stem: WeightRef(shape, spelled, FileRegion(path, path.stem, start))}


def _npy_header(file: Any, path: Path) -> tuple[tuple[int, ...], bool, np.dtype]:
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(file)
        return read[version](file)
    except KeyError:
        raise UsageError(f"{path}: npy format version {version} is not supported") from None
    except ValueError as error:
        raise _damaged(path, str(error)) from None


_READERS: dict[str, Callable[[Path], dict[str, WeightRef]]] = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".npy": _read_npy,
}
