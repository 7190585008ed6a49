"""Fused projections: one product whose result is sliced into equal parts, such as q, k and v.

Cutting the fused dim over cores would give the first core the queries and the last one the values.
So the dim of size parts * n becomes two dims, [parts, n], from the weight's argument (the same
bytes) through to the slices; then n can be cut. Arguments that are no weights keep their shapes.

Before: `slice(dot(x, w[64, 192]) + b[192])` three times. After: `w[64, 3, 64]`, `b[3, 64]`, slices
of one along the new dim, each reshaped to [.., 64].
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from axonc.diagnostics import InternalError
from axonc.imported import stablehlo_module
from axonc.imported.program import ImportedProgram

_ELEMENTWISE = ("stablehlo.add", "stablehlo.multiply", "stablehlo.subtract", "stablehlo.convert")


@dataclass(frozen=True)
class _Fused:
    """`value`'s dim is cut into `parts` by `slices`, in order."""

    value: ir.Value
    dim: int
    parts: int
    slices: tuple[ir.Operation, ...]


class _Cannot(Exception):
    """The dim does not come from weights alone by operations that can be written for two dims."""


def split_fused_weights(module: ir.Module, program: ImportedProgram) -> ImportedProgram:
    """Rewrite every fused projection of `module` whose arguments are weights; the program with the
    new shapes of those.
    """
    with module.context, ir.Location.unknown():
        main = stablehlo_module.main_function(module)
        splitter = _Splitter(program)
        for fused in _fused_values(main):
            splitter.rewrite(fused)
        kinds = [a.type for a in main.arguments]
        signature = ir.FunctionType.get(kinds, main.type.results)
        main.attributes["function_type"] = ir.TypeAttr.get(signature)
        _erase_unused(main)
    arguments = list(program.arguments)
    for index, shape in splitter.shapes.items():
        weight = arguments[index].weight
        if weight is None:
            raise InternalError(f"argument '{arguments[index].name}' was split, but is no weight")
        arguments[index] = replace(arguments[index], shape=shape, weight=weight.reshaped(shape))
    return replace(program, arguments=tuple(arguments))


def _fused_values(main: ir.OpView) -> list[_Fused]:
    slices: dict[ir.Value, list[ir.Operation]] = defaultdict(list)
    for view in main.entry_block.operations:
        if view.operation.name == "stablehlo.slice":
            slices[view.operation.operands[0]].append(view.operation)
    found = [_fused(value, users) for value, users in slices.items()]
    return [fused for fused in found if fused is not None]


def _fused(value: ir.Value, users: list[ir.Operation]) -> _Fused | None:
    """`users` as the equal parts of one dim of `value`; None if they are something else."""
    shape = _shape(value)
    parts = len(users)
    bounds = sorted(
        (tuple(u.attributes["start_indices"]), tuple(u.attributes["limit_indices"]), i)
        for i, u in enumerate(users)
    )
    changed = {
        d
        for start, limit, _ in bounds
        for d in range(len(shape))
        if (start[d], limit[d]) != (0, shape[d])
    }
    if parts < 2 or len(changed) != 1 or any(set(u.attributes["strides"]) != {1} for u in users):
        return None
    (dim,) = changed
    size = shape[dim] // parts
    expected = [(i * size, (i + 1) * size) for i in range(parts)]
    if shape[dim] % parts or [(s[dim], e[dim]) for s, e, _ in bounds] != expected:
        return None
    return _Fused(value, dim, parts, tuple(users[i] for _, _, i in bounds))


