"""Meshes and shardings: parts, ranks, groups."""

from __future__ import annotations

import numpy as np
import pytest

from axonc.diagnostics import UsageError
from axonc.sharding import Mesh, Sharding

MESH = Mesh((("x", 2), ("y", 4)))


def test_ranks_are_row_major_with_the_last_axis_fastest() -> None:
    assert MESH.size == 8
    assert MESH.coordinates(5) == {"x": 1, "y": 1}
    assert MESH.groups(["x"]) == ((0, 4), (1, 5), (2, 6), (3, 7))
    assert MESH.groups(["y"]) == ((0, 1, 2, 3), (4, 5, 6, 7))
    assert MESH.groups(["x", "y"]) == (tuple(range(8)),)
    assert Mesh(()).size == 1


def test_local_shape_and_index() -> None:
    sharding = Sharding(MESH, (("y",), (), ("x",)))
    assert sharding.local_shape((8, 3, 6)) == (2, 3, 3)
    assert sharding.global_shape((2, 3, 3)) == (8, 3, 6)
    assert sharding.index_of(6, (8, 3, 6)) == (slice(4, 6), slice(0, 3), slice(3, 6))
    assert str(sharding) == "[y, -, x]"


def test_of_two_axes_on_a_dim_the_first_is_major() -> None:
    minor_first = Sharding(MESH, (("y", "x"),))
    assert [minor_first.index_of(r, (8,))[0].start for r in range(8)] == [0, 2, 4, 6, 1, 3, 5, 7]


@pytest.mark.parametrize("axes", [((), ()), (("x",), ()), (("y", "x"), ()), (("x",), ("y",))])
def test_assemble_undoes_the_cut(axes: tuple[tuple[str, ...], ...]) -> None:
    whole = np.arange(16 * 8).reshape(16, 8)
    sharding = Sharding(MESH, axes)
    parts = [whole[sharding.index_of(rank, whole.shape)] for rank in range(8)]
    assert all(p.shape == sharding.local_shape(whole.shape) for p in parts)
    np.testing.assert_array_equal(sharding.assemble(parts), whole)


def test_mistakes_are_named() -> None:
    with pytest.raises(UsageError, match=r"dim 0 of size 6 .* 4 equal parts[\s\S]*pad it to 8"):
        Sharding(MESH, (("y",),)).local_shape((6,))
    with pytest.raises(UsageError, match="no axis 'z'"):
        Sharding(MESH, (("z",),))
    with pytest.raises(UsageError, match="twice"):
        Sharding(MESH, (("x",), ("x",)))
    with pytest.raises(UsageError, match="rank 8"):
        Sharding(MESH, ((),)).index_of(8, (4,))
    with pytest.raises(UsageError, match="2 dims"):
        Sharding.replicated(MESH, 2).local_shape((4,))
