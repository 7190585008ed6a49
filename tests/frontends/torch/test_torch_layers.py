"""Layers whose lowering is our own, in all their forms, against PyTorch."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import axonc

torch = pytest.importorskip("torch")
if importlib.util.find_spec("torchax") is None:  # importing it bare fails with this torch
    pytest.skip("torchax is not installed", allow_module_level=True)

from axonc.frontends.torch import torch_frontend  # noqa: E402  (needs torch, which may be missing)

nn, F = torch.nn, torch.nn.functional
RNG = torch.Generator().manual_seed(0)
LINE = torch.randn(2, 4, 11, generator=RNG)
IMAGE = torch.randn(2, 4, 9, 7, generator=RNG)
VOLUME = torch.randn(2, 4, 6, 5, 7, generator=RNG)
SORTED = torch.randn(9, generator=RNG).sort()[0]
TIES, TIED = torch.tensor([1, 1, 2, 3, 3, 5]), torch.arange(7)
PLACES = torch.randint(0, 10, (8,), generator=RNG)
OFFSETS = torch.tensor([0, 3, 3, 5])


def bags(mode, **options):
    return nn.EmbeddingBag(10, 4, mode=mode, **options)


def resized(**options):
    return lambda x: F.interpolate(x, **options)


CASES = {
    "valid": (lambda: nn.Conv2d(4, 6, 3, 2, "valid"), IMAGE),
    "valid of a volume": (lambda: nn.Conv3d(4, 6, 2, padding="valid", groups=2), VOLUME),
    "same, even window": (lambda: nn.Conv2d(4, 6, 4, padding="same", dilation=2), IMAGE),
    "without a batch": (lambda: nn.Conv1d(4, 6, 3), LINE[0]),
    "transposed line, groups": (lambda: nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2), LINE),
    "transposed, groups": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, (1, 0), 1, 2), IMAGE),
    "transposed, dilated": (lambda: nn.ConvTranspose2d(4, 6, 3, 3, dilation=2), IMAGE),
    "transposed volume": (lambda: nn.ConvTranspose3d(4, 6, (2, 3, 1), 2, groups=4 // 2), VOLUME),
    "adaptive mean": (lambda: nn.AdaptiveAvgPool2d((5, 4)), IMAGE),
    "adaptive mean that divides": (lambda: nn.AdaptiveAvgPool2d((3, 7)), IMAGE),
    "adaptive maximum": (lambda: nn.AdaptiveMaxPool2d((5, 3), return_indices=True), IMAGE),
    "adaptive maximum, wider": (lambda: nn.AdaptiveMaxPool1d(13, return_indices=True), LINE),
    "adaptive maximum of a volume": (lambda: nn.AdaptiveMaxPool3d((3, 2, 7)), VOLUME),
    "places of maxima": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True, return_indices=True), IMAGE),
    "places, dilated": (lambda: nn.MaxPool2d(3, 1, 0, 2, return_indices=True), IMAGE),
    "bilinear, antialiased": (
        lambda: resized(size=(5, 12), mode="bilinear", antialias=True),
        IMAGE,
    ),
    "bicubic, antialiased": (
        lambda: resized(scale_factor=(0.45, 1.7), mode="bicubic", antialias=True),
        IMAGE,
    ),
    "bicubic, corners": (
        lambda: resized(size=(4, 18), mode="bicubic", antialias=True, align_corners=True),
        IMAGE,
    ),
    "sums of bags": (lambda: bags("sum", padding_idx=1), PLACES, OFFSETS),
    "means of bags": (lambda: bags("mean"), PLACES, OFFSETS),
    "maxima of bags": (lambda: bags("max", include_last_offset=True), PLACES[:5], OFFSETS),
    "bags of one length": (lambda: bags("mean"), PLACES.reshape(2, 4)),
    "searchsorted": (lambda: lambda s, v: torch.searchsorted(s, v), SORTED, LINE),
    "searchsorted, right": (lambda: lambda s, v: torch.searchsorted(s, v, right=True), TIES, TIED),
    "searchsorted, batch": (
        lambda: lambda s, v: torch.searchsorted(s, v, side="right", out_int32=True),
        LINE.sort(-1)[0],
        LINE[..., :3],
    ),
    "bucketize": (lambda: lambda v, s: torch.bucketize(v, s), LINE, SORTED),
    "loss of several labels": (
        lambda: nn.MultiLabelMarginLoss(reduction="none"),
        IMAGE[0, 0, :, :5],
        torch.tensor([[0, 2, -1, 1, 1], [3, -1, 0, 0, 0], [4, 1, 2, 0, 3]] * 3),
    ),
    "powers of integers": (lambda: lambda x, y: x**y, torch.tensor([-3, 2, 0, 1, -1]), TIED[:5]),
    "powers below one": (lambda: lambda x, y: x**-y, torch.tensor([-3, 2, 4, 1, -1]), TIED[1:6]),
    "running sums": (lambda: lambda x: x.int().cumsum(0), TIED),
    "mean of integers": (lambda: lambda x: F.avg_pool1d(x, 2), -TIED[None, None]),
}


def imported(make, arguments):
    torch.manual_seed(1)
    layer = make()
    if not isinstance(layer, nn.Module):
        function = layer
        layer = nn.Module()
        layer.forward = function
    return torch_frontend.import_module(layer.eval(), arguments), layer


@pytest.mark.parametrize("case", CASES)
def test_against_torch(case, run):
    make, *arguments = CASES[case]
    program, layer = imported(make, tuple(arguments))
    given = {a.name: v.numpy() for a, v in zip(program.inputs, arguments, strict=True)}
    with torch.no_grad():
        wanted = layer(*arguments)
    found = run(program, given)
    for value, expected in zip(
        found, wanted if isinstance(wanted, tuple) else (wanted,), strict=True
    ):
        assert value.dtype == expected.numpy().dtype
        np.testing.assert_allclose(value, expected.numpy(), rtol=1e-5, atol=1e-5)


STREAMS = ["transposed, groups", "adaptive maximum", "bicubic, antialiased", "means of bags"]


@pytest.mark.parametrize("case", STREAMS)
def test_instruction_streams(case):
    make, *arguments = CASES[case]
    program, layer = imported(make, tuple(arguments))
    with torch.no_grad():
        wanted = layer(*arguments)
    found = axonc.compile(program).run(*(a.numpy() for a in arguments), checked=True)
    for value, expected in zip(
        found, wanted if isinstance(wanted, tuple) else (wanted,), strict=True
    ):
        np.testing.assert_allclose(value, expected.numpy(), rtol=1e-5, atol=1e-5)


def test_rows_of_experts_by_their_matrices(run):
    pytest.importorskip("transformers.integrations.moe")
    x, weight = torch.randn(7, 5, generator=RNG), torch.randn(3, 5, 6, generator=RNG)
    offsets = torch.tensor([2, 2, 6])

    def product(x, weight, offsets):
        return torch.ops.transformers.grouped_mm_fallback(x, weight, offsets)

    program, _ = imported(lambda: product, (x, weight, offsets))
    given = [x, weight, offsets]
    (found,) = run(program, {a.name: v.numpy() for a, v in zip(program.inputs, given, strict=True)})
    wanted = product(x, weight, offsets).numpy()
    assert not wanted[6].any()  # behind the last group
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
