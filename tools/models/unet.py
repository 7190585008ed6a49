"""A small U-Net (Ronneberger et al. 2015, arXiv 1505.04597), plain torch: convolutions, max
pooling down, nearest up-sampling or transposed convolution up, and the skips between the two."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from axonc.tools.models.zoo_model import Request, ZooModel, random_values, with_random_weights

_WIDTH, _SMALL_WIDTH = 32, 8
_LEVELS, _SMALL_LEVELS = 3, 2
_PIXELS, _SMALL_PIXELS = 128, 16
_CHANNELS, _CLASSES = 3, 4


def _double(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch norm and ReLU; the size stays."""
    parts: list[nn.Module] = []
    for source in (inputs, outputs):
        convolution = nn.Conv2d(source, outputs, 3, padding=1, bias=False)
        parts += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*parts)


class Up(nn.Module):
    """[N, 2C, H, W] and the skip [N, C, 2H, 2W] -> [N, C, 2H, 2W]."""

    def __init__(self, channels: int, *, is_transposed: bool) -> None:
        super().__init__()
        self.grow = (
            nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
            if is_transposed
            else nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(2 * channels, channels, 1))
        )
        self.merge = _double(2 * channels, channels)

    def forward(self, x: Any, skip: Any) -> Any:
        return self.merge(torch.cat([skip, self.grow(x)], dim=1))


class UNet(nn.Module):
    """Images [N, 3, H, W] -> logits [N, classes, H, W]; H and W divisible by 2**levels."""

    def __init__(self, width: int, levels: int, *, is_transposed: bool) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        sources = [_CHANNELS, *widths]
        self.downs = nn.ModuleList(_double(a, b) for a, b in zip(sources, widths, strict=False))
        self.pool = nn.MaxPool2d(2)
        self.ups = nn.ModuleList(
            Up(channels, is_transposed=is_transposed) for channels in reversed(widths[:-1])
        )
        self.head = nn.Conv2d(width, _CLASSES, 1)

    def forward(self, pixels: Any) -> dict[str, Any]:
        skips = [self.downs[0](pixels)]
        for down in list(self.downs)[1:]:
            skips.append(down(self.pool(skips[-1])))
        x = skips.pop()
        for up in self.ups:
            x = up(x, skips.pop())
        return {"logits": self.head(x)}


def build(name: str, request: Request) -> ZooModel:
    """`unet` (nearest up-sampling) or `unet-transposed`, for pixels [batch, 3, 128, 128]; `layers`:
    how often the size is halved."""
    width = _SMALL_WIDTH if request.small else _WIDTH
    levels = request.layers or (_SMALL_LEVELS if request.small else _LEVELS)
    transposed = name == "unet-transposed"
    module = with_random_weights(
        lambda: UNet(width, levels, is_transposed=transposed), request.seed
    )
    pixels = _SMALL_PIXELS if request.small else _PIXELS
    image = random_values(request.batch, _CHANNELS, pixels, pixels, seed=request.seed)
    return ZooModel(name, module, {"pixels": image})
