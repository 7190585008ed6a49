"""Weights by reference: where the bytes of a tensor live, read only when they are needed.

A compiled program names its weights; the numbers stay in the user's files, or in the arrays the
user already holds. Files are memory-mapped: opening a checkpoint reads its header alone. What a
header says is believed only as far as the file can hold it.

Source of the layout of safetensors: the format section of the README of huggingface/safetensors
(u64 little-endian header size, JSON header, data).
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, Protocol

import ml_dtypes
import msgspec
import numpy as np

from axonc.diagnostics import UsageError, nearest
from axonc.weights.content_hash import Content
from axonc.weights.open_file import OpenFile

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
    "i2": np.dtype(ml_dtypes.int2),
    "i4": np.dtype(ml_dtypes.int4),
    "ui2": np.dtype(ml_dtypes.uint2),
    "ui4": np.dtype(ml_dtypes.uint4),
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
    """Where bytes live. `describe()` names the place for messages; `load` gives the array. files:
    those whose bytes the arrays of `load` show."""

    @property
    def files(self) -> tuple[OpenFile, ...]: ...

    def load(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray: ...

    def describe(self) -> str: ...


@dataclass(frozen=True)
class FileRegion:
    """A C-ordered tensor at `offset_bytes` of a file, mapped read-only."""

    file: OpenFile = field(compare=False)
    key: str
    offset_bytes: int
    in_program: bool = False
    """The file is that of a compiled program, not one of weights."""

    @property
    def files(self) -> tuple[OpenFile, ...]:
        return (self.file,)

    def load(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Raises:
        UsageError: the file has changed.
        """
        self.file.verify()
        end = self.offset_bytes + _size_bytes(shape, dtype)
        return self.file.data[self.offset_bytes : end].view(dtype).reshape(shape)

    def describe(self) -> str:
        return f"'{self.key}' of {self.file.path}"


