"""What depends on the rank becomes an argument: every rank then runs the same instructions.

Shardy writes `table[partition_id]` for the offset of a part; the table becomes a weight that is cut
along all axes of the mesh, one entry a rank. Any other use of `partition_id` reads the weight
`mesh.rank`. So no program needs to know which core it runs on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from axonc.imported.constants import add_argument, elements
from axonc.imported.program import Argument
from axonc.partition.rank_slices import choose_slices, free_name, per_rank
from axonc.sharding import Mesh

RANK_NAME = "mesh.rank"
TABLE_NAME = "mesh.table"


@dataclass(frozen=True)
class _Lookup:
    """`op` gives one entry of `table`, the rank's."""

    op: ir.Operation
    table: np.ndarray


def lift_rank_tables(main: ir.OpView, mesh: Mesh, *, taken: set[str]) -> list[Argument]:
    """Replace what is computed from `partition_id` alone; the new arguments of `main`, in order."""
    ids = [op for op in _all_ops(main) if op.name == "stablehlo.partition_id"]
    lookups = [found for op in ids for found in _lookups(op, mesh)]
    arguments: list[Argument] = []
    values: dict[bytes, ir.Value] = {}
    tables: list[np.ndarray] = []
    for lookup in lookups:
        key = lookup.table.tobytes() + str(lookup.table.dtype).encode()
        if key not in values:
            values[key] = add_argument(main, lookup.op.results[0].type, lookup.op.location)
            name = free_name(f"{TABLE_NAME}.{len(arguments)}", taken)
            arguments.append(per_rank(name, lookup.table, mesh))
            tables.append(lookup.table)
        lookup.op.results[0].replace_all_uses_with(values[key])
        lookup.op.erase()
    _erase_dead(ids)
    known = {v: t for v, t in zip(values.values(), tables, strict=True)}
    arguments += choose_slices(main, _all_ops(main), known, mesh, taken)
    rest = [op for op in _all_ops(main) if op.name == "stablehlo.partition_id"]
    if rest:
        arguments.append(_pass_rank(main, rest, mesh, free_name(RANK_NAME, taken)))
    return arguments


def _erase_dead(ids: list[ir.Operation]) -> None:
    """Erase conversions of a rank, and ranks, that have no uses any more."""
    for op in ids:
        for user in [use.owner.operation for use in op.results[0].uses]:
            if not list(user.results[0].uses):
                user.erase()
        if not list(op.results[0].uses):
            op.erase()


def _pass_rank(main: ir.OpView, ids: list[ir.Operation], mesh: Mesh, name: str) -> Argument:
    """One argument of one element for all of `ids`."""
    scalar = ir.RankedTensorType(ids[0].results[0].type)
    kind = ir.RankedTensorType.get([1], scalar.element_type)
    rank = add_argument(main, kind, ids[0].location)
    for op in ids:
        with ir.InsertionPoint(op), op.location:
            op.results[0].replace_all_uses_with(stablehlo.ReshapeOp(scalar, rank).result)
        op.erase()
    return per_rank(name, np.arange(mesh.size, dtype=np.uint32), mesh)


def _lookups(partition_id: ir.Operation, mesh: Mesh) -> Iterator[_Lookup]:
    """`dynamic_slice(constant table of one entry a rank, [convert] partition_id)`."""
    for use in list(partition_id.results[0].uses):
        user = use.owner.operation
        indices = [user]
        if user.name == "stablehlo.convert":
            indices = [u.owner.operation for u in list(user.results[0].uses)]
        for op in indices:
            table = _table_of(op, mesh)
            if table is not None:
                yield _Lookup(op, table)


def _table_of(op: ir.Operation, mesh: Mesh) -> np.ndarray | None:
    if op.name != "stablehlo.dynamic_slice" or isinstance(op.operands[0].owner, ir.Block):
        return None
    source = op.operands[0].owner.operation
    if source.name != "stablehlo.constant":
        return None
    if list(ir.RankedTensorType(source.results[0].type).shape) != [mesh.size]:
        return None
    value = ir.DenseElementsAttr(source.attributes["value"])
    if value.is_splat:
        return None
    return elements(source.attributes["value"])


def _all_ops(main: ir.OpView) -> list[ir.Operation]:
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        found.append(op)
        return ir.WalkResult.ADVANCE

    main.operation.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found