class _Splitter:
    """Writes values with one dim split; remembers which arguments changed shape."""

    def __init__(self, program: ImportedProgram) -> None:
        self.program = program
        self.shapes: dict[int, tuple[int, ...]] = {}
        self._done: dict[tuple[ir.Value, int, int], ir.Value] = {}

    def rewrite(self, fused: _Fused) -> None:
        """Replace the slices, or leave everything as it is."""
        try:
            self._check(fused.value, fused.dim, fused.parts)
        except _Cannot:
            return
        whole = self.split(fused.value, fused.dim, fused.parts)
        for i, op in enumerate(fused.slices):
            with op.location, ir.InsertionPoint(op):
                part = _slice_of_one(whole, fused.dim, i)
                op.results[0].replace_all_uses_with(_reshape(part, _shape(op.results[0])))

    def _check(self, value: ir.Value, dim: int, parts: int) -> None:
        if isinstance(value.owner, ir.Block):
            index = ir.BlockArgument(value).arg_number
            if self.program.arguments[index].weight is None or index in self.shapes:
                raise _Cannot
            return
        for source, at in self._sources(_owner(value), dim, parts):
            self._check(source, at, parts)

    def _sources(self, op: ir.Operation, dim: int, parts: int) -> list[tuple[ir.Value, int]]:
        """The operands whose dim has to be split too, and which dim."""
        handler = _HANDLERS.get(op.name)
        if handler is None:
            raise _Cannot
        return handler(op, dim)

    def split(self, value: ir.Value, dim: int, parts: int) -> ir.Value:
        """`value` with `dim` as two dims, [parts, size / parts]."""
        key = (value, dim, parts)
        if key not in self._done:
            is_argument = isinstance(value.owner, ir.Block)
            self._done[key] = (
                self._split_argument(value, dim, parts)
                if is_argument
                else self._split_result(value, dim, parts)
            )
        return self._done[key]

    def _split_argument(self, value: ir.Value, dim: int, parts: int) -> ir.Value:
        """Other users of the argument read it reshaped to what it was."""
        before, after = _shape(value), _split_shape(_shape(value), dim, parts)
        self.shapes[ir.BlockArgument(value).arg_number] = after
        kind = ir.RankedTensorType(value.type)
        users = [(use.owner, use.operand_number) for use in value.uses]
        ir.BlockArgument(value).set_type(ir.RankedTensorType.get(after, kind.element_type))
        with ir.InsertionPoint.at_block_begin(value.owner):
            old = _reshape(value, before)
        for user, number in users:
            user.operation.operands[number] = old
        return value

    def _split_result(self, value: ir.Value, dim: int, parts: int) -> ir.Value:
        op = _owner(value)
        sources = {s: (s, at) for s, at in self._sources(op, dim, parts)}
        operands = [self.split(*sources[v], parts) if v in sources else v for v in op.operands]
        kind = ir.RankedTensorType(value.type)
        result = ir.RankedTensorType.get(
            _split_shape(tuple(kind.shape), dim, parts), kind.element_type
        )
        attributes = {name: op.attributes[name] for name in op.attributes}
        changed = _ATTRIBUTES.get(op.name)
        if changed is not None:
            attributes.update(changed(op, dim))
        copy = ir.Operation.create(
            op.name,
            results=[result],
            operands=operands,
            attributes=attributes,
            loc=op.location,
            ip=ir.InsertionPoint(op),
        )
        return copy.results[0]


# ---- which operands are split, by operation ------------------------------------------------------

_Sources = list[tuple[ir.Value, int]]


def _elementwise(op: ir.Operation, dim: int) -> _Sources:
    return [(operand, dim) for operand in op.operands]


def _broadcast(op: ir.Operation, dim: int) -> _Sources:
    """A dim that is broadcast needs nothing of the operand."""
    dims = list(op.attributes["broadcast_dimensions"])
    if dim not in dims:
        return []
    at = dims.index(dim)
    if _shape(op.operands[0])[at] != _shape(op.results[0])[dim]:
        raise _Cannot
    return [(op.operands[0], at)]


def _view(op: ir.Operation, dim: int) -> _Sources:
    """A reshape that leaves the dim as it is."""
    before, after = _shape(op.operands[0]), _shape(op.results[0])
    ahead = int(np.prod(after[:dim], dtype=np.int64))
    for at in range(len(before)):
        if int(np.prod(before[:at], dtype=np.int64)) == ahead and before[at] == after[dim]:
            return [(op.operands[0], at)]
    raise _Cannot


def _dot(op: ir.Operation, dim: int) -> _Sources:
    numbers = _numbers(op)
    for operand, free in enumerate(_free_dims(op, numbers)):
        if dim in free:
            return [(op.operands[operand], free[dim])]
    raise _Cannot


