"""Reference semantics of the neuron dialect in numpy: one small function per operation.

Floats are computed in float32 and rounded to the operation's result type; with `f64` they are
computed and kept in float64 and rounded nowhere, a reference for what rounding costs. Values of
type tf32 are float32 arrays with ten mantissa bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from torch_mlir import ir

from axonc.backends.numerics.signed_zeros import maximum, minimum
from axonc.diagnostics import InternalError, UsageError
from axonc.dialects.attributes import NUMPY_DTYPES, dense_to_numpy, element_name, integers
from axonc.dialects.neuron.builder import dot_dims
from axonc.dialects.neuron.evaluate_window import convolve, pool
from axonc.dialects.neuron.repeat import REPEAT, Repeat, function_named, module_of
from axonc.dialects.neuron.table import COMPARISONS, ELEMENTWISE, FLOAT, REDUCTIONS

Operands = Sequence[np.ndarray]
Value = TypeVar("Value")
"""What a value of the program is: an array, or one per core."""
Rule = Callable[[ir.Operation, Operands, bool], np.ndarray]


def evaluate_module(
    module: ir.Module, inputs: Sequence[np.ndarray], f64: bool = False
) -> list[np.ndarray]:
    """Results of `@main` for these arguments, in order. bf16 and f8 arrays have ml_dtypes dtypes.

    Raises:
        UsageError: the inputs do not fit the arguments.
    """
    block = main_block(module)
    arguments = list(block.arguments)
    if len(arguments) != len(inputs):
        raise UsageError(f"@main has {len(arguments)} arguments, got {len(inputs)}")
    values = {
        argument: argument_array(number, argument.type, array, f64)
        for number, (argument, array) in enumerate(zip(arguments, inputs, strict=True))
    }
    return evaluate_block(block, values, f64)


def main_block(module: ir.Module) -> ir.Block:
    """The body of the module's function."""
    main = next(f for f in module.body.operations if f.operation.name == "func.func")
    return main.regions[0].blocks[0]


def argument_array(number: int, kind: ir.Type, array: np.ndarray, f64: bool) -> np.ndarray:
    """An argument as evaluation keeps it. Raises: UsageError if its shape is another."""
    array = np.asarray(array)
    if array.shape != tuple(kind.shape):
        raise UsageError(f"argument {number} has shape {array.shape}, expected {kind}")
    return round_to(array, kind, f64)


def evaluate_block(
    block: ir.Block, values: dict[ir.Value, np.ndarray], f64: bool
) -> list[np.ndarray]:
    """Run the operations of a block; the operands of its terminator."""
    uses_left: dict[ir.Value, int] = {}
    for op in block.operations:
        operation = op.operation
        operands = [values[v] for v in operation.operands]
        if operation.name in ("func.return", "neuron.yield"):
            return operands
        if operation.name == REPEAT:
            values.update(_evaluate_repeat(operation, values, f64))
        else:
            values[operation.results[0]] = evaluate_op(operation, operands, f64)
        forget(operation, values, uses_left)
    raise InternalError("a block without terminator was evaluated")


def _evaluate_repeat(
    op: ir.Operation, values: dict[ir.Value, np.ndarray], f64: bool
) -> dict[ir.Value, np.ndarray]:
    """Every result of a `neuron.repeat`: its function is evaluated once per call."""
    block = called_block(op)

    def call(arguments: list[np.ndarray]) -> list[np.ndarray]:
        return evaluate_block(block, dict(zip(block.arguments, arguments, strict=True)), f64)

    return repeated(op, values, call)


def repeated(
    op: ir.Operation, values: Mapping[ir.Value, Value], call: Callable[[list[Value]], list[Value]]
) -> dict[ir.Value, Value]:
    """Every result of a `neuron.repeat`. call: its function, arguments to results."""
    parts = Repeat.of(op)
    found: dict[ir.Value, Value] = {}
    carried = [values[v] for v in parts.carried]
    for k in range(parts.count):
        returned = call([*carried, *(values[v] for v in parts.arguments(k))])
        carried = returned[: len(carried)]
        found.update(zip(parts.collected[k], returned[len(carried) :], strict=True))
    return found | dict(zip(parts.carried_out, carried, strict=True))


def called_block(op: ir.Operation) -> ir.Block:
    """The body of the function a `neuron.repeat` calls."""
    module = module_of(op)
    function = function_named(module, Repeat.of(op).callee) if module is not None else None
    if function is None:
        raise InternalError("a neuron.repeat outside a module was evaluated", op=op.name)
    return function.regions[0].blocks[0]


