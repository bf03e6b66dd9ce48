"""Round frozen weights to the values that an 8-bit bundle can hold.

Symmetric, one scale per output channel (per row for embeddings): ``scale = max |w| / 127``, ``w ->
scale * clamp(round(w / scale), -127, 127)`` (Krishnamoorthi, "Quantizing deep convolutional
networks for efficient inference", arXiv 1806.08342, section 2.1.2). Rounding before capture makes
the eager model the exact reference of the lowered one; rounding twice changes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pockettune.nn.feed_forward import LeanFeedForward

__all__ = ["fake_quantize_", "quantize_rows"]


def quantize_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize a float32 ``[rows, ...]`` tensor: int8 of its shape and float32 scales ``[rows]``.

    A row of zeros gets a tiny scale, never zero.
    """
    flat = rows.detach().reshape(rows.shape[0], -1)
    scales = flat.abs().amax(1).clamp_min(1e-12) / 127.0
    grid = torch.clamp(torch.round(flat / scales[:, None]), -127, 127).to(torch.int8)
    return grid.reshape(rows.shape), scales


def _round_(weight: Tensor) -> None:
    grid, scales = quantize_rows(weight)
    weight.copy_(grid * scales.reshape(-1, *[1] * (weight.dim() - 1)))


@torch.no_grad()
def fake_quantize_(module: nn.Module, bits: int) -> None:
    """Round the frozen weights of ``module`` in place to ``bits``: 8, or 32 for no change.

    Rounded are the weights of linear, convolution and embedding layers and of lean feed-forward
    parts; norms, biases and adapters (modules named ``lora_...``) stay as they are. Call it after
    ``make_lean_``: a part of a feed-forward layer has scales of its own.
    Raises ``ValueError`` for another number of bits.
    """
    if bits not in (8, 32):
        raise ValueError(f"frozen weights have 8 or 32 bits, not {bits}")
    if bits == 32:
        return
    for name, layer in module.named_modules():
        weights: list[Tensor] = []
        if "lora_" in name:
            continue
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
            weights = [layer.weight]
        elif isinstance(layer, LeanFeedForward):
            weights = [weight for weight in layer.weights if weight.dim() == 2]
        for weight in weights:
            _round_(weight)
