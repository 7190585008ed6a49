"""Refuses what no pass could make fit: arguments that alone are larger than device memory.

`allocate-memory` knows the exact size, but only after most of a compile.
"""

from __future__ import annotations

from torch_mlir import ir

from axonc.backends.numerics.dtypes import BF16, F32, I8, DType
from axonc.backends.numerics.quantize import FORMATS
from axonc.backends.program import HbmTensor, TensorKind
from axonc.backends.targets import TARGETS
from axonc.imported.program import Argument, ImportedProgram
from axonc.options import CompileOptions
from axonc.passes.graph.machine_dtype import MLIR_DTYPES
from axonc.passes.graph.module import main_function
from axonc.passes.memory.memory_map import device_memory_error

_NARROW = {"i64": "i32", "ui64": "ui32"}
_PARTS_OF = frozenset({"slice", "dynamic_slice", "gather", "dynamic_gather"})
"""Operations that may need only some of a weight."""


def refuse_what_cannot_fit(
    module: ir.Module, imported: ImportedProgram, options: CompileOptions
) -> None:
    """Counts what one core surely holds: inputs, and whole weights in the narrowest type that
    `options` allow.

    Raises:
        CapacityError: it is more than device memory; with the map.
    """
    values = main_function(module.operation).regions[0].blocks[0].arguments
    tensors = [
        tensor
        for value, argument in zip(values, imported.arguments, strict=True)
        if (tensor := _tensor(value, argument, options)) is not None
    ]
    capacity = TARGETS[options.target].hbm_bytes
    need = sum(t.size_bytes for t in tensors)
    if need > capacity:
        raise device_memory_error(tensors, need, capacity)


def _tensor(value: ir.Value, argument: Argument, options: CompileOptions) -> HbmTensor | None:
    """What surely is in device memory of an argument; None for nothing."""
    name = argument.dtype
    dtype = MLIR_DTYPES.get(_NARROW.get(name, name))
    if dtype is None:
        return None
    kind = TensorKind.INPUT
    if argument.weight is not None:
        if not _is_read_whole(value):
            return None
        kind, dtype = TensorKind.WEIGHT, _narrowest(dtype, options)
    return HbmTensor(argument.name, kind, 0, argument.local_shape, dtype, name)


def _is_read_whole(value: ir.Value) -> bool:
    names = {use.owner.operation.name.removeprefix("stablehlo.") for use in value.uses}
    return bool(names - _PARTS_OF) and not any(n.startswith("func.") for n in names)


def _narrowest(dtype: DType, options: CompileOptions) -> DType:
    """The type of a weight as `options` may store it, at its smallest."""
    if not dtype.is_float:
        return dtype
    chosen_by_operation = options.auto_cast_override or options.auto_cast_budget
    eight_bits = options.auto_cast != "none" and options.auto_cast_type in FORMATS
    if chosen_by_operation or eight_bits or options.weight_dtype != "none":
        return I8
    return BF16 if dtype == F32 and options.auto_cast != "none" else dtype
