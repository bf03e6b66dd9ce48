"""Human activity from a window of sensor readings: three temporal convolutions, mean over time.

The usual shape of convolutional activity recognizers, without a recurrent part. A window is
``[channels, time]``; each convolution is written as a two-dimensional one of height 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pockettune.errors import ConfigInvalid
from pockettune.models.classifier import Tap

INPUT_DTYPE = torch.float32


class HarConv(nn.Module):
    """``[n, channels, time]`` to ``[n, classes]``."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, (1, 5), padding=(0, 2))
        self.conv2 = nn.Conv2d(32, 64, (1, 5), padding=(0, 2))
        self.conv3 = nn.Conv2d(64, 64, (1, 5), padding=(0, 2))
        self.head = nn.Linear(64, classes)

    def forward(self, windows: Tensor, tap: Tap) -> Tensor:
        x = windows.unsqueeze(2)
        x = tap("conv1", F.avg_pool2d(F.relu(self.conv1(x)), (1, 2)))
        x = tap("conv2", F.avg_pool2d(F.relu(self.conv2(x)), (1, 2)))
        x = tap("conv3", F.relu(self.conv3(x)))
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def build(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Raises ConfigInvalid for inputs that are not windows whose time is divisible by 4."""
    if len(input_shape) != 2 or input_shape[1] < 8 or input_shape[1] % 4:
        raise ConfigInvalid("input_shape", input_shape, "channels, and a time divisible by 4")
    return HarConv(input_shape[0], classes)
