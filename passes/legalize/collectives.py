"""StableHLO collectives as neuron operations: part of `legalize-to-neuron`.

neuron collectives stack blocks along a new first dim; reshapes and transposes put them where
StableHLO wants them. The machine reduces in FP32 (machine.md#collectives), so integers, which it
might round, are gathered instead and reduced on every core.

Replica groups name processes in one of several ways (StableHLO, "process groups"). A program has
partitions or replicas, not both; a core is one of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch_mlir import ir
from torch_mlir._mlir_libs import _stablehlo

from axonc.backends.isa.collective_groups import Groups
from axonc.dialects.attributes import dense_to_numpy, element_name
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.table import CORE_REDUCTIONS, FLOAT
from axonc.passes.graph.module import Processes
from axonc.passes.legalize.movement import reduction_kind_of
from axonc.passes.unsupported import Unsupported

# ---- groups --------------------------------------------------------------------------------------


def _channel(op: ir.Operation) -> int:
    if "channel_handle" not in op.attributes:
        return 0
    return int(_stablehlo.ChannelHandle(op.attributes["channel_handle"]).handle)


def _listed(op: ir.Operation, name: str) -> Groups:
    array = dense_to_numpy(op.attributes[name])
    if array.size and int(array.min()) < 0:
        raise Unsupported("replica groups of different sizes", "make all groups equally large")
    return tuple(tuple(int(n) for n in row) for row in np.atleast_2d(array) if len(row))


def _groups(op: ir.Operation, *, and_partitions: bool) -> Groups:
    """The cores of each group. and_partitions: with a channel, groups list replicas, and every
    partition of them takes part (all_reduce and its kin); else they list partitions."""
    processes = Processes.of(op)
    listed = _listed(op, "replica_groups")
    everyone = (tuple(range(processes.cores)),)
    if "use_global_device_ids" in op.attributes:
        found = listed or everyone
    elif _channel(op) > 0 and and_partitions:
        replicas = listed or (tuple(range(processes.replicas)),)
        count = processes.partitions
        found = tuple(tuple(r * count + p for p in range(count) for r in g) for g in replicas)
    elif _channel(op) > 0 or processes.replicas > 1:
        found = listed or everyone
    else:  # groups of replicas, of which there is one: every core for itself
        found = tuple((core,) for core in range(processes.cores))
    ranks = sorted(rank for group in found for rank in group)
    if ranks != list(range(processes.cores)) or len({len(group) for group in found}) != 1:
        raise Unsupported(
            f"replica groups {list(map(list, found))} on {processes.cores} cores",
            "groups of one size that hold each core once",
        )
    return found


def _pairs(op: ir.Operation) -> Groups:
    processes = Processes.of(op)
    pairs = _listed(op, "source_target_pairs")
    if _channel(op) <= 0 and processes.partitions > 1:
        return tuple((core, core) for core in range(processes.cores)) if (0, 0) in pairs else ()
    if any(rank >= processes.cores for pair in pairs for rank in pair):
        raise Unsupported(f"pairs {list(map(list, pairs))} on {processes.cores} cores")
    return pairs


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
    value, groups = _one_tensor(op), _groups(op, and_partitions=True)
    kind = reduction_kind_of(op)
    if len(groups[0]) == 1:
        return value
    if _reduces_on_machine(value, kind):
        return build.all_reduce(value, kind, groups)
    return build.reduce(build.all_gather(value, groups), kind, [0])


def reduce_scatter(op: ir.Operation) -> ir.Value:
    value, groups = _one_tensor(op), _groups(op, and_partitions=True)
    kind, count = reduction_kind_of(op), len(groups[0])
    if count == 1:
        return value
    blocks = _split_first(value, _dim(op, "scatter_dimension"), count)
    if _reduces_on_machine(value, kind):
        return build.reduce_scatter(blocks, kind, groups)
    return build.reduce(build.all_to_all(blocks, groups), kind, [0])


def all_gather(op: ir.Operation) -> ir.Value:
    value, groups = _one_tensor(op), _groups(op, and_partitions=True)
    if len(groups[0]) == 1:
        return value
    return _join_first(build.all_gather(value, groups), _dim(op, "all_gather_dim"))


def all_to_all(op: ir.Operation) -> ir.Value:
    value, groups = _one_tensor(op), _groups(op, and_partitions=False)
    count = len(groups[0])
    if count == 1:
        return value
    blocks = _split_first(value, _dim(op, "split_dimension"), count)
    return _join_first(build.all_to_all(blocks, groups), _dim(op, "concat_dimension"))


def collective_permute(op: ir.Operation) -> ir.Value:
    pairs = _pairs(op)
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
