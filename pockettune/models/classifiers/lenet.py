"""LeNet-5's shape: 5x5 convolutions of 32 and 64 filters, pooling, a hidden layer of 512.

After Y. LeCun et al., "Gradient-based learning applied to document recognition", 1998, in the form
that the quantization literature uses (32C5-MP2-64C5-MP2-512FC). Pictures of less than 16 pixels
(the 8x8 digits) would not survive two unpadded convolutions: for them both are padded.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pockettune.errors import ConfigInvalid
from pockettune.models.classifier import Tap

INPUT_DTYPE = torch.float32


class LeNet(nn.Module):
    """``[n, channels, height, width]`` to ``[n, classes]``."""

    def __init__(self, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        padding = 2 if min(height, width) < 16 else 0
        sides = [((side - 4 + 2 * padding) // 2 - 4 + 2 * padding) // 2 for side in (height, width)]
        self.conv1 = nn.Conv2d(channels, 32, 5, padding=padding)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=padding)
        self.hidden = nn.Linear(64 * sides[0] * sides[1], 512)
        self.head = nn.Linear(512, classes)

    def forward(self, images: Tensor, tap: Tap) -> Tensor:
        x = tap("conv1", F.relu(F.max_pool2d(self.conv1(images), 2)))
        x = tap("conv2", F.relu(F.max_pool2d(self.conv2(x), 2)))
        x = tap("hidden", F.relu(self.hidden(x.flatten(1))))
        logits: Tensor = self.head(x)
        return logits


def build(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Raises ConfigInvalid for inputs that are not pictures of at least 4x4 pixels, both divisible
    by 4."""
    if len(input_shape) != 3 or any(side < 4 or side % 4 for side in input_shape[1:]):
        raise ConfigInvalid("input_shape", input_shape, "channels, and two sides divisible by 4")
    return LeNet(*input_shape, classes)
