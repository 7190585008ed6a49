"""The program that a compiled one was made from, kept along with it so that it can be compiled once
more with other options, also where it was loaded from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from axonc.sharding import Mesh, Sharding


@dataclass(frozen=True)
class SourceArgument:
    """An argument of the source, in its order."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    is_weight: bool
    """Whether it was bound to a weight of this name."""
    sharding: Sharding | None = None


@dataclass(frozen=True)
class ProgramSource:
    """What an imported program says, but for its weights and its state: the compiled program has
    those."""

    module: bytes = field(repr=False)
    """A StableHLO portable artifact."""
    arguments: tuple[SourceArgument, ...]
    result_names: tuple[str, ...]
    mesh: Mesh | None = None
    result_shardings: tuple[Sharding, ...] = ()
    sharding_notes: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