@dataclass(frozen=True)
class ZipMember:
    """An array inside a .npz (possibly compressed): read whole on load."""

    file: OpenFile = field(compare=False)
    key: str

    @property
    def files(self) -> tuple[OpenFile, ...]:
        return ()

    def load(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Raises:
        UsageError: the file has changed, or is damaged.
        """
        self.file.verify()
        with _naming_damage(self.file.path), zipfile.ZipFile(self.file.reader()) as archive:
            with archive.open(self.key + ".npy") as member:
                array = np.lib.format.read_array(member, allow_pickle=False)
        return array.reshape(shape).astype(dtype, copy=False)

    def describe(self) -> str:
        return f"'{self.key}' of {self.file.path}"


@dataclass(frozen=True, eq=False)
class HeldArray:
    """An array that is in memory already; never copied."""

    array: np.ndarray = field(repr=False)

    @property
    def files(self) -> tuple[OpenFile, ...]:
        return ()

    def load(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return self.array

    def describe(self) -> str:
        return "an array in memory"


@dataclass(frozen=True)
class Absent:
    """A weight of which only name and type are known. Its program compiles, and its time and memory
    can be told; it cannot run."""

    name: str

    @property
    def files(self) -> tuple[OpenFile, ...]:
        return ()

    def load(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Raises:
        UsageError: always; it says what is missing.
        """
        raise UsageError(
            f"weight '{self.name}' has no data: the program was compiled, or loaded, without it",
            hint="compile or load it with the weights (--weights FILE, or weights= in Python)",
        )

    def describe(self) -> str:
        return f"'{self.name}', without data"


@dataclass(frozen=True)
class WeightRef:
    """A tensor by reference."""

    shape: tuple[int, ...]
    """Elements per axis."""
    dtype: str
    """MLIR spelling ("bf16", "i64")."""
    storage: Storage
    stored_shape: tuple[int, ...] | None = None
    """As the storage has it, where that differs."""

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


def mapped_files(weights: Iterable[WeightRef]) -> list[OpenFile]:
    """The files whose bytes the loaded weights show: they must not change."""
    return list({id(f): f for weight in weights for f in weight.storage.files}.values())


def is_absent(weight: WeightRef) -> bool:
    """Whether the weight has no data."""
    return isinstance(weight.storage, Absent)


def held_copy(weight: WeightRef) -> WeightRef:
    """The weight with an array of its own, if its numbers are in an array of the caller."""
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


def open_weight_file(path: str | Path, expected: Content | None = None) -> dict[str, WeightRef]:
    """Every tensor of a .safetensors, .npz or .npy file, by name; only headers are read. expected:
    what is in the file, which is verified when a tensor is loaded.

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
    file = OpenFile(path, expected)
    with _naming_damage(path):
        return reader(file)


# What zipfile, zlib, msgspec and numpy raise on damaged bytes.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    msgspec.DecodeError,
    EOFError,
    KeyError,
    ValueError,  # with UnicodeDecodeError
    OverflowError,
    RecursionError,
    RuntimeError,  # with NotImplementedError: encryption, unknown compression
    SyntaxError,  # of a .npy header
)


@contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(path, str(error) or type(error).__name__) from None


def _size_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return math.prod(shape) * dtype.itemsize


# ---- safetensors


class _Entry(msgspec.Struct):
    """What the header says of a tensor."""

    dtype: str
    shape: list[Annotated[int, msgspec.Meta(ge=0)]]
    data_offsets: tuple[
        Annotated[int, msgspec.Meta(ge=0)],
        Annotated[int, msgspec.Meta(ge=0)],
    ]


def _read_safetensors(file: OpenFile) -> dict[str, WeightRef]:
    header, data_start = _safetensors_header(file)
    return {
        name: _safetensors_entry(file, name, entry, data_start)
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _safetensors_header(file: OpenFile) -> tuple[dict[str, msgspec.Raw], int]:
    path, data = file.path, file.data
    if len(data) < 8:
        raise _damaged(path, f"{len(data)} bytes, too short for a header")
    (header_bytes,) = struct.unpack("<Q", data[:8].tobytes())
    if header_bytes > min(_MAX_HEADER_BYTES, len(data) - 8):
        raise _damaged(path, f"header of {header_bytes} bytes in a file of {len(data)} bytes")
    text = data[8 : 8 + header_bytes].tobytes()
    try:
        header = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise _damaged(path, "header is not a JSON object") from None
    except msgspec.DecodeError as error:
        raise _damaged(path, f"header is not JSON ({error})") from None
    return header, 8 + header_bytes


def _safetensors_entry(file: OpenFile, name: str, text: msgspec.Raw, data_start: int) -> WeightRef:
    path, data_bytes = file.path, file.size_bytes - data_start
    try:
        entry = msgspec.json.decode(text, type=_Entry)
    except msgspec.DecodeError as error:
        raise _damaged(path, f"malformed header entry of tensor '{name}' ({error})") from None
    if entry.dtype not in MLIR_OF_SAFETENSORS:
        raise UsageError(
            f"{path}: tensor '{name}' has dtype {entry.dtype}, which axonc does not know",
            hint=nearest(entry.dtype, MLIR_OF_SAFETENSORS),
        )
    dtype, (begin, end) = MLIR_OF_SAFETENSORS[entry.dtype], entry.data_offsets
    expected = _size_bytes(tuple(entry.shape), NUMPY_OF_MLIR[dtype])
    if not begin <= end <= data_bytes:
        raise _damaged(
            path, f"tensor '{name}' is at data bytes {begin}..{end}, the file holds {data_bytes}"
        )
    if end - begin != expected:
        raise _damaged(path, f"tensor '{name}' has {end - begin} bytes, its type needs {expected}")
    return WeightRef(tuple(entry.shape), dtype, FileRegion(file, name, data_start + begin))


def _damaged(path: Path, why: str) -> UsageError:
    return UsageError(f"{path}: truncated or damaged: {why}", hint="download or write it again")


# ---- numpy


def _read_npz(file: OpenFile) -> dict[str, WeightRef]:
    with zipfile.ZipFile(file.reader()) as archive:
        return {
            entry.filename.removesuffix(".npy"): _npz_member(archive, file, entry)
            for entry in archive.infolist()
            if entry.filename.endswith(".npy")
        }


def _npz_member(archive: zipfile.ZipFile, file: OpenFile, entry: zipfile.ZipInfo) -> WeightRef:
    key = entry.filename.removesuffix(".npy")
    with archive.open(entry) as member:
        shape, _, dtype = _npy_header(member, file.path)
        rest = entry.file_size - member.tell()
    spelled = mlir_dtype(dtype, what=f"{file.path}: '{key}'")
    _check_holds(file.path, f"'{key}'", rest, shape, spelled, dtype)
    return WeightRef(shape, spelled, ZipMember(file, key))


def _check_holds(
    path: Path, what: str, found: int, shape: tuple[int, ...], spelled: str, dtype: np.dtype
) -> None:
    """Refuse a header that promises more than is there."""
    needed = _size_bytes(shape, dtype)
    if any(size < 0 for size in shape) or found < needed:
        kind = tensor_spelling(shape, spelled)
        raise _damaged(path, f"{what} has {found} data bytes, {kind} needs {needed}")


def _read_npy(file: OpenFile) -> dict[str, WeightRef]:
    path = file.path
    with file.reader() as stream:
        shape, fortran_order, dtype = _npy_header(stream, path)
        start = stream.tell()
    spelled = mlir_dtype(dtype, what=str(path))
    _check_holds(path, "it", file.size_bytes - start, shape, spelled, dtype)
    if fortran_order or not dtype.isnative:
        with file.reader() as stream:
            held = np.lib.format.read_array(stream, allow_pickle=False)
        return {path.stem: WeightRef.of_array(held)}
    return {path.stem: WeightRef(shape, spelled, FileRegion(file, path.stem, start))}


def _npy_header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, np.dtype]:
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


_READERS: dict[str, Callable[[OpenFile], dict[str, WeightRef]]] = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".npy": _read_npy,
}
