"""How good a model is, at full precision or with its weights on a grid of few bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pockettune.models.classifier import Classifier
from pockettune.nn.losses import cross_entropy
from pockettune.nn.quantizers import FULL, quantized
from pockettune.pack import unpack

__all__ = ["evaluate", "quantized_parameters"]

_BATCH = 500


def quantized_parameters(
    model: Classifier,
    parameters: Tensor,
    bits: int,
    *,
    scale: str = "max",
    per_channel: bool = False,
    first_last: str = "same",
) -> dict[str, Tensor]:
    """The parameters of a pack by name, weights (all but vectors) on a grid of ``bits``.

    Biases and the factors of norms stay as they are: they are few, and no product of theirs is
    costly. ``first_last`` as in ``model.width_of``.
    """
    tensors = unpack(model.views, parameters)
    for name in model.weights:
        width = model.width_of(name, bits, first_last)
        tensors[name] = quantized(tensors[name], width, scale=scale, per_channel=per_channel)
    return tensors


@torch.no_grad()
def evaluate(
    model: Classifier,
    parameters: Tensor,
    inputs: NDArray[Any],
    labels: NDArray[np.int64],
    *,
    bits: int = FULL,
    scale: str = "max",
    per_channel: bool = False,
    first_last: str = "same",
) -> dict[str, float]:
    """``loss`` (mean cross-entropy, nats) and ``accuracy`` (share of right labels) on examples."""
    tensors = quantized_parameters(
        model, parameters, bits, scale=scale, per_channel=per_channel, first_last=first_last
    )
    loss = right = 0.0
    for start in range(0, len(labels), _BATCH):
        part = torch.from_numpy(labels[start : start + _BATCH])
        logits = model.apply_named(tensors, torch.from_numpy(inputs[start : start + _BATCH]))
        loss += float(cross_entropy(logits, part).sum())
        right += float((logits.argmax(dim=-1) == part).to(torch.float32).sum())
    return {"loss": loss / len(labels), "accuracy": right / labels.size}
