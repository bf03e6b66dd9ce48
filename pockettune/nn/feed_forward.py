"""The gated feed-forward layer of a transformer block, a part of its inner units at a time.

GEGLU (Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202): ``y = W2 ((Wa x + ba) *
gelu(Wg x + bg)) + b2``. The sum over inner units is split into parts, so that neither the inner
activations nor a dequantized weight ever exist as a whole; the backward pass saves ``x`` only and
computes each part again. The weights are frozen: they receive no gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LeanFeedForward"]


class _Part(NamedTuple):
    """The frozen weights of some inner units: ``[units, channels]`` and ``[channels, units]``."""

    value: Tensor
    gate: Tensor
    value_bias: Tensor
    gate_bias: Tensor
    output: Tensor


class _FeedForward(torch.autograd.Function):
    """``x`` is ``[tokens, channels]``; the weights follow flat, five for each part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        # Not by save_for_backward: frozen weights are no activations, and a recomputing caller
        # must not be asked to keep or rebuild them.
        ctx.parts = _parts(weights)
        total: Tensor | None = None
        for part in ctx.parts:
            inner = F.linear(x, part.value, part.value_bias)
            inner = inner * F.gelu(F.linear(x, part.gate, part.gate_bias))
            product = F.linear(inner, part.output)
            total = product if total is None else total + product
        return bias if total is None else total + bias

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        total: Tensor | None = None
        for part in ctx.parts:
            value = F.linear(x, part.value, part.value_bias)
            gate = F.linear(x, part.gate, part.gate_bias)
            d_inner = torch.mm(gradient, part.output)
            d_gate = torch.ops.aten.gelu_backward(d_inner * value, gate)
            d_x = torch.mm(d_inner * F.gelu(gate), part.value) + torch.mm(d_gate, part.gate)
            total = d_x if total is None else total + d_x
        return total, None, *(None for part in ctx.parts for _ in part)


def _parts(weights: tuple[Tensor, ...]) -> list[_Part]:
    return [_Part(*weights[first : first + 5]) for first in range(0, len(weights), 5)]


class LeanFeedForward(nn.Module):
    """Stands in for a diffusers ``FeedForward`` with GEGLU; its weights are copied in parts.

    ``width`` is the most inner units of a part: the inner dimension is split into the fewest equal
    parts of at most that many.
    """

    def __init__(self, original: nn.Module, width: int) -> None:
        super().__init__()
        net: Any = original.net
        project: nn.Linear = net[0].proj
        output: nn.Linear = net[2]
        channels, inner = output.weight.shape
        count = next(n for n in range(-(-inner // width), inner + 1) if inner % n == 0)
        units = inner // count

        def frozen(weight: Tensor) -> nn.Parameter:
            return nn.Parameter(weight.detach().clone(), requires_grad=False)

        bias = project.bias if project.bias is not None else project.weight.new_zeros(2 * inner)
        self.weights = nn.ParameterList()
        for first in range(0, inner, units):
            here, gate = slice(first, first + units), slice(inner + first, inner + first + units)
            self.weights.extend(
                frozen(weight)
                for weight in _Part(
                    value=project.weight[here],
                    gate=project.weight[gate],
                    value_bias=bias[here],
                    gate_bias=bias[gate],
                    output=output.weight[:, here],
                )
            )
        has_bias = output.bias is not None
        self.bias = frozen(output.bias if has_bias else output.weight.new_zeros(channels))

    def forward(self, hidden_states: Tensor) -> Tensor:
        """``[..., channels]`` of float32 to the same shape."""
        flat = hidden_states.reshape(-1, hidden_states.shape[-1])
        return _FeedForward.apply(flat, self.bias, *self.weights).reshape(hidden_states.shape)
