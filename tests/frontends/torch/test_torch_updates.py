"""Rows written at run-time places against PyTorch, and the operation each becomes."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if importlib.util.find_spec("torchax") is None:  # importing it bare fails with this torch
    pytest.skip("torchax is not installed", allow_module_level=True)

from axonc.frontends.torch import torch_frontend  # noqa: E402  (needs torch, which may be missing)


def values(*shape: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def assigned(x: Any, index: Any, y: Any) -> Any:
    copy = x.clone()
    copy[:, index] = y
    return copy


CACHE = values(2, 5, 3)
ONE = {
    "copied": (lambda x, i, y: x.index_copy(1, i, y), torch.tensor([3]), values(2, 1, 3)),
    "copied from behind": (
        lambda x, i, y: x.index_copy(-2, i, y),
        torch.tensor([0]),
        values(2, 1, 3),
    ),
    "copied at a scalar": (
        lambda x, i, y: x.index_copy(1, i, y),
        torch.tensor(4),
        values(2, 1, 3),
    ),
    "assigned": (assigned, torch.tensor([3]), values(2, 1, 3)),
    "assigned, counted from the end": (assigned, torch.tensor([-2]), values(2, 1, 3)),
    "assigned at a scalar": (
        lambda x, i, y: torch.ops.aten.index_put(x, [None, i], y),
        torch.tensor(1),
        values(2, 3),
    ),
    "assigned a broadcast value": (assigned, torch.tensor([1]), values(3)),
}
SEVERAL = {
    "copied": (lambda x, i, y: x.index_copy(2, i, y), torch.tensor([2, 0]), values(2, 5, 2)),
    "assigned": (assigned, torch.tensor([4, 1]), values(2, 2, 3)),
    "added": (
        lambda x, i, y: x.index_put((i,), y, accumulate=True),
        torch.tensor([1]),
        values(1, 5, 3),
    ),
    "two axes": (lambda x, i, y: x.index_put((i, i), y), torch.tensor([1]), values(1, 3)),
}


class Call(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, i, y):
        return self.function(x, i, y)


def check(case, run):
    function, index, rows = case
    program = torch_frontend.import_module(Call(function), (CACHE, index, rows))
    arrays = {"x": CACHE.numpy(), "i": index.numpy(), "y": rows.numpy()}
    (found,) = run(program, arrays)
    np.testing.assert_array_equal(found, function(CACHE, index, rows).numpy())
    return program


@pytest.mark.parametrize("case", ONE)
def test_one_row_is_a_slice_update(case, run, census):
    counts = census(check(ONE[case], run))
    assert counts["stablehlo.dynamic_update_slice"] == 1 and counts["stablehlo.scatter"] == 0


@pytest.mark.parametrize("case", SEVERAL)
def test_anything_else_stays_a_scatter(case, run, census):
    assert census(check(SEVERAL[case], run))["stablehlo.scatter"] == 1
