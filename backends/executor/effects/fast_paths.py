"""Closures that write straight into the destination, without a temporary array.

Only for elementwise float32 operators that are numpy ufuncs, with a float32 destination. The bits
are those of the general closure, which does the rest
(tests/backends/executor/effects/test_fast_paths.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from axonc.backends.executor.semantics.alu import FLOAT_FUNCTIONS
from axonc.backends.executor.semantics.elementwise import per_partition
from axonc.backends.executor.semantics.registry import ByMnemonic
from axonc.backends.numerics.dtypes import F32

Closure = Callable[[], None]
Views = Mapping[str, np.ndarray]
Fields = Mapping[str, Any]


Maker = Callable[[Views, Fields], Closure | None]
MAKERS = ByMnemonic[Maker]("fast path")


def direct_closure(mnemonic: str, views: Views, fields: Fields, dtypes: set[str]) -> Closure | None:
    """The direct closure of an instruction in float32 mode; None if there is none.

    views: of the operands. dtypes: names of the operands' element types.
    """
    maker = MAKERS.get(mnemonic)
    if maker is None or dtypes != {F32.name}:
        return None
    return maker(views, fields)


def _ufunc(op: str) -> np.ufunc | None:
    function = FLOAT_FUNCTIONS[op]
    return function if isinstance(function, np.ufunc) and function.nin == 2 else None


@MAKERS.of("tensor_tensor")
def _tensor_tensor(views: Views, fields: Fields) -> Closure | None:
    target, first, second = views["dst"], views["src0"], views["src1"]
    function = _ufunc(fields["op"])
    if function is None or not target.shape == first.shape == second.shape:
        return None
    return lambda: function(first, second, out=target)


@MAKERS.of("tensor_scalar")
def _tensor_scalar(views: Views, fields: Fields) -> Closure | None:
    """One operator, or two when the second's scalar is not overwritten by the first's result."""
    target, source = views["dst"], views["src"]
    if target.shape != source.shape:
        return None
    first = _step(views, fields, "0", source, target)
    if first is None or fields["op1"] == "bypass":
        return first
    scalar = views.get("scalar1")
    if scalar is not None and np.may_share_memory(scalar, target):
        return None
    second = _step(views, fields, "1", target, target)
    if second is None:
        return None

    def run() -> None:
        first()
        second()

    return run


def _step(
    views: Views, fields: Fields, number: str, value: np.ndarray, target: np.ndarray
) -> Closure | None:
    """Operator `number` of a tensor_scalar, from `value` to `target`."""
    function = _ufunc(fields["op" + number])
    if function is None:
        return None
    scalar = views.get("scalar" + number)
    operand: np.ndarray | np.float32 = np.float32(fields["imm" + number])
    if scalar is not None:
        operand = per_partition(scalar, value)
    if fields["reverse" + number]:
        return lambda: function(operand, value, out=target)
    return lambda: function(value, operand, out=target)
