"""Quantizers against a few lines of NumPy, and their exact limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pockettune.errors import ConfigInvalid
from pockettune.nn.quantizers import (
    fake_quantized,
    fake_quantized_activation,
    kurtosis,
    levels,
    max_scale,
    mse_scale,
    quantized,
)

WEIGHTS = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32))


def reference(weights: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """papers.md, section 5, on the symmetric grid."""
    top = 2 ** (bits - 1) - 1
    scale = np.abs(weights).max() / top
    return np.clip(np.round(weights / scale), -top, top) * scale


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_the_grid_is_that_of_the_page(bits: int) -> None:
    whole = quantized(WEIGHTS, bits).numpy()
    np.testing.assert_allclose(whole, reference(WEIGHTS.double().numpy(), bits), atol=1e-6)
    by_channel = quantized(WEIGHTS, bits, per_channel=True).numpy()
    for channel in range(5):
        expected = reference(WEIGHTS[channel].double().numpy(), bits)
        np.testing.assert_allclose(by_channel[channel], expected, atol=1e-6)
    assert len(np.unique(np.abs(whole))) <= 2 ** (bits - 1)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("per_channel", [False, True])
def test_the_searched_scale_loses_no_more_than_the_largest(bits: int, per_channel: bool) -> None:
    def lost(scale: str) -> float:
        grid = quantized(WEIGHTS, bits, scale=scale, per_channel=per_channel)
        return float((grid - WEIGHTS).square().sum())

    assert lost("mse") < lost("max")


def test_the_searched_scale_is_the_best_of_a_fine_grid() -> None:
    top = levels(3)
    found = float(mse_scale(WEIGHTS, top))
    values = WEIGHTS.double().numpy()

    def error(scale: float) -> float:
        grid = np.clip(np.round(values / scale), -top, top) * scale
        return float(((grid - values) ** 2).sum())

    best = min(
        error(scale) for scale in np.linspace(0.01, 1.0, 500) * float(max_scale(WEIGHTS, top))
    )
    assert error(found) <= 1.02 * best


def test_full_width_is_no_quantizer() -> None:
    assert quantized(WEIGHTS, 32) is WEIGHTS


@pytest.mark.parametrize("share", [0.0, torch.tensor(0.0)])
def test_share_zero_is_bit_equal(share: float) -> None:
    assert torch.equal(fake_quantized(WEIGHTS, 7.0, share), WEIGHTS)
    positive = WEIGHTS.abs()
    assert torch.equal(fake_quantized_activation(positive, 7.0, share), positive)


def test_share_one_is_the_grid_with_the_gradient_of_the_weights() -> None:
    leaf = WEIGHTS.clone().requires_grad_()
    moved = fake_quantized(leaf, 7.0, 1.0)
    torch.testing.assert_close(moved.detach(), quantized(WEIGHTS, 4), rtol=0, atol=1e-6)
    factors = torch.randn(WEIGHTS.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((moved * factors).sum(), leaf)
    assert torch.equal(gradient, factors)


def test_activations_have_a_grid_from_zero() -> None:
    values = torch.tensor([0.0, 0.1, 0.5, 0.8, 1.5])
    # 2 bits: 0, 0.5, 1, 1.5.
    expected = torch.tensor([0.0, 0.0, 0.5, 1.0, 1.5])
    torch.testing.assert_close(fake_quantized_activation(values, 1.0, 1.0), expected)


def test_all_zero_weights_stay_zero() -> None:
    assert torch.equal(quantized(torch.zeros(3, 3), 4), torch.zeros(3, 3))
    assert torch.equal(fake_quantized(torch.zeros(3, 3), 7.0, 1.0), torch.zeros(3, 3))


def test_kurtosis_of_known_distributions() -> None:
    random = np.random.default_rng(0)
    uniform = torch.from_numpy(random.uniform(size=200_000))
    normal = torch.from_numpy(random.normal(size=200_000))
    assert float(kurtosis(uniform)) == pytest.approx(1.8, abs=0.02)
    assert float(kurtosis(normal)) == pytest.approx(3.0, abs=0.05)
    assert float(kurtosis(torch.tensor([-1.0, 1.0]))) == pytest.approx(1.0)


@pytest.mark.parametrize("bits", [0, 1, 9, 16, 31])
def test_other_widths_are_refused(bits: int) -> None:
    with pytest.raises(ConfigInvalid, match=f"'bits' cannot be '{bits}'"):
        quantized(WEIGHTS, bits)


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="'scale' cannot be 'mean'; valid: max, mse"):
        quantized(WEIGHTS, 4, scale="mean")
