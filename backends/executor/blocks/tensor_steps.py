"""Fast mode: in which order the tensor engine's steps may run, and which belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from axonc.backends.executor.steps.prepared import Prepared
from axonc.backends.isa.access_pattern import NO_REGISTER, Access, Memory, TileAccess
from axonc.backends.isa.spec import Action
from axonc.backends.numerics.dtypes import F32
from axonc.backends.targets.target import Engine


def eager_tensor_order(steps: Sequence[Prepared]) -> Iterator[int]:
    """Numbers of the steps, with those of the tensor engine that wait for nothing right behind
    their predecessor in its stream."""
    tensor = [i for i, p in enumerate(steps) if p.engine is Engine.TENSOR]
    done = 0
    for i, prepared in enumerate(steps):
        if prepared.engine is not Engine.TENSOR:
            yield i
        elif done < len(tensor) and tensor[done] == i:
            yield i
            done += 1
            while done < len(tensor) and not steps[tensor[done]].waits:
                yield tensor[done]
                done += 1


def find_groups(steps: Sequence[Prepared]) -> dict[int, list[int]]:
    """MultiplyMoving instructions by LoadStationary (numbers of steps) where the products need no
    other state of the tensor engine: they wait for nothing, and only they use what was loaded."""
    groups: dict[int, list[int]] = {}
    load = None
    for number, step in enumerate(steps):
        if step.engine is not Engine.TENSOR or not step.instruction.spec.touches_memory:
            continue
        if step.action is Action.LOAD_STATIONARY:
            load = number
            groups[load] = []
        elif load is not None and step.action is Action.MULTIPLY and not step.waits:
            groups[load].append(number)
        elif load is not None:
            del groups[load]
            load = None
    return {load: multiplies for load, multiplies in groups.items() if multiplies}


def is_plain(stationary: Access | None, moving: Access | None, result: Access | None) -> bool:
    """Operands in SBUF and results in PSUM with static addresses, one unit-stride free dim for the
    stationary tile and the result, matching shapes (others take the general path, which reports
    what is wrong)."""
    for access, memory in ((stationary, Memory.SBUF), (moving, Memory.SBUF), (result, Memory.PSUM)):
        if not isinstance(access, TileAccess) or access.memory is not memory:
            return False
        if access.register != NO_REGISTER:
            return False
    assert isinstance(stationary, TileAccess)
    assert isinstance(moving, TileAccess) and isinstance(result, TileAccess)
    return (
        len(stationary.dims) == len(result.dims) == 1
        and stationary.dims[0][0] == result.dims[0][0] == 1
        and result.dtype is F32
        and result.num_partitions == stationary.elements_per_partition
        and result.elements_per_partition == moving.elements_per_partition
        and stationary.num_partitions == moving.num_partitions
    )
