"""Torch operations that models use here and there, as instruction streams, against PyTorch."""

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


def values(*shape: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def places(size: int, *shape: int) -> Any:
    return torch.randint(0, size, shape, generator=torch.Generator().manual_seed(sum(shape)))


X = values(2, 8, 16)
FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "argmax": (lambda x: x.argmax(-1), (X,)),
    "topk": (lambda x: x.topk(3), (X,)),
    "sort": (lambda x: x.sort(-1), (X,)),
    "gather": (lambda x, i: x.gather(2, i), (X, places(16, 2, 8, 3))),
    "scatter_add": (
        lambda x, i, y: x.scatter_add(2, i, y),
        (X, places(16, 2, 8, 3), values(2, 8, 3)),
    ),
    "var": (lambda x: x.var(-1), (X,)),
    "std_mean": (lambda x: torch.std_mean(x, -1), (X,)),
    "int_mm": (
        torch._int_mm,
        ((places(256, 32, 64) - 128).to(torch.int8), (places(256, 64, 32) - 128).to(torch.int8)),
    ),
}
MODULES: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "group norm": (lambda: torch.nn.GroupNorm(4, 8), (X,)),
    "instance norm": (lambda: torch.nn.InstanceNorm1d(8), (X,)),
    "GRU": (lambda: torch.nn.GRU(16, 8, batch_first=True), (X,)),
}


class Call(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def check(module: Any, arguments: tuple[Any, ...]) -> None:
    program = torch.export.export(module.eval(), arguments, strict=False)
    executable = axonc.compile(program)
    with torch.no_grad():
        expected = module(*arguments)
    expected = (expected,) if torch.is_tensor(expected) else expected
    arrays = [a.numpy() for a in arguments]
    for found, wanted in zip(executable.run(*arrays, checked=True), expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    function, arguments = FUNCTIONS[name]
    check(Call(function), arguments)


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    torch.manual_seed(0)
    make, arguments = MODULES[name]
    check(make(), arguments)
