"""Element types of the machine: one table, from name to size and numpy dtype.

Source: machine.md#formats (data-types.rst, nki.api.shared.rst). fp8 e4m3 is the IEEE-style one (has
infinities, largest finite value 240). tf32 is stored in four bytes, its low 13 mantissa bits zero.
bool tensors are u8 on the machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np


@dataclass(frozen=True)
class DType:
    """An element type of the machine."""

    name: str
    code: int
    """Its number in the encoding."""
    numpy: np.dtype
    """The numpy dtype that stores one element."""
    is_float: bool

    @property
    def size_bytes(self) -> int:
        return self.numpy.itemsize

    def __repr__(self) -> str:
        return self.name


def _make(name: str, code: int, kind: object, is_float: bool) -> DType:
    return DType(name, code, np.dtype(kind), is_float)  # type: ignore[call-overload]


F32 = _make("f32", 0, np.float32, True)
TF32 = _make("tf32", 1, np.float32, True)
BF16 = _make("bf16", 2, ml_dtypes.bfloat16, True)
F16 = _make("f16", 3, np.float16, True)
F8E5M2 = _make("f8e5m2", 4, ml_dtypes.float8_e5m2, True)
F8E4M3 = _make("f8e4m3", 5, ml_dtypes.float8_e4m3, True)
F8E3M4 = _make("f8e3m4", 6, ml_dtypes.float8_e3m4, True)
I32 = _make("i32", 7, np.int32, False)
U32 = _make("u32", 8, np.uint32, False)
I16 = _make("i16", 9, np.int16, False)
U16 = _make("u16", 10, np.uint16, False)
I8 = _make("i8", 11, np.int8, False)
U8 = _make("u8", 12, np.uint8, False)

DTYPES: dict[str, DType] = {
    d.name: d for d in (F32, TF32, BF16, F16, F8E5M2, F8E4M3, F8E3M4, I32, U32, I16, U16, I8, U8)
}
BY_CODE: dict[int, DType] = {d.code: d for d in DTYPES.values()}
