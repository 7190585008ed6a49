"""Which cores have which tensors, and which part of them."""

from __future__ import annotations

from dataclasses import dataclass

from axonc.backends.program import CoreProgram, HbmTensor, TensorKind
from axonc.sharding import Sharding


@dataclass(frozen=True)
class Holder:
    """`core` has `tensor`."""

    core: int
    place: int
    """Its number among the cores that have the whole tensor together, which is its rank in the mesh
    of the sharding."""
    tensor: HbmTensor


def holders(program: CoreProgram, kind: TensorKind) -> dict[str, list[Holder]]:
    """By name of the argument or result: the cores that have (a part of) it, ascending. A weight
    that is packed in several ways has a holder for each of them, at one place."""
    found: dict[str, list[Holder]] = {}
    for core in range(program.cores):
        for tensor in program.program(core).tensors:
            if tensor.kind is kind:
                name = tensor.source if kind is TensorKind.WEIGHT else tensor.name
                others = found.setdefault(name, [])
                place = len({holder.core for holder in others if holder.core != core})
                others.append(Holder(core, place, tensor))
    return found


def part_key(sharding: Sharding | None, place: int, shape: tuple[int, ...]) -> tuple[object, ...]:
    """Equal for places that have the same part of a tensor."""
    if sharding is None:
        return ()
    return tuple((part.start, part.stop) for part in sharding.index_of(place, shape))
