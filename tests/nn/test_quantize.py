"""Rounding of frozen weights against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pockettune.nn.quantize import quantize_, quantize_rows


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
    grids = [quantize_rows(module["linear"].weight)[0]]  # type: ignore[index, union-attr]
    once = module["linear"].weight.clone()  # type: ignore[index, union-attr]
    quantize_(module, 8)
    torch.testing.assert_close(module["linear"].weight, once, rtol=3e-7, atol=0)  # type: ignore[index]
    assert torch.equal(quantize_rows(once)[0], grids[0])


def test_a_row_of_zeros_stays_zero() -> None:
    grid, scales = quantize_rows(torch.zeros(2, 3))
    assert grid.dtype == torch.int8
    assert not grid.any()
    assert (scales > 0).all()


def test_32_bits_change_nothing() -> None:
    module = net()
    before = module["linear"].weight.clone()  # type: ignore[index, union-attr]
    quantize_(module, 32)
    assert torch.equal(module["linear"].weight, before)  # type: ignore[index]


@pytest.mark.parametrize("bits", [0, 4, 16])
def test_other_bits_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="8 or 32 bits"):
        quantize_(net(), bits)
