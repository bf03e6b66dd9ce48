"""Frozen weights in 8 bits, from the moment a model is prepared.

Symmetric, one scale per output channel (per row for embeddings): ``scale = max |w| / 127``, ``w ->
scale * clamp(round(w / scale), -127, 127)`` (Krishnamoorthi, "Quantizing deep convolutional
networks for efficient inference", arXiv 1806.08342, section 2.1.2). The eager model computes with
exactly the values that the lowered one has, and no second copy of the weights exists: a layer's
float32 weight lives while an operator uses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pockettune.nn.feed_forward import LeanFeedForward

__all__ = ["Int8Weight", "dequantize_rows", "quantize_", "quantize_rows"]


def quantize_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize a float32 ``[rows, ...]`` tensor: int8 of its shape and float32 scales ``[rows]``.

    A row of zeros gets a tiny scale, never zero.
    """
    flat = rows.detach().reshape(rows.shape[0], -1)
    scales = flat.abs().amax(1).clamp_min(1e-12) / 127.0
    grid = torch.clamp(torch.round(flat / scales[:, None]), -127, 127).to(torch.int8)
    return grid.reshape(rows.shape), scales


# An operator of its own, so that a traced graph shows where a weight is dequantized.
@torch.library.custom_op("pockettune::dequantize_rows", mutates_args=())
def dequantize_rows(grid: Tensor, scales: Tensor) -> Tensor:
    """The float32 values of an int8 ``[rows, ...]`` tensor with float32 scales ``[rows]``."""
    return grid * scales.reshape(-1, *[1] * (grid.dim() - 1))


@dequantize_rows.register_fake
def _(grid: Tensor, scales: Tensor) -> Tensor:
    return torch.empty_like(grid, dtype=scales.dtype)


class Int8Weight(Tensor):
    """A weight that is stored as int8 ``grid`` and float32 ``scales`` by row, and is a float32
    tensor to everything that computes with it: operators get the dequantized values."""

    grid: Tensor
    scales: Tensor

    @staticmethod
    def __new__(cls, grid: Tensor, scales: Tensor) -> Int8Weight:
        weight: Int8Weight = Tensor._make_wrapper_subclass(
            cls, grid.shape, dtype=scales.dtype, device=grid.device
        )
        weight.grid, weight.scales = grid, scales
        return weight

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operator on the dequantized values."""
        if func is torch.ops.aten.detach.default:  # what makes a parameter of it
            return cls(args[0].grid, args[0].scales)

        def plain(weight: Int8Weight) -> Tensor:
            return dequantize_rows(weight.grid, weight.scales)

        args, kwargs = pytree.tree_map_only(cls, plain, (tuple(args), dict(kwargs or {})))
        return func(*args, **kwargs)


def _int8(weight: Tensor) -> Int8Weight:
    grid, scales = quantize_rows(weight.float())
    if grid.dim() == 4:
        # Row by row of its taps in memory: so a program file stores a filter, and large filters
        # are not copied for it.
        grid = grid.permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2)
    return Int8Weight(grid, scales)


@torch.no_grad()
def quantize_(module: nn.Module, bits: int) -> None:
    """Freeze the weights of ``module`` in place with ``bits``: 8, or 32 for plain float32.

    With 8, the weights of linear, convolution and embedding layers and of lean feed-forward parts
    become :class:`Int8Weight`; norms, biases and adapters (modules named ``lora_...``) do not.
    Everything else of another floating dtype becomes float32. Call it after ``make_lean_``: a part
    of a feed-forward layer has scales of its own.
    Raises ``ValueError`` for another number of bits.
    """
    if bits not in (8, 32):
        raise ValueError(f"frozen weights have 8 or 32 bits, not {bits}")
    parts = [layer.weights for layer in module.modules() if isinstance(layer, LeanFeedForward)]
    for path, layer in module.named_modules():
        for name, weight in layer.named_parameters(recurse=False):
            if isinstance(weight, Int8Weight):
                continue
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
                has_rows = name == "weight"
            else:
                has_rows = weight.dim() == 2 and any(layer is part for part in parts)
            rounded = bits == 8 and has_rows and "lora_" not in path
            value = _int8(weight) if rounded else weight.float()
            if value is not weight:
                setattr(layer, name, nn.Parameter(value, requires_grad=False))
