"""Lift large constants of a program into its weight store.

A traced function that closes over arrays carries them as constants. Constants are compiled in, so a
large one would travel through every pass and every printed dump; as an argument it is a name.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from jaxlib.mlir import ir

from axonc.diagnostics import InternalError
from axonc.imported.program import Argument
from axonc.weights.references import NUMPY_OF_MLIR, WeightRef

LARGE_BYTES = 4096
_HEX = re.compile(r'"0x([0-9A-Fa-f]*)"')


def hoist_large_constants(
    main: ir.OpView, *, taken: set[str], larger_than_bytes: int = LARGE_BYTES
) -> list[Argument]:
    """Turn each non-splat constant of `main` over the limit into a further argument of `main`.

    Constants in other functions stay: a composite's decomposition owns its constants.
    Returns the new arguments in order, each with its weight.
    """
    large = [op for op in _constants(main) if _is_large(op, larger_than_bytes)]
    hoisted: dict[ir.Attribute, ir.Value] = {}
    arguments: list[Argument] = []
    for op in large:
        value = op.attributes["value"]
        if value not in hoisted:
            hoisted[value] = add_argument(main, op.results[0].type, op.location)
            arguments.append(_weight_argument(value, f"constant.{len(arguments)}", taken))
        op.results[0].replace_all_uses_with(hoisted[value])
        op.erase()
    return arguments


def _constants(main: ir.OpView) -> list[ir.Operation]:
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.name == "stablehlo.constant":
            found.append(op)
        return ir.WalkResult.ADVANCE

    main.operation.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found


def _is_large(op: ir.Operation, limit_bytes: int) -> bool:
    kind = ir.RankedTensorType(op.results[0].type)
    dtype = NUMPY_OF_MLIR.get(str(kind.element_type))
    if dtype is None or isinstance(kind.element_type, ir.ComplexType):
        return False  # no weight has such a type: what reads it is converted or refused later
    itemsize = dtype.itemsize
    if int(np.prod(kind.shape, dtype=np.int64)) * itemsize <= limit_bytes:
        return False
    return not ir.DenseElementsAttr(op.attributes["value"]).is_splat


def add_argument(main: ir.OpView, kind: ir.Type, location: ir.Location) -> ir.Value:
    """A further argument of `main`, after those it has."""
    argument = main.entry_block.add_argument(kind, location)
    signature = ir.FunctionType.get([*main.type.inputs, kind], main.type.results, main.context)
    main.attributes["function_type"] = ir.TypeAttr.get(signature)
    return argument


def _weight_argument(value: ir.Attribute, name: str, taken: set[str]) -> Argument:
    while name in taken:
        name += "_"
    array = elements(value)
    weight = WeightRef.of_array(array, name=name)
    return Argument(name, weight.shape, weight.dtype, weight)


def elements(value: ir.Attribute) -> np.ndarray:
    """A copy of the numbers of a dense, non-splat elements attribute."""
    kind = ir.RankedTensorType(value.type)
    spelled = str(kind.element_type)
    dtype, shape = NUMPY_OF_MLIR[spelled], tuple(kind.shape)
    # The bindings have no buffer for these floats; their text form is the bytes in hexadecimal.
    read: Callable[[], np.ndarray] = (
        (lambda: _from_hex(value, dtype))
        if spelled == "bf16" or spelled.startswith("f8")
        else (lambda: np.array(value))
    )
    array = read().reshape(shape)
    if array.dtype != dtype:
        raise InternalError(f"constant of type {kind} was read as {array.dtype}")
    return array


def _from_hex(value: ir.Attribute, dtype: np.dtype) -> np.ndarray:
    digits = _HEX.search(str(value))
    if digits is None:
        raise InternalError(f"constant of type {value.type} has no hexadecimal form")
    return np.frombuffer(bytes.fromhex(digits[1]), dtype)
