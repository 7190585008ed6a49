"""Selections by run-time masks: what is exact without knowing their size, and what is refused."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import axonc
from axonc.diagnostics import UnsupportedOpError

torch = pytest.importorskip("torch")
if importlib.util.find_spec("torchax") is None:  # importing it bare fails with this torch
    pytest.skip("torchax is not installed", allow_module_level=True)

from axonc.frontends.torch import torch_frontend  # noqa: E402  (needs torch, which may be missing)

RNG = torch.Generator().manual_seed(0)
X = torch.randn(4, 6, 8, generator=RNG)
OTHER = torch.randn(4, 6, 8, generator=RNG)
ROWS = torch.tensor([True, False, True, False])
MATRIX, ALL = X[:, :, 0] > 0.1, X > 0.1
NONE = torch.zeros(4, dtype=torch.bool)


class Call(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *arguments):
        return self.function(*arguments)


def scale(x, mask):
    x = x.clone()
    x[mask] *= 0.5
    return x


def assign(x, mask, values):
    x = x.clone()
    x[mask] = values
    return x


def accumulate(x, mask, values):
    x = x.clone()
    x[mask] += values
    return x


def chain(x, mask):
    x = x.clone()
    x[mask] = torch.relu(x[mask]) * 2 - x[mask].abs()
    return x


def middle(x, mask):
    x = x.clone()
    x[:, mask] = 3.0
    return x


def rows_by_linear(x, mask):
    x = x.clone()
    x[mask] = torch.nn.functional.linear(x[mask], x[0, 0].outer(x[0, 0]))
    return x


def rows_by_softmax(x, mask):
    x = x.clone()
    x[mask] = x[mask].softmax(-1)
    return x


CASES = {
    "scale rows": (scale, X, ROWS),
    "scale by a matrix": (scale, X, MATRIX),
    "scale elements": (scale, X, ALL),
    "integers times a half": (lambda x, m: (x[m] * 0.5).sum(), (X * 4).long(), ALL),
    "scale nothing": (scale, X, NONE),
    "assign a number": (assign, X, MATRIX, torch.tensor(2.0)),
    "assign a row to all": (assign, X, MATRIX, OTHER[0, 0]),
    "assign a row to each": (assign, X, ROWS, OTHER[:2]),
    "add a row to each": (accumulate, X, ROWS, OTHER[:2]),
    "add to all": (accumulate, X, ROWS, OTHER[0]),
    "a chain": (chain, X, ALL),
    "the middle axis": (middle, X, X[0, :, 0] > 0),
    "linear": (rows_by_linear, X, ROWS),
    "softmax": (rows_by_softmax, X, MATRIX),
    "copy from another": (lambda x, m, y: assign(x, m, y[m]), X, ALL, OTHER),
    "index_put adds": (lambda x, m: x.index_put((m,), torch.tensor(3.0), True), X, MATRIX),
    "sum": (lambda x, m: x[m].sum(), X, ALL),
    "sum over rows": (lambda x, m: x[m].sum(0), X, ROWS),
    "sum of each row": (lambda x, m: x[m].sum(-1).sum(), X, ROWS),
    "mean": (lambda x, m: x[m].mean(), X, ALL),
    "mean over rows": (lambda x, m: x[m].mean(0), X, MATRIX),
    "largest": (lambda x, m: (x[m].max(), x[m].amin(0)), X, ROWS),
    "masked_select": (lambda x, m: torch.masked_select(x, m).mean(), X, ALL),
    "masked_select broadcasts": (lambda x, m: torch.masked_select(x, m).sum(), X, X[0] > 0),
    "masked_scatter": (lambda x, m, y: x.masked_scatter(m, y), X, ALL, OTHER),
    "masked_scatter broadcasts": (
        lambda x, m, y: x.masked_scatter(m[..., None], y),
        X,
        MATRIX,
        OTHER,
    ),
    "a mask known now": (lambda x: x[torch.tensor([True, False, True, False])] + 1, X),
    "a mask known now, of elements": (lambda x: x[:, torch.arange(6) % 2 == 0], X),
}


def imported(function, *arguments):
    return torch_frontend.import_module(Call(function), arguments)


@pytest.mark.parametrize("case", CASES)
def test_against_torch(case, run):
    function, *arguments = CASES[case]
    program = imported(function, *arguments)
    wanted = function(*arguments)
    given = {a.name: v.numpy() for a, v in zip(program.inputs, arguments, strict=True)}
    found = run(program, given)
    for value, expected in zip(
        found, wanted if isinstance(wanted, tuple) else (wanted,), strict=True
    ):
        np.testing.assert_allclose(value, expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", ["scale rows", "a chain", "assign a row to each", "mean"])
def test_instruction_streams(case):
    function, *arguments = CASES[case]
    executable = axonc.compile(imported(function, *arguments))
    (found,) = executable.run(*(a.numpy() for a in arguments), checked=True)
    np.testing.assert_allclose(found, function(*arguments).numpy(), rtol=1e-5, atol=1e-5)


REFUSED = {
    "a selection as result": (
        lambda x, m: x[m],
        "the result is a selection by a boolean mask",
        "return torch.where(mask, x, 0)",
    ),
    "its order": (lambda x, m: x[m].sort(0)[0].sum(), "works on a selection", "topk"),
    "another mask": (
        lambda x, m: assign(x, ~m, x[m]),
        "selected by another mask",
        "compute the mask once",
    ),
    "places of a mask": (lambda x, m: m.nonzero(), "known at run time only", "keep the size"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    function, reason, hint = REFUSED[case]
    with pytest.raises(UnsupportedOpError, match=reason) as error:
        imported(function, X, ROWS)
    assert hint in error.value.hint
    assert error.value.op.startswith("aten.")
    assert error.value.location.file == __file__
