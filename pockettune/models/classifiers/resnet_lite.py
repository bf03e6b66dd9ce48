"""A small residual network: three stages of one block each, 16, 32 and 64 channels.

After K. He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, with group
norm (8 groups) instead of batch norm, and 2x2 average pooling between stages instead of strides, so
that every convolution has stride 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pockettune.errors import ConfigInvalid
from pockettune.models.classifier import Tap

INPUT_DTYPE = torch.float32
_CHANNELS = (16, 32, 64)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, ``[n, i, h, w]`` to ``[n, o, h, w]``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(8, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(8, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None

    def forward(self, x: Tensor, name: str, tap: Tap) -> Tensor:
        inner = tap(f"{name}.inner", F.relu(self.norm1(self.conv1(x))))
        short = x if self.shortcut is None else self.shortcut(x)
        return tap(name, F.relu(self.norm2(self.conv2(inner)) + short))


class ResNetLite(nn.Module):
    """``[n, channels, height, width]`` to ``[n, classes]``."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, _CHANNELS[0], 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(8, _CHANNELS[0])
        inputs = (_CHANNELS[0], *_CHANNELS[:-1])
        self.blocks = nn.ModuleList(Block(i, o) for i, o in zip(inputs, _CHANNELS, strict=True))
        self.head = nn.Linear(_CHANNELS[-1], classes)

    def forward(self, images: Tensor, tap: Tap) -> Tensor:
        x = tap("stem", F.relu(self.norm(self.stem(images))))
        for index, block in enumerate(self.blocks):
            x = block(x if index == 0 else F.avg_pool2d(x, 2), f"blocks.{index}", tap)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def build(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Raises ConfigInvalid for inputs that are not pictures with sides divisible by 4."""
    if len(input_shape) != 3 or any(side < 4 or side % 4 for side in input_shape[1:]):
        raise ConfigInvalid("input_shape", input_shape, "channels, and two sides divisible by 4")
    return ResNetLite(input_shape[0], classes)