def forget(op: ir.Operation, values: dict[ir.Value, Value], uses_left: dict[ir.Value, int]) -> None:
    """Drop arrays that nothing reads any more, or a large model would not fit in memory."""
    for value in op.operands:
        left = uses_left.get(value)
        left = (sum(1 for _ in value.uses) if left is None else left) - 1
        uses_left[value] = left
        if left == 0:
            del values[value]


def evaluate_op(op: ir.Operation, operands: Operands, f64: bool = False) -> np.ndarray:
    """The result of one neuron operation, rounded to its type."""
    rule = _RULES.get(op.name)
    if rule is None:
        hint = "operations on several cores are evaluated by evaluate_on_cores"
        raise InternalError(f"no evaluator for {op.name}", op=op.name, hint=hint)
    with np.errstate(all="ignore"):
        return round_to(rule(op, operands, f64), op.results[0].type, f64)


def round_to(array: np.ndarray, kind: ir.Type, f64: bool) -> np.ndarray:
    """The array in the storage dtype of an MLIR tensor type."""
    name = element_name(kind)
    if f64 and name in FLOAT:
        return np.asarray(array, np.float64)
    dtype = NUMPY_DTYPES[name]
    if name == "tf32":
        return round_tf32(np.asarray(array, np.float32))
    return array if array.dtype == dtype else np.asarray(array).astype(dtype)


def round_tf32(array: np.ndarray) -> np.ndarray:
    """float32 with its low 13 mantissa bits rounded away, ties to even; NaN and infinities stay."""
    bits = array.view(np.uint32)
    rounded = (bits + (0xFFF + ((bits >> 13) & 1))) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(array), rounded.view(np.float32), array)


def _wide(array: np.ndarray, f64: bool) -> np.ndarray:
    """The array in the computation dtype: float64 or float32 for floats, itself otherwise."""
    if array.dtype.kind in "iub":
        return array
    return np.asarray(array, np.float64 if f64 else np.float32)


