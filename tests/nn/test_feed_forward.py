"""The split feed-forward layer against diffusers' own, values and gradients."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention import FeedForward
from torch import Tensor

from pockettune.nn.feed_forward import LeanFeedForward


@pytest.mark.parametrize(("width", "parts"), [(1000, 1), (24, 1), (12, 2), (10, 3), (1, 24)])
def test_equals_diffusers(width: int, parts: int) -> None:
    torch.manual_seed(0)
    original = FeedForward(6)
    lean = LeanFeedForward(original, width)
    assert len(lean.weights) == 5 * parts
    results = []
    for module in (original, lean):
        x = torch.linspace(-2, 2, 2 * 5 * 6).reshape(2, 5, 6).requires_grad_()
        output = module(x)
        output.pow(2).sum().backward()
        results.append((output, x.grad))
    for value, reference in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-5, atol=1e-5)


def test_without_biases() -> None:
    original = FeedForward(6, bias=False)
    x = torch.randn(3, 6)
    torch.testing.assert_close(LeanFeedForward(original, 8)(x), original(x))


def test_saves_its_input_only() -> None:
    saved: list[Tensor] = []
    lean = LeanFeedForward(FeedForward(6), 8)
    x = torch.randn(3, 6, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        lean(x)
    assert [tuple(tensor.shape) for tensor in saved] == [(3, 6)]


def test_keeps_the_number_of_parameters() -> None:
    original = FeedForward(6)
    lean = LeanFeedForward(original, 7)
    count = sum(weight.numel() for weight in lean.parameters())
    assert count == sum(weight.numel() for weight in original.parameters())
    assert not any(weight.requires_grad for weight in lean.parameters())
