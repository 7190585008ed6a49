"""How the chips of an instance are linked, and where a program's cores are placed.

Chips form a torus of one or two dims (a ring is a torus of one); every chip has a link to each
neighbour, in both directions. Core r of a program lies on chip r // cores_per_chip, chips in
row-major order, so that neighbouring ranks are neighbours in the machine
(machine.md#instances-and-links).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

Link = tuple[int, int]
"""(chip, neighbouring chip): one direction of a link."""


@dataclass(frozen=True)
class Instance:
    """A machine that can be rented: its chips and how they are joined."""

    name: str
    torus: tuple[int, ...]
    """Chips per dim."""
    cores_per_chip: int
    link_bytes_per_ns: float
    """What one link moves, in one direction."""

    @cached_property
    def chips(self) -> int:
        return math.prod(self.torus)

    @property
    def cores(self) -> int:
        return self.chips * self.cores_per_chip

    def chip_of(self, core: int) -> int:
        return core // self.cores_per_chip

    def route(self, source: int, target: int) -> list[Link]:
        """Links from one chip to another: dim by dim, the shorter way round (upwards if equal)."""
        links, here = [], source
        for dim, size in enumerate(self.torus):
            below = math.prod(self.torus[dim + 1 :])
            distance = (target // below - here // below) % size
            step, count = (1, distance) if 2 * distance <= size else (-1, size - distance)
            for _ in range(count):
                place = here // below % size
                there = here + ((place + step) % size - place) * below
                links.append((here, there))
                here = there
        return links


@dataclass(frozen=True)
class CollectiveTiming:
    """What collectives cost besides the bytes they move."""

    step_ns: float
    """Latency of one step of an algorithm."""
    start_ns: float
    """From the last core's trigger to the first data."""
    most_sources: int
    """Tensors that a DMA engine adds at once."""