_HANDLERS: dict[str, Callable[[ir.Operation, int], _Sources]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    "stablehlo.broadcast_in_dim": _broadcast,
    "stablehlo.reshape": _view,
    "stablehlo.dot_general": _dot,
}


# ---- what changes in an operation's attributes ---------------------------------------------------


def _broadcast_attributes(op: ir.Operation, dim: int) -> dict[str, ir.Attribute]:
    found = []
    for d in op.attributes["broadcast_dimensions"]:
        found += [d, d + 1] if d == dim else [d + (d > dim)]
    return {"broadcast_dimensions": ir.DenseI64ArrayAttr.get(found)}


def _dot_attributes(op: ir.Operation, dim: int) -> dict[str, ir.Attribute]:
    numbers = _numbers(op)
    free = _free_dims(op, numbers)
    operand = 0 if dim in free[0] else 1
    at = free[operand][dim]
    moved = [list(getattr(numbers, name)) for name in _DOT_DIMS]
    for side in (operand, operand + 2):
        moved[side] = [d + (d > at) for d in moved[side]]
    return {"dot_dimension_numbers": stablehlo.DotDimensionNumbers.get(*moved)}


_DOT_DIMS = (
    "lhs_batching_dimensions",
    "rhs_batching_dimensions",
    "lhs_contracting_dimensions",
    "rhs_contracting_dimensions",
)
_ATTRIBUTES: dict[str, Callable[[ir.Operation, int], dict[str, ir.Attribute]]] = {
    "stablehlo.broadcast_in_dim": _broadcast_attributes,
    "stablehlo.dot_general": _dot_attributes,
}


def _numbers(op: ir.Operation) -> stablehlo.DotDimensionNumbers:
    return stablehlo.DotDimensionNumbers(op.attributes["dot_dimension_numbers"])


def _free_dims(op: ir.Operation, numbers: stablehlo.DotDimensionNumbers) -> list[dict[int, int]]:
    """By operand, its free dims by the dim of the result they become."""
    batch = len(numbers.lhs_batching_dimensions)
    found: list[dict[int, int]] = []
    position = batch
    for operand, (batched, contracted) in zip(
        op.operands,
        (
            (numbers.lhs_batching_dimensions, numbers.lhs_contracting_dimensions),
            (numbers.rhs_batching_dimensions, numbers.rhs_contracting_dimensions),
        ),
        strict=True,
    ):
        free = [d for d in range(len(_shape(operand))) if d not in (*batched, *contracted)]
        found.append({position + i: d for i, d in enumerate(free)})
        position += len(free)
    return found


# ---- small things --------------------------------------------------------------------------------


def _shape(value: ir.Value) -> tuple[int, ...]:
    return tuple(ir.RankedTensorType(value.type).shape)


def _split_shape(shape: tuple[int, ...], dim: int, parts: int) -> tuple[int, ...]:
    return (*shape[:dim], parts, shape[dim] // parts, *shape[dim + 1 :])


def _owner(value: ir.Value) -> ir.Operation:
    owner = value.owner
    return owner if isinstance(owner, ir.Operation) else owner.operation


def _reshape(value: ir.Value, shape: tuple[int, ...]) -> ir.Value:
    kind = ir.RankedTensorType.get(shape, ir.RankedTensorType(value.type).element_type)
    return stablehlo.ReshapeOp(kind, value).result


def _slice_of_one(value: ir.Value, dim: int, index: int) -> ir.Value:
    shape = _shape(value)
    start = [index if d == dim else 0 for d in range(len(shape))]
    limit = [index + 1 if d == dim else n for d, n in enumerate(shape)]
    return stablehlo.SliceOp(value, start, limit, [1] * len(shape)).result


def _erase_unused(main: ir.OpView) -> None:
    """What only the old slices read."""
    for view in reversed(list(main.entry_block.operations)):
        op = view.operation
        is_pure = op.name in _HANDLERS or op.name == "stablehlo.slice"
        if is_pure and not any(list(result.uses) for result in op.results):
            op.erase()
