"""Complex numbers of torch: spectra of audio, rotary positions, complex buffers and results."""

from __future__ import annotations

import numpy as np
import pytest

import axonc

torch = pytest.importorskip("torch")


class Spectrum(torch.nn.Module):
    """A short-time transform and its inverse."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(64))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spectrum = torch.stft(x, 64, 16, window=self.window, return_complex=True)
        again = torch.istft(spectrum * 2, 64, 16, window=self.window, length=x.shape[-1])
        return spectrum.abs() ** 2, again


class Rotary(torch.nn.Module):
    """Positions as a complex buffer."""

    def __init__(self) -> None:
        super().__init__()
        angles = torch.outer(torch.arange(8.0), 100 ** (-torch.arange(4) / 4))
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2)) * self.turns[:, None]
        return torch.view_as_real(pairs).flatten(-2), pairs


@pytest.mark.parametrize(
    ("model", "shape"), ((Spectrum, (1, 320)), (Rotary, (2, 8, 3, 8))), ids=("spectrum", "rotary")
)
def test_models(model: type, shape: tuple[int, ...]) -> None:
    x, instance = torch.randn(shape, generator=torch.Generator().manual_seed(0)), model()
    program = axonc.compile(torch.export.export(instance, (x,), strict=False))
    for found, wanted in zip(program.run(x.numpy(), checked=True), instance(x), strict=True):
        scale = float(wanted.abs().max())
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, atol=1e-5 * scale)