def _elementwise(name: str) -> Rule:
    function = ELEMENTWISE[name].function

    def rule(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
        return np.asarray(function(*(_wide(a, f64) for a in operands)))

    return rule


def _compare(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    direction = ir.StringAttr(op.attributes["direction"]).value
    return COMPARISONS[direction](*(_wide(a, f64) for a in operands))


def _select(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    return np.where(*operands)


def _convert(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    source, target = operands[0], element_name(op.results[0].type)
    if target == "i1":
        return _wide(source, f64) != 0
    wide = _wide(source, f64)
    if target in FLOAT or wide.dtype.kind != "f":
        return wide
    limits = np.iinfo(NUMPY_DTYPES[target])
    whole = np.nan_to_num(np.trunc(wide.astype(np.float64)), nan=0.0)
    return np.clip(whole, limits.min, limits.max)  # as StableHLO's interpreter: saturate, NaN is 0


def _bitcast(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    """Of floats as their type stores them, whatever they are computed in."""
    source = round_to(operands[0], op.operands[0].type, f64=False)
    return source.view(NUMPY_DTYPES[element_name(op.results[0].type)])


def _constant(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    return dense_to_numpy(op.attributes["value"])


def _iota(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    shape = tuple(op.results[0].type.shape)
    axis = ir.IntegerAttr(op.attributes["dimension"]).value
    line = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return np.broadcast_to(line, shape)


def _broadcast(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    dims, shape = integers(op.attributes["dims"]), tuple(op.results[0].type.shape)
    order = np.argsort(dims)
    placed = [1] * len(shape)
    for i in order:
        placed[dims[i]] = operands[0].shape[i]
    return np.broadcast_to(operands[0].transpose(order).reshape(placed), shape)


def _reshape(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    return operands[0].reshape(tuple(op.results[0].type.shape))


def _transpose(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    return operands[0].transpose(integers(op.attributes["permutation"]))


def _slice(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    ranges = (integers(op.attributes[n]) for n in ("start", "limit", "strides"))
    return operands[0][tuple(slice(*r) for r in zip(*ranges, strict=True))]


def _box(op: ir.Operation, starts: np.ndarray, sizes: Sequence[int]) -> tuple[slice, ...]:
    """Where a box whose place is known at run time lies: starts clamped as StableHLO says."""
    first = list(integers(op.attributes["start"]))
    shape = tuple(op.operands[0].type.shape)
    for dim, index in zip(integers(op.attributes["dims"]), starts, strict=True):
        first[dim] = min(max(int(index), 0), shape[dim] - sizes[dim])
    return tuple(slice(a, a + n) for a, n in zip(first, sizes, strict=True))


def _dynamic_slice(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    operand, starts = operands
    return operand[_box(op, starts, integers(op.attributes["sizes"]))]


def _dynamic_update_slice(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    operand, update, starts = operands
    result = operand.copy()
    result[_box(op, starts, update.shape)] = update
    return result


def _concatenate(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    return np.concatenate(operands, ir.IntegerAttr(op.attributes["dimension"]).value)


def _pad(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    operand, value = operands
    low = integers(op.attributes["low"])
    steps = [between + 1 for between in integers(op.attributes["interior"])]
    result = np.full(tuple(op.results[0].type.shape), value, operand.dtype)
    places = tuple(
        slice(start, start + (size - 1) * step + 1 if size else start, step)
        for start, size, step in zip(low, operand.shape, steps, strict=True)
    )
    result[places] = operand
    return result


def _reverse(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    return np.flip(operands[0], integers(op.attributes["dims"]))


def _reduce(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    wide = _wide(operands[0], f64)
    kind, axes = ir.StringAttr(op.attributes["kind"]).value, integers(op.attributes["dims"])
    extra: dict[str, Any] = {}
    if kind in ("sum", "product"):
        extra["dtype"] = wide.dtype  # numpy would widen small integers
    if kind in ("max", "min") and any(wide.shape[a] == 0 for a in axes):
        extra["initial"] = _empty_extreme(kind, wide.dtype)
    return np.asarray(REDUCTIONS[kind](wide, axis=axes, **extra))


def _empty_extreme(kind: str, dtype: np.dtype) -> float | int:
    """max of nothing is the smallest value, min of nothing the largest."""
    if dtype.kind == "f":
        return -np.inf if kind == "max" else np.inf
    limits = np.iinfo(dtype)
    return limits.min if kind == "max" else limits.max


def _dot(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    lhs, rhs, *extras = operands
    if lhs.dtype.kind in "iub":
        product = _product(lhs.astype(np.int32), rhs.astype(np.int32), dot_dims(op))
    else:
        product = _product(_wide(lhs, f64), _wide(rhs, f64), dot_dims(op))
    if not op.regions[0].blocks:
        return product
    return _region(op.regions[0].blocks[0], [_wide(product, f64), *extras], f64)


def _convolution(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    lhs, rhs, *extras = operands
    product = convolve(op, _wide(lhs, f64), _wide(rhs, f64))
    if not op.regions[0].blocks:
        return product
    return _region(op.regions[0].blocks[0], [product, *extras], f64)


def _reduce_window(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    wide = _wide(operands[0], f64)
    kind = ir.StringAttr(op.attributes["kind"]).value
    return pool(op, wide, _neutral(kind, wide.dtype))


def _neutral(kind: str, dtype: np.dtype) -> float | int:
    """What changes nothing in a reduction of this kind."""
    if kind in ("max", "min"):
        return bool(kind == "min") if dtype.kind == "b" else _empty_extreme(kind, dtype)
    return {"sum": 0, "product": 1, "or": 0, "and": True if dtype.kind == "b" else -1}[kind]


def _product(lhs: np.ndarray, rhs: np.ndarray, dims: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Batched matrix product of any dims, in the dtype of the operands."""
    lhs_batch, rhs_batch, lhs_contract, rhs_contract = dims
    left, left_free = _as_matrices(lhs, lhs_batch, lhs_contract, contract_last=True)
    right, right_free = _as_matrices(rhs, rhs_batch, rhs_contract, contract_last=False)
    batch = tuple(lhs.shape[i] for i in lhs_batch)
    return (left @ right).reshape(batch + left_free + right_free)


def _as_matrices(
    array: np.ndarray, batch: tuple[int, ...], contract: tuple[int, ...], contract_last: bool
) -> tuple[np.ndarray, tuple[int, ...]]:
    """[batch..., free, contract] (or contract, free), and the sizes of the free dims."""
    free = tuple(i for i in range(array.ndim) if i not in batch + contract)
    parts = (free, contract) if contract_last else (contract, free)
    moved = array.transpose(batch + parts[0] + parts[1])
    sizes = [int(np.prod([array.shape[i] for i in part])) for part in parts]
    shape = [array.shape[i] for i in batch] + sizes
    return moved.reshape(shape), tuple(array.shape[i] for i in free)


def _region(block: ir.Block, arguments: Operands, f64: bool) -> np.ndarray:
    return evaluate_block(block, dict(zip(block.arguments, arguments, strict=True)), f64)[0]


def _fused(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    return _region(op.regions[0].blocks[0], operands, f64)


_PAIRS_AT_ONCE = 1 << 22
"""Of elements that are compared: a few times as many bytes."""


def _sort(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    """By counting, for each element, those before it."""
    count, number = (ir.IntegerAttr(op.attributes[n]).value for n in ("count", "number"))
    rows, length = operands[0].shape
    places = np.arange(length)
    order = np.empty((rows, length), np.int64)
    step = max(1, _PAIRS_AT_ONCE // length)
    for row in range(rows):
        for first in range(0, length, step):
            some = places[first : first + step]
            before, after = (_compared(op, operands, row, some, f64, turn) for turn in (0, 1))
            tied = ~before & ~after & (places[None] < some[:, None])
            order[row, (before | tied).sum(axis=1)] = some
    order = order[:, :count]
    if number == len(operands):
        return order.astype(np.int32)
    return np.take_along_axis(operands[number], order, axis=1)


def _compared(
    op: ir.Operation, operands: Operands, row: int, some: np.ndarray, f64: bool, turn: int
) -> np.ndarray:
    """[some, all]: whether the other element is before (turn 0) each of some, or after it (1)."""
    shape = (len(some), operands[0].shape[1])
    arguments = []
    for operand in operands:
        each = np.broadcast_to(operand[row, some][:, None], shape)
        others = np.broadcast_to(operand[row][None], shape)
        arguments += [each, others] if turn else [others, each]
    return np.broadcast_to(_region(op.regions[0].blocks[0], arguments, f64), shape).astype(bool)


def _gather_rows(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    table, indices = operands
    return table[np.clip(indices.astype(np.int64), 0, len(table) - 1)]


def _scatter_rows(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    table, indices, rows = operands
    result, kind = table.copy(), ir.StringAttr(op.attributes["kind"]).value
    combine = _COMBINED[kind]
    for place, row in zip(indices.astype(np.int64), rows, strict=True):
        if 0 <= place < len(table):
            old = result[place]
            result[place] = row if combine is None else combine(_wide(old, f64), _wide(row, f64))
    return result


_COMBINED: dict[str, Callable[..., np.ndarray] | None] = {
    "set": None, "add": np.add, "max": maximum, "min": minimum,
}  # fmt: skip


def _softmax(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    axis = ir.IntegerAttr(op.attributes["axis"]).value
    x = _wide(operands[0], f64)
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def _masked_softmax(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    axis = ir.IntegerAttr(op.attributes["axis"]).value
    is_empty = np.isneginf(operands[0]).all(axis, keepdims=True)
    return np.where(is_empty, 0, _softmax(op, operands, f64))


def _layer_norm(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    x, gamma, beta = (_wide(a, f64) for a in operands)
    centred = x - x.mean(-1, keepdims=True)
    variance = np.square(centred).mean(-1, keepdims=True)
    return centred / np.sqrt(variance + _epsilon(op, x)) * gamma + beta


def _rms_norm(op: ir.Operation, operands: Operands, f64: bool) -> np.ndarray:
    x, gamma = (_wide(a, f64) for a in operands)
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + _epsilon(op, x)) * gamma


def _epsilon(op: ir.Operation, x: np.ndarray) -> np.generic:
    return x.dtype.type(ir.FloatAttr(op.attributes["epsilon"]).value)


_RULES: dict[str, Rule] = {f"neuron.{name}": _elementwise(name) for name in ELEMENTWISE} | {
    "neuron.compare": _compare,
    "neuron.select": _select,
    "neuron.convert": _convert,
    "neuron.bitcast": _bitcast,
    "neuron.constant": _constant,
    "neuron.iota": _iota,
    "neuron.broadcast": _broadcast,
    "neuron.reshape": _reshape,
    "neuron.transpose": _transpose,
    "neuron.slice": _slice,
    "neuron.dynamic_slice": _dynamic_slice,
    "neuron.dynamic_update_slice": _dynamic_update_slice,
    "neuron.concatenate": _concatenate,
    "neuron.pad": _pad,
    "neuron.reverse": _reverse,
    "neuron.reduce": _reduce,
    "neuron.dot": _dot,
    "neuron.convolution": _convolution,
    "neuron.reduce_window": _reduce_window,
    "neuron.gather_rows": _gather_rows,
    "neuron.scatter_rows": _scatter_rows,
    "neuron.sort": _sort,
    "neuron.softmax": _softmax,
    "neuron.masked_softmax": _masked_softmax,
    "neuron.layer_norm": _layer_norm,
    "neuron.rms_norm": _rms_norm,
    "neuron.fused": _fused,
}
EVALUATED_OPS: frozenset[str] = frozenset((*_RULES, REPEAT))
"""Operations with an evaluator: all but the terminator of regions."""
