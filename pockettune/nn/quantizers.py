"""Uniform quantizers: a symmetric grid of weights, its scale, and a gradient through it.

``Q_b(w) = s clip(round(w / s), -n, n)`` with ``n = 2^(b - 1) - 1`` and ``s = max|w| / n``, for a
tensor or for each slice of its first axis (a channel). 32 bits are no quantizer at all. Rounding is
to nearest even. Where a model runs on a device, ``s`` may instead be the one that loses least
(``mse``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pockettune.errors import ConfigInvalid

__all__ = [
    "FULL",
    "SCALES",
    "WIDTHS",
    "fake_quantized",
    "fake_quantized_activation",
    "kurtosis",
    "levels",
    "max_scale",
    "mse_scale",
    "quantized",
]

FULL = 32
WIDTHS = (2, 3, 4, 5, 6, 7, 8, FULL)
"""Bit-widths that there are."""

SCALES = ("max", "mse")
"""Ways to choose a grid's scale."""

_CANDIDATES = 100


def levels(bits: int) -> float:
    """The grid's largest whole number for ``bits`` of 2 to 8. Raises ConfigInvalid."""
    if bits not in WIDTHS or bits == FULL:
        raise ConfigInvalid("bits", bits, WIDTHS)
    return float(2 ** (bits - 1) - 1)


def max_scale(weights: Tensor, top: float | Tensor, *, per_channel: bool = False) -> Tensor:
    """The scale at which the largest magnitude is the grid's end; a tensor that broadcasts against
    ``weights``. Where all weights are 0 it is tiny, so that they stay 0."""
    size = weights.detach().abs()
    if per_channel and weights.dim() > 1:
        largest = size.flatten(1).amax(dim=1).reshape(-1, *[1] * (weights.dim() - 1))
    else:
        largest = size.amax().reshape([1] * weights.dim())
    return largest.clamp(min=1e-12) / top


def mse_scale(weights: Tensor, top: float, *, per_channel: bool = False) -> Tensor:
    """Of 100 scales from 1 % of ``max_scale`` to it the one with the least squared error."""
    widest = max_scale(weights, top, per_channel=per_channel)
    dims = tuple(range(1, weights.dim())) if per_channel and weights.dim() > 1 else None
    best, least = widest, torch.full_like(widest, float("inf"))
    for step in range(1, _CANDIDATES + 1):
        scale = widest * (step / _CANDIDATES)
        error = (_on_grid(weights, scale, top) - weights).square()
        lost = error.sum() if dims is None else error.sum(dim=dims)
        better = lost.reshape(widest.shape) < least
        least = torch.where(better, lost.reshape(widest.shape), least)
        best = torch.where(better, scale, best)
    return best


def quantized(
    weights: Tensor, bits: int, *, scale: str = "max", per_channel: bool = False
) -> Tensor:
    """``Q_b(weights)``, without a gradient; ``scale`` is "max" or "mse". Raises ConfigInvalid."""
    if bits == FULL:
        return weights
    top = levels(bits)
    if scale not in SCALES:
        raise ConfigInvalid("scale", scale, SCALES)
    choose = max_scale if scale == "max" else mse_scale
    with torch.no_grad():
        return _on_grid(weights, choose(weights, top, per_channel=per_channel), top)


def fake_quantized(
    weights: Tensor, top: float | Tensor, share: float | Tensor, *, per_channel: bool = False
) -> Tensor:
    """``weights`` moved by ``share`` of the way to the grid that ends at ``top``, as a value; their
    gradient passes as it is (straight-through: Y. Bengio et al., arXiv 1308.3432).

    ``top`` and ``share`` may be one-element tensors, so that one graph serves several widths. A
    share of 0 is ``weights``, bit for bit; at 1 the grid is met up to rounding.
    """
    top = torch.as_tensor(top, dtype=weights.dtype)
    scale = max_scale(weights, top, per_channel=per_channel)
    grid = torch.maximum(torch.minimum((weights / scale).round(), top), -top) * scale
    return weights + ((grid - weights) * share).detach()


def fake_quantized_activation(
    values: Tensor, top: float | Tensor, share: float | Tensor, present: Tensor | None = None
) -> Tensor:
    """As :func:`fake_quantized`, for ``[B, ...]`` values of at least 0 on a grid ``0..2 top + 1``
    that ends at their largest. ``present`` ``[B]`` is 0 for examples that fill up a batch and must
    not set its range, else 1."""
    ends = 2.0 * torch.as_tensor(top, dtype=values.dtype) + 1.0
    counted = values.detach()
    if present is not None:
        counted = counted * present.reshape(-1, *[1] * (values.dim() - 1))
    scale = counted.amax().clamp(min=1e-12) / ends
    return values + (((values / scale).round() * scale - values) * share).detach()


def kurtosis(weights: Tensor) -> Tensor:
    """``E[((w - mean) / deviation)^4]``, a scalar: 1.8 for a uniform distribution, 3 for a normal
    one."""
    centered = weights - weights.mean()
    square = centered * centered
    variance = square.mean()
    return (square * square).mean() / (variance * variance).clamp(min=1e-20)


def _on_grid(weights: Tensor, scale: Tensor, top: float) -> Tensor:
    return (weights / scale).round().clamp(-top, top) * scale
