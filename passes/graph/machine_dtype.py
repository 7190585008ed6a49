"""MLIR element types and those of the machine."""

from __future__ import annotations

from torch_mlir import ir

from axonc.backends.numerics.dtypes import DTYPES, DType
from axonc.diagnostics import UnsupportedOpError

MLIR_DTYPES: dict[str, DType] = {
    "f32": DTYPES["f32"],
    "tf32": DTYPES["tf32"],
    "bf16": DTYPES["bf16"],
    "f16": DTYPES["f16"],
    "f8E5M2": DTYPES["f8e5m2"],
    "f8E4M3": DTYPES["f8e4m3"],
    "f8E3M4": DTYPES["f8e3m4"],
    "i32": DTYPES["i32"],
    "ui32": DTYPES["u32"],
    "i16": DTYPES["i16"],
    "ui16": DTYPES["u16"],
    "i8": DTYPES["i8"],
    "ui8": DTYPES["u8"],
    "i1": DTYPES["u8"],
}
"""Storage type on the machine of every MLIR element type that reaches the tile stage."""


def machine_dtype(mlir_type: ir.Type) -> DType:
    """Storage dtype of a tensor type (or element type)."""
    element = getattr(mlir_type, "element_type", mlir_type)
    if str(element) not in MLIR_DTYPES:
        raise UnsupportedOpError(
            f"element type {element} has no place on the machine",
            hint=f"the machine stores {', '.join(MLIR_DTYPES)}",
        )
    return MLIR_DTYPES[str(element)]
