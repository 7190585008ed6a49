"""A core's part of a tensor that all have: slices at known places, and a choice by rank.

Shardy slices at an offset that it looks up by the rank. All offsets are known here, so each part is
an ordinary slice, and weights (true on the ranks that want a part) select among them: no address
is computed at run time, and every rank still runs the same instructions.

Before: `dynamic_slice(x, table[rank], 0)`, table [0, 4, 0, 4]. After:
`select(wants, x[4:8], x[0:4])`; the weight `wants` = [false, true, false, true], one entry a rank.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from axonc.imported.constants import add_argument, elements
from axonc.imported.program import Argument
from axonc.sharding import Mesh, Sharding
from axonc.weights.references import WeightRef

CHOICE_NAME = "mesh.choice"
_PASSED_THROUGH = ("stablehlo.reshape", "stablehlo.convert")

Tables = Mapping[ir.Value, np.ndarray]
"""Arguments that hold one number a rank, and these numbers."""


def per_rank(name: str, table: np.ndarray, mesh: Mesh) -> Argument:
    """The argument for a weight that has one entry a rank; each core has its own."""
    weight = WeightRef.of_array(table, name=name)
    sharding = Sharding(mesh, (tuple(axis for axis, _ in mesh.axes),))
    return Argument(name, weight.shape, weight.dtype, weight, sharding)


def free_name(name: str, taken: set[str]) -> str:
    """`name`, or one like it that no argument has; it is taken then."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def choose_slices(
    main: ir.OpView, operations: list[ir.Operation], tables: Tables, mesh: Mesh, taken: set[str]
) -> list[Argument]:
    """Replace every dynamic_slice among `operations` whose offsets are known for each rank; the new
    arguments of `main`, in order."""
    added: list[Argument] = []
    choices: dict[bytes, ir.Value] = {}
    for op in operations:
        starts = _starts(op, tables, mesh) if op.name == "stablehlo.dynamic_slice" else None
        if starts is None:
            continue
        places = sorted(set(map(tuple, starts.tolist())))
        with ir.InsertionPoint(op), op.location:
            result = _slice(op, places[0])
            for place in places[1:]:
                wants = np.all(starts == np.array(place), axis=1)
                if wants.tobytes() not in choices:
                    choices[wants.tobytes()] = _add(main, wants, mesh, taken, added, op)
                result = _select(choices[wants.tobytes()], _slice(op, place), result)
        op.results[0].replace_all_uses_with(result)
        op.erase()
    return added


def _starts(op: ir.Operation, tables: Tables, mesh: Mesh) -> np.ndarray | None:
    """[rank, dim]: where each rank's slice begins; None where only run time knows."""
    columns = [_known(v, tables, mesh) for v in list(op.operands)[1:]]
    found = [column for column in columns if column is not None]
    if not found or len(found) < len(columns):
        return None
    room = np.subtract(_shape(op.operands[0]), _shape(op.results[0]))
    return np.clip(np.stack(found, axis=1), 0, room)


def _known(value: ir.Value, tables: Tables, mesh: Mesh) -> np.ndarray | None:
    """The values of a scalar, by rank."""
    while value not in tables:
        if isinstance(value.owner, ir.Block):
            return None
        op = value.owner if isinstance(value.owner, ir.Operation) else value.owner.operation
        if op.name == "stablehlo.constant":
            attribute = ir.DenseElementsAttr(op.attributes["value"])
            number = attribute.get_splat_value() if attribute.is_splat else None
            if number is None:
                return elements(attribute).astype(np.int64)
            return np.full(mesh.size, int(number.value), np.int64)
        if op.name not in _PASSED_THROUGH:
            return None
        value = op.operands[0]
    return tables[value].astype(np.int64)


def _shape(value: ir.Value) -> list[int]:
    return list(ir.RankedTensorType(value.type).shape)


def _slice(op: ir.Operation, start: tuple[int, ...]) -> ir.Value:
    sizes = _shape(op.results[0])
    limit = [s + n for s, n in zip(start, sizes, strict=True)]
    return stablehlo.SliceOp(op.operands[0], list(start), limit, [1] * len(sizes)).result


def _select(wants: ir.Value, on_true: ir.Value, on_false: ir.Value) -> ir.Value:
    bit = ir.IntegerType.get_signless(1)
    scalar = stablehlo.ReshapeOp(ir.RankedTensorType.get([], bit), wants).result
    kind = ir.RankedTensorType.get(_shape(on_true), bit)
    mask = stablehlo.BroadcastInDimOp(kind, scalar, []).result
    return stablehlo.SelectOp(mask, on_true, on_false).result


def _add(
    main: ir.OpView,
    wants: np.ndarray,
    mesh: Mesh,
    taken: set[str],
    added: list[Argument],
    op: ir.Operation,
) -> ir.Value:
    kind = ir.RankedTensorType.get([1], ir.IntegerType.get_signless(1))
    value = add_argument(main, kind, op.location)
    added.append(per_rank(free_name(f"{CHOICE_NAME}.{len(added)}", taken), wants, mesh))
    return value
