"""ResNet-50 v1.5 (He et al. 2015, arXiv 1512.03385; stride in the 3x3 convolution), plain torch.

Batch norms have random running statistics, so that folding them wrongly shows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from axonc.tools.models.zoo_model import Request, ZooModel, random_values, with_random_weights

EXPANSION = 4
"""Output channels of a bottleneck over those of its 3x3 convolution."""

_BLOCKS = (3, 4, 6, 3)
_SMALL_BLOCKS = (1, 1, 1, 1)
_WIDTH, _SMALL_WIDTH = 64, 8
_PIXELS, _SMALL_PIXELS = 224, 32
_CLASSES, _SMALL_CLASSES = 1000, 10


def _normed(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, same padding, and batch norm."""
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut; [N, inputs, H, W] -> [N, 4 width, H/s, W/s]."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.reduce = _normed(inputs, width, 1)
        self.spatial = _normed(width, width, 3, stride)
        self.expand = _normed(width, outputs, 1)
        is_plain = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if is_plain else _normed(inputs, outputs, 1, stride)

    def forward(self, x: Any) -> Any:
        inner = torch.relu(self.spatial(torch.relu(self.reduce(x))))
        return torch.relu(self.expand(inner) + self.shortcut(x))


class ResNet(nn.Module):
    """Images [N, 3, H, W] -> logits [N, classes]."""

    def __init__(self, blocks: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, padding=3, bias=False), nn.BatchNorm2d(width)
        )
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        stages, inputs = [], width
        for number, count in enumerate(blocks):
            inner = width * 2**number
            for index in range(count):
                stride = 2 if number > 0 and index == 0 else 1
                stages.append(Bottleneck(inputs, inner, stride))
                inputs = inner * EXPANSION
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, pixels: Any) -> dict[str, Any]:
        features = self.stages(self.pool(torch.relu(self.stem(pixels))))
        return {"logits": self.classifier(features.mean((2, 3)))}


def build(name: str, request: Request) -> ZooModel:
    """ResNet-50 for pixels [batch, 3, 224, 224]; `layers` keeps the first blocks of each stage."""
    blocks: tuple[int, ...] = _SMALL_BLOCKS if request.small else _BLOCKS
    if request.layers is not None:
        blocks = tuple(min(count, request.layers) for count in _BLOCKS)
    width, classes = (_SMALL_WIDTH, _SMALL_CLASSES) if request.small else (_WIDTH, _CLASSES)
    module = with_random_weights(lambda: _initialised(ResNet(blocks, width, classes)), request.seed)
    pixels = _SMALL_PIXELS if request.small else _PIXELS
    image = random_values(request.batch, 3, pixels, pixels, seed=request.seed)
    return ZooModel(name, module, {"pixels": image})


def _initialised(module: ResNet) -> ResNet:
    """Weights that keep the size of activations: He's, and a third in the sums with shortcuts."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
        if isinstance(part, Bottleneck):
            nn.init.constant_(part.expand[1].weight, 0.3)
    return module
