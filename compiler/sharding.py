"""Meshes and shardings: which part of a tensor which core holds.

A mesh numbers the cores by coordinates along named axes; a sharding says, for each dim of a tensor,
along which axes it is cut. Vocabulary and order of devices are Shardy's (openxla/shardy, "sharding
representation"): ranks are row-major in the mesh, the last axis fastest; of several axes on one dim
the first is the major one. Axes a sharding does not name hold copies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from axonc.diagnostics import UsageError, nearest


@dataclass(frozen=True)
class Mesh:
    """The devices of a program as axes with names.

    Raises:
        UsageError: a size below 1, or a name twice.
    """

    axes: tuple[tuple[str, int], ...]
    """(name, size) pairs, major first. `Mesh((("x", 2), ("y", 4)))` is 8 ranks: rank 5 is x=1,
    y=1."""

    def __post_init__(self) -> None:
        names = [name for name, _ in self.axes]
        if len(set(names)) != len(names) or any(size < 1 for _, size in self.axes):
            raise UsageError(f"mesh {self}: axes need different names and sizes of at least 1")

    @property
    def size(self) -> int:
        """Number of ranks."""
        return math.prod(size for _, size in self.axes)

    def axis_size(self, name: str) -> int:
        """Raises:
        UsageError: the mesh has no such axis; names those it has.
        """
        sizes = dict(self.axes)
        if name not in sizes:
            hint = nearest(name, sizes) or f"axes: {', '.join(sizes) or 'none'}"
            raise UsageError(f"mesh {self} has no axis '{name}'", hint=hint)
        return sizes[name]

    def coordinates(self, rank: int) -> dict[str, int]:
        """Where a rank is on every axis.

        Raises:
            UsageError: no such rank.
        """
        if not 0 <= rank < self.size:
            raise UsageError(f"rank {rank} of a mesh of {self.size}")
        found = np.unravel_index(rank, tuple(size for _, size in self.axes)) if self.axes else ()
        return {name: int(i) for (name, _), i in zip(self.axes, found, strict=True)}

    def groups(self, axes: Iterable[str]) -> tuple[tuple[int, ...], ...]:
        """Ranks that differ in `axes` only, a group each, in order of their first rank."""
        along = set(axes)
        groups: dict[tuple[int, ...], list[int]] = {}
        for rank in range(self.size):
            place = self.coordinates(rank)
            key = tuple(i for name, i in place.items() if name not in along)
            groups.setdefault(key, []).append(rank)
        return tuple(map(tuple, groups.values()))

    def __str__(self) -> str:
        return f"<{', '.join(f'{name}={size}' for name, size in self.axes)}>"


@dataclass(frozen=True)
class Sharding:
    """How a tensor is cut over the ranks of a mesh.

    Raises:
        UsageError: an axis the mesh does not have, or one used twice.
    """

    mesh: Mesh
    dim_axes: tuple[tuple[str, ...], ...]
    """For each dim of the tensor the axes it is cut along, major first; `()` is whole."""

    def __post_init__(self) -> None:
        used = [axis for axes in self.dim_axes for axis in axes]
        for axis in used:
            self.mesh.axis_size(axis)
            if used.count(axis) > 1:
                raise UsageError(f"sharding {self} uses axis '{axis}' twice")

    @classmethod
    def replicated(cls, mesh: Mesh, rank_of_tensor: int) -> Sharding:
        """Every core holds the whole tensor, which has `rank_of_tensor` dims."""
        return cls(mesh, ((),) * rank_of_tensor)

    @property
    def is_replicated(self) -> bool:
        return all(count == 1 for count in self.shards)

    @property
    def shards(self) -> tuple[int, ...]:
        """Into how many parts each dim is cut."""
        return tuple(math.prod(self.mesh.axis_size(a) for a in axes) for axes in self.dim_axes)

    def local_shape(self, global_shape: tuple[int, ...]) -> tuple[int, ...]:
        """What one core holds of a tensor of `global_shape`.

        Raises:
            UsageError: another number of dims, or a dim that does not divide evenly.
        """
        self._check_dims(global_shape)
        for dim, (size, count) in enumerate(zip(global_shape, self.shards, strict=True)):
            if size % count:
                raise UsageError(
                    f"dim {dim} of size {size} does not divide into {count} equal parts "
                    f"(sharding {self} over mesh {self.mesh})",
                    hint=f"pad it to {-(-size // count) * count}, or shard another dim",
                )
        return tuple(n // count for n, count in zip(global_shape, self.shards, strict=True))

    def global_shape(self, local_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The tensor of which one core holds `local_shape`."""
        self._check_dims(local_shape)
        return tuple(n * count for n, count in zip(local_shape, self.shards, strict=True))

    def index_of(self, rank: int, global_shape: tuple[int, ...]) -> tuple[slice, ...]:
        """The part of the global tensor that `rank` holds: `array[sharding.index_of(rank, shape)]`.

        Raises:
            UsageError: as `local_shape`; or no such rank.
        """
        local = self.local_shape(global_shape)
        place = self.mesh.coordinates(rank)
        parts = [self._part(axes, place) for axes in self.dim_axes]
        return tuple(slice(i * n, (i + 1) * n) for i, n in zip(parts, local, strict=True))

    @property
    def parts(self) -> tuple[int, ...]:
        """For every rank the number of the part that it holds, row-major in the tensor's dims:
        ranks of one number hold the same."""
        numbers = []
        for rank in range(self.mesh.size):
            place, number = self.mesh.coordinates(rank), 0
            for axes, count in zip(self.dim_axes, self.shards, strict=True):
                number = number * count + self._part(axes, place)
            numbers.append(number)
        return tuple(numbers)

    def assemble(self, parts: list[np.ndarray]) -> np.ndarray:
        """The global array of the local ones, one per rank. Of copies the lowest rank's is taken.

        Raises:
            UsageError: not one part per rank.
        """
        if len(parts) != self.mesh.size:
            raise UsageError(f"{len(parts)} parts for a mesh of {self.mesh.size}")
        shape = self.global_shape(parts[0].shape)
        whole = np.empty(shape, parts[0].dtype)
        for rank in reversed(range(self.mesh.size)):
            whole[self.index_of(rank, shape)] = parts[rank]
        return whole

    def _part(self, axes: tuple[str, ...], place: dict[str, int]) -> int:
        index = 0
        for axis in axes:
            index = index * self.mesh.axis_size(axis) + place[axis]
        return index

    def _check_dims(self, shape: tuple[int, ...]) -> None:
        if len(shape) != len(self.dim_axes):
            raise UsageError(f"sharding {self} of {len(self.dim_axes)} dims for shape {shape}")

    def __str__(self) -> str:
        """`[x, -, x.y]`: the axes of each dim, `-` for a whole one."""
        return f"[{', '.join('.'.join(axes) or '-' for axes in self.dim_axes)}]"
