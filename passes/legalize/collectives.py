"""StableHLO collectives as neuron operations: part of `legalize-to-neuron`.

neuron collectives stack blocks along a new first dim; reshapes and transposes put them where
StableHLO wants them. The machine reduces in FP32 (machine.md#collectives), so integers, which it
might round, are gathered instead and reduced on every core.

Replica groups name processes in one of several ways (StableHLO, "process groups"). A program has
partitions or replicas, not both; a core is one of them.
"""

from __future__ import annotations

from collections.abc import Callable

from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.table import CORE_REDUCTIONS, FLOAT
from axonc.passes.graph.module import Processes
from axonc.passes.graph.replica_groups import groups_of, pairs_of
from axonc.passes.legalize.movement import reduction_kind_of
from axonc.passes.unsupported import Unsupported

# ---- dims ----------------------------------------------------------------------------------------


def _split_first(value: ir.Value, dim: int, count: int) -> ir.Value:
    """[count, ...]: `dim` cut into `count` blocks, which become the first dim."""
    shape = list(value.type.shape)
    cut = build.reshape(value, [*shape[:dim], count, shape[dim] // count, *shape[dim + 1 :]])
    rank = len(shape) + 1
    return build.transpose(cut, [dim, *(d for d in range(rank) if d != dim)])


def _join_first(value: ir.Value, dim: int) -> ir.Value:
    """The blocks along the first dim one after the other along (the later) dim `dim`."""
    rank = value.type.rank
    order = [*range(1, dim + 1), 0, *range(dim + 1, rank)]
    moved = build.transpose(value, order)
    shape = list(moved.type.shape)
    return build.reshape(moved, [*shape[:dim], shape[dim] * shape[dim + 1], *shape[dim + 2 :]])


def _dim(op: ir.Operation, name: str) -> int:
    return ir.IntegerAttr(op.attributes[name]).value


def _one_tensor(op: ir.Operation) -> ir.Value:
    if len(op.operands) != 1:
        raise Unsupported(f"a collective of {len(op.operands)} tensors at once", "one per tensor")
    return op.operands[0]


# ---- operations ----------------------------------------------------------------------------------


def _reduces_on_machine(value: ir.Value, kind: str) -> bool:
    return kind in CORE_REDUCTIONS and element_name(value.type) in FLOAT


def all_reduce(op: ir.Operation) -> ir.Value:
    value, groups = _one_tensor(op), groups_of(op, and_partitions=True)
    kind = reduction_kind_of(op)
    if len(groups[0]) == 1:
        return value
    if _reduces_on_machine(value, kind):
        return build.all_reduce(value, kind, groups)
    return build.reduce(build.all_gather(value, groups), kind, [0])


def reduce_scatter(op: ir.Operation) -> ir.Value:
    value, groups = _one_tensor(op), groups_of(op, and_partitions=True)
    kind, count = reduction_kind_of(op), len(groups[0])
    if count == 1:
        return value
    blocks = _split_first(value, _dim(op, "scatter_dimension"), count)
    if _reduces_on_machine(value, kind):
        return build.reduce_scatter(blocks, kind, groups)
    return build.reduce(build.all_to_all(blocks, groups), kind, [0])


def all_gather(op: ir.Operation) -> ir.Value:
    value, groups = _one_tensor(op), groups_of(op, and_partitions=True)
    if len(groups[0]) == 1:
        return value
    return _join_first(build.all_gather(value, groups), _dim(op, "all_gather_dim"))


def all_to_all(op: ir.Operation) -> ir.Value:
    value, groups = _one_tensor(op), groups_of(op, and_partitions=False)
    count = len(groups[0])
    if count == 1:
        return value
    blocks = _split_first(value, _dim(op, "split_dimension"), count)
    return _join_first(build.all_to_all(blocks, groups), _dim(op, "concat_dimension"))


def collective_permute(op: ir.Operation) -> ir.Value:
    pairs = pairs_of(op)
    value = op.operands[0]
    if all(source == target for source, target in pairs) and len(pairs) == Processes.of(op).cores:
        return value
    return build.collective_permute(value, pairs)


def partition_id(op: ir.Operation) -> ir.Value:
    return _number_of(op, Processes.of(op).partitions)


def replica_id(op: ir.Operation) -> ir.Value:
    return _number_of(op, Processes.of(op).replicas)


def _number_of(op: ir.Operation, count: int) -> ir.Value:
    """A core's number among `count`: 0 if there is one."""
    if count > 1:
        return build.partition_id()
    return build.splat_constant(0, op.results[0].type)


COLLECTIVE_LEGALIZERS: dict[str, Callable[[ir.Operation], ir.Value]] = {
    "all_reduce": all_reduce,
    "reduce_scatter": reduce_scatter,
    "all_gather": all_gather,
    "all_to_all": all_to_all,
    "collective_permute": collective_permute,
    "partition_id": partition_id,
    "replica_id": replica_id,
}
