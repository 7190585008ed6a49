"""Attributes of the tensor level as Python values, and back: integer lists, strings, dense
elements."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np
from torch_mlir import ir

NUMPY_DTYPES: dict[str, np.dtype] = {
    name: np.dtype(kind)
    for name, kind in {
        "f64": np.float64,
        "f32": np.float32,
        "tf32": np.float32,
        "bf16": ml_dtypes.bfloat16,
        "f16": np.float16,
        "f8E5M2": ml_dtypes.float8_e5m2,
        "f8E4M3": ml_dtypes.float8_e4m3,
        "f8E3M4": ml_dtypes.float8_e3m4,
        "f8E4M3FN": ml_dtypes.float8_e4m3fn,
        "f8E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
        "f8E4M3B11FNUZ": ml_dtypes.float8_e4m3b11fnuz,
        "f8E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
        "f8E8M0FNU": ml_dtypes.float8_e8m0fnu,
        "i1": np.bool_,
        "i8": np.int8,
        "i16": np.int16,
        "i32": np.int32,
        "i64": np.int64,
        "ui8": np.uint8,
        "ui16": np.uint16,
        "ui32": np.uint32,
        "ui64": np.uint64,
    }.items()
}
"""numpy dtype that holds one element of an MLIR element type, by the type's spelling."""

_UNREADABLE = frozenset({"bf16", *(name for name in NUMPY_DTYPES if name.startswith("f8"))})
"""Element types the bindings cannot hand out as a buffer."""

_HEX_BLOB = re.compile(r'dense<"0x([0-9A-F]*)">')


def element_name(mlir_type: ir.Type) -> str:
    """Spelling of the element type of a tensor type (or of a scalar type itself)."""
    return str(getattr(mlir_type, "element_type", mlir_type))


def integers(attribute: ir.Attribute) -> tuple[int, ...]:
    """An ArrayAttr of integers as a tuple."""
    return tuple(ir.IntegerAttr(a).value for a in ir.ArrayAttr(attribute))


def integer_array(values: Iterable[int]) -> ir.ArrayAttr:
    """Integers as an ArrayAttr of i64."""
    i64 = ir.IntegerType.get_signless(64)
    return ir.ArrayAttr.get([ir.IntegerAttr.get(i64, v) for v in values])


def integer_lists(attribute: ir.Attribute) -> tuple[tuple[int, ...], ...]:
    """An ArrayAttr of ArrayAttrs of integers as tuples."""
    return tuple(integers(each) for each in ir.ArrayAttr(attribute))


def integer_list_array(lists: Iterable[Iterable[int]]) -> ir.ArrayAttr:
    """Lists of integers as an ArrayAttr of ArrayAttrs of i64."""
    return ir.ArrayAttr.get([integer_array(each) for each in lists])


def integer(value: int) -> ir.IntegerAttr:
    """An i64 attribute."""
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), value)


def python_value(attribute: ir.Attribute) -> Any:
    """Integers, floats, strings, symbols' names and (nested) tuples of these; other attributes as
    they are."""
    reader = _READERS.get(type(attribute))
    return reader(attribute) if reader else attribute


_READERS: dict[type, Any] = {
    ir.ArrayAttr: lambda a: tuple(map(python_value, a)),
    ir.IntegerAttr: lambda a: a.value,
    ir.FloatAttr: lambda a: a.value,
    ir.StringAttr: lambda a: a.value,
    ir.FlatSymbolRefAttr: lambda a: a.value,
}


def python_attribute(value: Any) -> ir.Attribute:
    """The attribute that `python_value` reads as `value`; attributes as they are."""
    if isinstance(value, ir.Attribute):
        return value
    if isinstance(value, str):
        return ir.StringAttr.get(value)
    if isinstance(value, float):
        return ir.FloatAttr.get(ir.F64Type.get(), value)
    if isinstance(value, int):
        return integer(value)
    return ir.ArrayAttr.get([python_attribute(each) for each in value])


def dense_to_numpy(attribute: ir.Attribute) -> np.ndarray:
    """The elements of a dense attribute, in its shape. A splat is a read-only broadcast.

    Raises:
        TypeError: complex elements, or a `dense_resource`.
    """
    dense = ir.DenseElementsAttr(attribute)
    shape = tuple(ir.RankedTensorType(dense.type).shape)
    name = element_name(dense.type)
    if name not in NUMPY_DTYPES:
        raise TypeError(f"elements of type {name} cannot be read")
    if dense.is_splat:
        return np.broadcast_to(np.array(_scalar(dense), NUMPY_DTYPES[name]), shape)
    if name not in _UNREADABLE:
        return np.array(attribute, dtype=NUMPY_DTYPES[name]).reshape(shape)
    return _from_text(attribute, name, shape)


