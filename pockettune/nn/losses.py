"""Losses of classifiers, in operators that every runtime has."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["cross_entropy", "weighted_mean"]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each example, float32 ``[n]``, in nats.

    ``logits`` ``[n, classes]`` with int64 ``labels`` ``[n]``, or ``[n, T, classes]`` with ``[n,
    T]``: then it is the mean over T. A label is compared with every class instead of being an
    index, so that a runtime needs no gather.
    """
    classes = torch.arange(logits.shape[-1], device=logits.device)
    chosen = (labels.unsqueeze(-1) == classes).to(logits.dtype)
    losses = torch.logsumexp(logits, dim=-1) - (logits * chosen).sum(dim=-1)
    return losses if losses.dim() == 1 else losses.mean(dim=-1)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """``sum(weights * values) / sum(weights)``, and 0 where all weights are 0; both ``[n]``."""
    return (values * weights).sum() / weights.sum().clamp(min=1e-12)
