"""EfficientNet-Lite0 similarity: how alike pictures are in the eyes of a small ImageNet classifier.

The cosine between pooled features of EfficientNet-Lite0 (Tan and Le, "EfficientNet: Rethinking
Model Scaling for Convolutional Neural Networks", arXiv 1905.11946; the Lite variant drops squeeze
and excitation and uses ReLU6). It is *not* CLIP-I or DINO, which papers report, and its values
cannot be compared with theirs: only with one another. The network is
`pockettune.models.efficientnet`.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from pockettune.models.efficientnet import features

__all__ = ["mean_similarity", "own_similarity"]


def mean_similarity(images: Sequence[Image.Image], references: Sequence[Image.Image]) -> float:
    """The mean cosine over all pairs of an image and a reference; at most 1."""
    return float((features(images) @ features(references).T).mean())


def own_similarity(images: Sequence[Image.Image]) -> float:
    """The mean cosine over all pairs of two different images: what could be reached at best."""
    found = features(images)
    pairs = found @ found.T
    count = len(images)
    return float((pairs.sum() - pairs.diagonal().sum()) / (count * (count - 1)))
