"""Lean attention against diffusers' own, values and gradients."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor

from pockettune.errors import ModelUnsupported
from pockettune.nn.attention import LeanAttentionProcessor, attention


def layer(**settings: object) -> Attention:
    torch.manual_seed(0)
    return Attention(query_dim=12, heads=3, dim_head=4, **settings)


def run(attn: Attention, inputs: list[Tensor]) -> list[Tensor]:
    """Output, gradients of the inputs and of the weights."""
    inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    attn.zero_grad()
    output = attn(*inputs)
    output.pow(2).sum().backward()
    weights = [attn.to_q.weight, attn.to_k.weight, attn.to_v.weight]
    return [output, *(tensor.grad for tensor in [*inputs, *weights])]


@pytest.mark.parametrize("max_elements", [1, 24, 10**6])
@pytest.mark.parametrize("kind", ["self", "cross", "image"])
def test_equals_diffusers(kind: str, max_elements: int) -> None:
    torch.manual_seed(1)
    inputs = [torch.randn(2, 16, 12)]
    settings: dict[str, object] = {}
    if kind == "cross":
        inputs.append(torch.randn(2, 5, 10))
        settings = {"cross_attention_dim": 10}
    if kind == "image":
        inputs = [torch.randn(2, 12, 4, 4)]
        settings = {"norm_num_groups": 3, "residual_connection": True, "bias": True}
    attn = layer(**settings)
    attn.set_processor(AttnProcessor2_0())
    expected = run(attn, inputs)
    attn.set_processor(LeanAttentionProcessor(max_elements))
    for value, reference in zip(run(attn, inputs), expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-5, atol=1e-5)


def test_odd_number_of_queries_stays_whole() -> None:
    query, key, value = torch.randn(7, 4), torch.randn(5, 4), torch.randn(5, 4)
    result = attention(query, key, value, samples=1, heads=1, max_elements=5)
    torch.testing.assert_close(result, torch.softmax(query @ key.T, -1) @ value)


def test_saves_no_probabilities() -> None:
    saved: list[Tensor] = []
    query, key, value = (torch.randn(32, 4, requires_grad=True) for _ in range(3))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        attention(query, key, value, samples=1, heads=2, max_elements=64)
    assert [tuple(tensor.shape) for tensor in saved] == [(32, 4)] * 4


def test_mask_is_refused() -> None:
    attn = layer(processor=LeanAttentionProcessor(64))
    with pytest.raises(ModelUnsupported, match="attention mask"):
        attn(torch.randn(1, 4, 12), attention_mask=torch.zeros(1, 4))
