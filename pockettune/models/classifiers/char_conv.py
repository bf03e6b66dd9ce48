"""The next character by dilated causal convolutions over the characters before it.

After A. van den Oord et al., "WaveNet", arXiv 1609.03499, without gates: four layers of width 3,
dilated 1, 2, 4 and 8 times, see 31 characters. The embedding is linear, on one-hot vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pockettune.errors import ConfigInvalid
from pockettune.models.classifier import Tap

INPUT_DTYPE = torch.int64
_WIDTH = 64
_DILATIONS = (1, 2, 4, 8)


class CharConv(nn.Module):
    """Character numbers ``[n, T]`` to logits ``[n, T, classes]``, each for the next character."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.embedding = nn.Linear(classes, _WIDTH)
        self.convs = nn.ModuleList(
            nn.Conv2d(_WIDTH, _WIDTH, (1, 3), dilation=(1, dilation)) for dilation in _DILATIONS
        )
        self.head = nn.Linear(_WIDTH, classes)

    def forward(self, characters: Tensor, tap: Tap) -> Tensor:
        numbers = torch.arange(self.classes, device=characters.device)
        one_hot = (characters.unsqueeze(-1) == numbers).to(torch.float32)
        x = self.embedding(one_hot).movedim(-1, -2).unsqueeze(-2)
        for index, (conv, dilation) in enumerate(zip(self.convs, _DILATIONS, strict=True)):
            x = x + tap(f"convs.{index}", F.relu(conv(F.pad(x, (2 * dilation, 0)))))
        logits: Tensor = self.head(x.squeeze(-2).movedim(-1, -2))
        return logits


def build(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Raises ConfigInvalid for inputs that are not lines of characters."""
    if len(input_shape) != 1:
        raise ConfigInvalid("input_shape", input_shape, "a number of characters")
    return CharConv(classes)
