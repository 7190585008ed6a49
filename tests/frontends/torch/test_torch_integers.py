"""PyTorch's integer operations, in checked mode, against PyTorch: values and dtypes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import axonc

torch = pytest.importorskip("torch")
if importlib.util.find_spec("torchax") is None:  # importing it bare fails with this torch
    pytest.skip("torchax is not installed", allow_module_level=True)

LARGE = torch.tensor([1, 2**40 + 3, -(2**35), 7, 0, -9, 2**53 + 1])
SMALL = torch.tensor([1, -2, 3, 5, 7, 640, -480])
LEAST = torch.tensor([5, -(2**63), 2**63 - 1, 0, 7, -3])
PLACES = torch.tensor([3, 0, 6])
NEW = torch.tensor([2**40, 1, -5])
MASK = (torch.arange(16) >= torch.tensor([[0], [6]])).long()
FLOATS = torch.linspace(-1, 1, 36).sin().reshape(4, 9)

CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "quotients": (
        lambda x: (x // 3, x % 3, x % -7, torch.div(x, 2, rounding_mode="trunc"), torch.fmod(x, 5)),
        (LARGE,),
    ),
    "computed quotients": (
        lambda x, y: (torch.floor_divide(x, y), torch.div(x, y, rounding_mode="floor"), x / y),
        (SMALL, SMALL.flip(0)),
    ),
    "products": (lambda x: (x * x, x**2, -x), (LARGE,)),
    "sums": (lambda x: (x.cumsum(0), x.sum(), x.prod(), torch.diff(x)), (LARGE,)),
    "extremes": (
        lambda x: (x.max(0), x.argmin(), x.sort(), torch.cummax(x, 0), x.clamp(-5, 2**41)),
        (LARGE,),
    ),
    "smallest": (lambda x: (x.topk(3, largest=False), x.topk(2)), (LEAST,)),
    "topk of floats": (lambda x: x.topk(3), (FLOATS,)),
    "masks": (lambda m: (m.sum(-1), m.cumsum(-1) - 1, 1 - m, m.bool()), (MASK,)),
    "positions": (
        lambda m, t: t[(m.cumsum(-1) - 1).masked_fill(m == 0, 1)],
        (MASK, torch.arange(16.0)),
    ),
    "rows": (
        lambda x, i: (torch.index_select(x, 0, i), torch.gather(x, 0, i), torch.take(x, i)),
        (LARGE, PLACES),
    ),
    "updates": (
        lambda x, i, u: (x.scatter(0, i, u), x.index_put((i,), u), x.scatter_add(0, i, u)),
        (LARGE, PLACES, NEW),
    ),
    "choices": (lambda c, x: torch.where(c, x, x.flip(0)), (LARGE > 0, LARGE)),
    "counters": (lambda x: (torch.arange(7) * x, x > torch.arange(7)), (LARGE,)),
    "bits": (lambda x: (x & 255, x | 1, ~x, x << 2, x >> 3), (LARGE,)),
    "matrices": (lambda x, y: x @ y, (LARGE.reshape(1, 7), SMALL.reshape(7, 1))),
    "beside floats": (
        lambda x: (x * 0.5, x + 0.25, 2.5 - x, x / 0.25, x > 0.5, x.clamp(min=1.5), (x > 0) * 0.5),
        (SMALL,),
    ),
    "choices of floats": (lambda x: torch.where(x > 0, x, 0.5), (SMALL,)),
    "inputs that nothing reads": (lambda x, y: x + 1, (SMALL, FLOATS)),
}


class Call(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


@pytest.mark.parametrize("name", CASES)
def test_gives_what_torch_gives(name: str) -> None:
    function, given = CASES[name]
    module = Call(function)
    executable = axonc.compile(torch.export.export(module, given, strict=False))
    found = executable.run(*(a.numpy() for a in given), checked=True)
    wanted = [w.numpy() for w in torch.utils._pytree.tree_leaves(module(*given))]
    for result, right in zip(found, wanted, strict=True):
        assert result.dtype == right.dtype
        if right.dtype.kind == "f":
            np.testing.assert_allclose(result, right, rtol=1e-6)
        else:
            np.testing.assert_array_equal(result, right)
