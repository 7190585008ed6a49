"""The accesses to one buffer, found by the bytes they touch.

A buffer that is written piece by piece has thousands. All boxes are compared at once then, as
arrays, and only those that meet are looked at one by one; so the work per access is small, whatever
their number. Of few accesses each is looked at, which is faster.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from axonc.dialects.ntile.footprint import Footprint, covers, may_overlap

FEW = 24
"""Accesses that are looked at one by one."""


class Accesses:
    """Footprints, each with the node that touches it."""

    def __init__(self) -> None:
        self._found: list[tuple[Footprint, int] | None] = []
        """None where one was dropped."""
        self._dropped = 0
        self._boxes = np.empty((4, 0), np.int64)
        """Of the first of `_found`: what their footprints begin with, a column each."""
        self._boxed = 0

    def __iter__(self) -> Iterator[tuple[Footprint, int]]:
        return (each for each in self._found if each is not None)

    def __len__(self) -> int:
        return len(self._found) - self._dropped

    def add(self, touched: Footprint, node: int) -> None:
        self._found.append((touched, node))

    def meeting(self, touched: Footprint) -> list[int]:
        """The nodes that may touch a byte of `touched`."""
        return [node for _, _, node in self._meeting(touched)]

    def replaced_by(self, touched: Footprint) -> list[int]:
        """The nodes that may touch a byte of `touched`. Those that touch no other are dropped."""
        nodes = []
        for place, footprint, node in self._meeting(touched):
            nodes.append(node)
            if covers(touched, footprint):
                self._found[place] = None
                self._dropped += 1
        if self._dropped > FEW and self._dropped > len(self._found) // 2:
            self._found = list(self)
            self._dropped = self._boxed = 0
        return nodes

    def _meeting(self, touched: Footprint) -> list[tuple[int, Footprint, int]]:
        found = self._found
        places = range(len(found)) if len(found) <= FEW else self._near(touched)
        candidates = ((place, found[place]) for place in places)
        return [
            (place, each[0], each[1])
            for place, each in candidates
            if each is not None and may_overlap(each[0], touched)
        ]

    def _near(self, touched: Footprint) -> list[int]:
        """Places of all whose boxes meet that of `touched`."""
        self._box_all()
        first_partition, end_partition, first_byte, end_byte = self._boxes[:, : self._boxed]
        meets = first_partition < touched.end_partition
        meets &= end_partition > touched.first_partition
        meets &= first_byte < touched.end_byte
        meets &= end_byte > touched.first_byte
        places: list[int] = np.flatnonzero(meets).tolist()
        return places

    def _box_all(self) -> None:
        """Those dropped since have boxes too, and are skipped where they are met."""
        count = len(self._found)
        if count > self._boxes.shape[1]:
            wider = np.empty((4, 2 * count), np.int64)
            wider[:, : self._boxed] = self._boxes[:, : self._boxed]
            self._boxes = wider
        for place in range(self._boxed, count):
            each = self._found[place]
            self._boxes[:, place] = (0, 0, 0, 0) if each is None else each[0][:4]
        self._boxed = count
