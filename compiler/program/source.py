"""The program that a compiled one was made from, kept along with it so that it can be compiled once
more with other options, by whoever has loaded it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from axonc.sharding import Mesh, Sharding


@dataclass(frozen=True)
class SourceArgument:
    """An argument of the source, in its order. is_weight: it was bound to a weight of this name."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    is_weight: bool
    sharding: Sharding | None = None


@dataclass(frozen=True)
class ProgramSource:
    """module: a StableHLO portable artifact; the rest is what an imported program says beside it,
    but for the weights, and for the state: the compiled program has those."""

    module: bytes = field(repr=False)
    arguments: tuple[SourceArgument, ...]
    result_names: tuple[str, ...]
    mesh: Mesh | None = None
    result_shardings: tuple[Sharding, ...] = ()
    sharding_notes: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
