"""Which cores a StableHLO collective connects.

Replica groups name processes in one of several ways (StableHLO, "process groups"). A program has
partitions or replicas, not both; a core is one of them.
"""

from __future__ import annotations

import numpy as np
from torch_mlir import ir
from torch_mlir._mlir_libs import _stablehlo

from axonc.backends.isa.collective_groups import Groups
from axonc.dialects.attributes import dense_to_numpy
from axonc.passes.graph.module import Processes
from axonc.passes.unsupported import Unsupported


def channel_of(op: ir.Operation) -> int:
    if "channel_handle" not in op.attributes:
        return 0
    return int(_stablehlo.ChannelHandle(op.attributes["channel_handle"]).handle)


def _listed(op: ir.Operation, name: str) -> Groups:
    array = dense_to_numpy(op.attributes[name])
    if array.size and int(array.min()) < 0:
        raise Unsupported("replica groups of different sizes", "make all groups equally large")
    return tuple(tuple(int(n) for n in row) for row in np.atleast_2d(array) if len(row))


def groups_of(op: ir.Operation, *, and_partitions: bool) -> Groups:
    """The cores of each group. and_partitions: with a channel, groups list replicas, and every
    partition of them takes part (all_reduce and its kin); else they list partitions."""
    processes = Processes.of(op)
    listed = _listed(op, "replica_groups")
    everyone = (tuple(range(processes.cores)),)
    if "use_global_device_ids" in op.attributes:
        found = listed or everyone
    elif channel_of(op) > 0 and and_partitions:
        replicas = listed or (tuple(range(processes.replicas)),)
        count = processes.partitions
        found = tuple(tuple(r * count + p for p in range(count) for r in g) for g in replicas)
    elif channel_of(op) > 0 or processes.replicas > 1:
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


def pairs_of(op: ir.Operation) -> Groups:
    processes = Processes.of(op)
    pairs = _listed(op, "source_target_pairs")
    if channel_of(op) <= 0 and processes.partitions > 1:
        return tuple((core, core) for core in range(processes.cores)) if (0, 0) in pairs else ()
    if any(rank >= processes.cores for pair in pairs for rank in pair):
        raise Unsupported(f"pairs {list(map(list, pairs))} on {processes.cores} cores")
    return pairs