SUBBYTE_BITS = {"i2": 2, "i4": 4, "ui2": 2, "ui4": 4}
"""Integers shorter than a byte, which numpy lacks, with their bits."""


def subbyte_to_numpy(attribute: ir.Attribute) -> np.ndarray:
    """The elements of a dense attribute of integers shorter than a byte, as int64 in its shape."""
    dense = ir.DenseElementsAttr(attribute)
    shape = tuple(ir.RankedTensorType(dense.type).shape)
    text, name = str(attribute), element_name(dense.type)
    if blob := _HEX_BLOB.match(text):  # a byte each, of which the low bits count
        unsigned = np.frombuffer(bytes.fromhex(blob[1]), np.uint8).astype(np.int64)
        half = 0 if name.startswith("u") else 1 << SUBBYTE_BITS[name] - 1
        values = ((unsigned & (1 << SUBBYTE_BITS[name]) - 1) ^ half) - half
    else:
        decimals = text[text.index("<") + 1 : text.rindex("> :")]
        values = np.array(re.findall(r"-?\d+", decimals), np.int64)
    if dense.is_splat:
        return np.broadcast_to(values.reshape(-1)[0], shape)
    return values.reshape(shape)


def splat_number(attribute: ir.Attribute) -> float | int | None:
    """The one value of a splat, None when the elements differ."""
    dense = ir.DenseElementsAttr(attribute)
    return _scalar(dense) if dense.is_splat else None


def _scalar(dense: ir.DenseElementsAttr) -> float | int:
    value = dense.get_splat_value().value
    return abs(value) if element_name(dense.type) == "i1" else value


def _from_text(attribute: ir.Attribute, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """bf16 and f8 elements: long lists print as hex, short ones as decimals."""
    text = str(attribute)
    if blob := _HEX_BLOB.match(text):
        return np.frombuffer(bytes.fromhex(blob[1]), NUMPY_DTYPES[name]).reshape(shape)
    decimals = text[text.index("<") + 1 : text.rindex("> :")]
    values = [_decimal(word, name) for word in re.findall(r"[^\s,\[\]]+", decimals)]
    return np.array(values, dtype=NUMPY_DTYPES[name]).reshape(shape)


def _decimal(word: str, name: str) -> Any:
    """One number; NaN and infinities are printed as their bits."""
    if word.startswith("0x"):
        dtype = NUMPY_DTYPES[name]
        return np.array(int(word, 16), f"u{dtype.itemsize}").view(dtype)[()]
    return NUMPY_DTYPES[name].type(float(word))


def numpy_to_dense(array: np.ndarray, element: ir.Type) -> ir.DenseElementsAttr:
    """A dense attribute of `array`'s shape; a splat when all elements have the same bits."""
    dtype = NUMPY_DTYPES[str(element)]
    array = np.ascontiguousarray(array, dtype).reshape(array.shape)
    kind = ir.RankedTensorType.get(array.shape, element)
    bits = array.reshape(-1).view(f"u{dtype.itemsize}")
    if array.size and (bits == bits[0]).all():
        return ir.DenseElementsAttr.get_splat(kind, _scalar_attribute(array.flat[0], element))
    if dtype == np.bool_:  # packed into bits by the bindings, which know the element type then
        return ir.DenseElementsAttr.get(array)
    if str(element) in _UNREADABLE:
        array = bits.reshape(array.shape)
    return ir.DenseElementsAttr.get(array, type=element, shape=list(array.shape))


def splat(value: float | int, kind: ir.RankedTensorType) -> ir.DenseElementsAttr:
    """A dense attribute of type `kind` whose elements are all `value`."""
    return ir.DenseElementsAttr.get_splat(kind, _scalar_attribute(value, kind.element_type))


def _scalar_attribute(value: float | int | np.generic, element: ir.Type) -> ir.Attribute:
    name = str(element)
    if name[0] in "ui":
        if name == "i1":
            return ir.IntegerAttr.get(element, 1 if value else 0)
        # Python integers beyond 63 bits do not pass the bindings.
        return ir.Attribute.parse(f"{int(value)} : {name}")
    return ir.FloatAttr.get(element, float(value))
