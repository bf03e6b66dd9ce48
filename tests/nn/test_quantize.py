"""Rounding of frozen weights against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pockettune.nn.feed_forward import LeanFeedForward
from pockettune.nn.quantize import Int8Weight, quantize_, quantize_rows


def reference(weight: np.ndarray) -> np.ndarray:
    """Symmetric int8 by output channel."""
    flat = weight.reshape(len(weight), -1)
    scale = np.abs(flat).max(1, keepdims=True) / np.float32(127)
    return (np.clip(np.rint(flat / scale), -127, 127) * scale).reshape(weight.shape)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "linear": nn.Linear(5, 4),
            "convolution": nn.Conv2d(3, 4, 3),
            "embedding": nn.Embedding(6, 5),
            "norm": nn.GroupNorm(2, 4),
            "lora_A": nn.ModuleDict({"default": nn.Linear(5, 2)}),
        }
    )


def test_rounds_weights_and_nothing_else() -> None:
    module = net()
    before = {name: value.clone().numpy() for name, value in module.state_dict().items()}
    quantize_(module, 8)
    rounded = ("linear.weight", "convolution.weight", "embedding.weight")
    for name, value in module.state_dict().items():
        expected = reference(before[name]) if name in rounded else before[name]
        np.testing.assert_allclose((1 * value).numpy(), expected, rtol=1e-6, err_msg=name)


def test_is_idempotent() -> None:
    module = net()
    quantize_(module, 8)
    grids = [quantize_rows(module["linear"].weight)[0]]
    once = module["linear"].weight.clone()
    quantize_(module, 8)
    torch.testing.assert_close(module["linear"].weight, once, rtol=3e-7, atol=0)
    assert torch.equal(quantize_rows(once)[0], grids[0])


def test_a_row_of_zeros_stays_zero() -> None:
    grid, scales = quantize_rows(torch.zeros(2, 3))
    assert grid.dtype == torch.int8
    assert not grid.any()
    assert (scales > 0).all()


def test_32_bits_change_nothing() -> None:
    module = net()
    before = module["linear"].weight.clone()
    quantize_(module, 32)
    assert torch.equal(module["linear"].weight, before)


@pytest.mark.parametrize("bits", [0, 4, 16])
def test_other_bits_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="8 or 32 bits"):
        quantize_(net(), bits)


def test_a_weight_is_float32_to_everybody_and_int8_in_memory() -> None:
    module = net()
    count = sum(weight.numel() for weight in module.parameters())
    quantize_(module, 8)
    assert sum(weight.numel() for weight in module.parameters()) == count
    assert {weight.dtype for weight in module.parameters()} == {torch.float32}
    layer: nn.Conv2d = module["convolution"]
    assert isinstance(layer.weight, Int8Weight)
    assert not layer.weight.requires_grad
    assert layer.weight.grid.untyped_storage().nbytes() == layer.weight.numel()


def test_layers_compute_and_differentiate_with_the_rounded_values() -> None:
    module = net()
    expected = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        rounded = torch.from_numpy(reference(module["convolution"].weight.numpy()))
        expected.weight.copy_(rounded)
        expected.bias.copy_(module["convolution"].bias)
    quantize_(module, 8)
    x = torch.randn(2, 3, 6, 6)
    found, wanted = (
        torch.autograd.grad(layer(leaf).square().sum(), leaf)[0]
        for layer in (module["convolution"], expected)
        for leaf in [x.clone().requires_grad_()]
    )
    torch.testing.assert_close(found, wanted)


def test_parts_of_a_feed_forward_layer_have_their_own_scales() -> None:
    from diffusers.models.attention import FeedForward

    torch.manual_seed(0)
    plain = FeedForward(8, activation_fn="geglu").requires_grad_(requires_grad=False)
    lean = LeanFeedForward(plain, 16)
    x = torch.randn(3, 8)
    before = lean(x)
    quantize_(lean, 8)
    matrices = [weight for weight in lean.weights if weight.dim() == 2]
    assert len(matrices) == 6
    assert all(isinstance(weight, Int8Weight) for weight in matrices)
    torch.testing.assert_close(lean(x), before, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("bits", [8, 32])
def test_half_precision_becomes_float32(bits: int) -> None:
    module = net().half()
    quantize_(module, bits)
    assert {weight.dtype for weight in module.parameters()} == {torch.float32}
