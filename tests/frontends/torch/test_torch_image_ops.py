"""Pooling and nearest up-sampling against PyTorch, and the operations they become."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if importlib.util.find_spec("torchax") is None:  # importing it bare fails with this torch
    pytest.skip("torchax is not installed", allow_module_level=True)

from axonc.frontends.torch import torch_frontend  # noqa: E402  (needs torch, which may be missing)

F = torch.nn.functional
IMAGE = torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))
LINE, VOLUME = IMAGE[:, :, 0], IMAGE[:, :, :, :, None].expand(2, 3, 9, 7, 4)

CASES = {
    "max pool": (lambda x: F.max_pool2d(x, 2), IMAGE),
    "max pool of a ResNet": (lambda x: F.max_pool2d(x, 3, 2, 1), IMAGE),
    "max pool dilated": (lambda x: F.max_pool2d(x, (2, 3), 1, 1, (3, 2)), IMAGE),
    "max pool with a partial window": (lambda x: F.max_pool2d(x, 2, ceil_mode=True), IMAGE),
    "max pool, last window in the padding": (lambda x: F.max_pool2d(x, 1, 5, 0, 1, True), IMAGE),
    "max pool of a line": (lambda x: F.max_pool1d(x, 3, 2), LINE),
    "max pool of a volume": (lambda x: F.max_pool3d(x, 2), VOLUME),
    "max pool without a batch": (lambda x: F.max_pool2d(x, 2), IMAGE[0]),
    "max pool with indices": (lambda x: F.max_pool2d(x, 2, return_indices=True), IMAGE),
    "average pool": (lambda x: F.avg_pool2d(x, 3, 2, 1), IMAGE),
    "average pool of real elements": (
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        IMAGE,
    ),
    "average pool with a partial window": (lambda x: F.avg_pool2d(x, 2, 2, 1, True), IMAGE),
    "average pool, partial, of real elements": (
        lambda x: F.avg_pool2d(x, 2, 2, 1, True, False),
        IMAGE,
    ),
    "average pool, own divisor": (
        lambda x: F.avg_pool2d(x, 3, divisor_override=5),
        IMAGE,
    ),
    "average pool of a line": (lambda x: F.avg_pool1d(x, 3), LINE),
    "average pool of a volume": (lambda x: F.avg_pool3d(x, 2), VOLUME),
    "global average": (lambda x: F.adaptive_avg_pool2d(x, 1), IMAGE),
    "adaptive average": (lambda x: F.adaptive_avg_pool2d(x, (3, 7)), IMAGE),
    "nearest, twice": (lambda x: F.interpolate(x, scale_factor=2), IMAGE),
    "nearest, by size": (lambda x: F.interpolate(x, size=(18, 21)), IMAGE),
    "nearest, uneven": (lambda x: F.interpolate(x, size=(5, 10)), IMAGE),
    "nearest, uneven factor": (lambda x: F.interpolate(x, scale_factor=(1.7, 0.6)), IMAGE),
    "nearest of a line": (lambda x: F.interpolate(x, scale_factor=3), LINE),
    "nearest of a volume": (lambda x: F.interpolate(x, scale_factor=2), VOLUME),
    "nearest exact": (lambda x: F.interpolate(x, size=(5, 10), mode="nearest-exact"), IMAGE),
    "nearest exact, twice": (
        lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"),
        IMAGE,
    ),
}


class Call(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def imported(case: str):
    function, x = CASES[case]
    return torch_frontend.import_module(Call(function), (x,)), x


@pytest.mark.parametrize("case", CASES)
def test_against_torch(case, run):
    program, x = imported(case)
    expected = CASES[case][0](x)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for found, wanted in zip(run(program, {"x": x.numpy()}), expected, strict=True):
        assert found.dtype == wanted.numpy().dtype
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-6, atol=1e-6)


def test_integers_pool_in_their_own_type(run):
    x = torch.arange(-20, -4).reshape(1, 1, 4, 4)
    pooled = Call(lambda v: F.max_pool2d(v, 2, padding=1))
    (found,) = run(torch_frontend.import_module(pooled, (x,)), {"x": x.numpy()})
    np.testing.assert_array_equal(found, pooled(x).numpy())


@pytest.mark.parametrize("case", ["max pool of a ResNet", "average pool", "nearest, twice"])
def test_no_float64_and_no_gather_is_written(case, census, located):
    program, _ = imported(case)
    assert "f64" not in located(program)
    assert census(program)["stablehlo.gather"] == 0
