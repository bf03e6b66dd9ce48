"""Relaxed Quantization: papers.md, section 9's tests, and that it trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pockettune.aggregate import ServerOptimizer
from pockettune.data.dataset import Split
from pockettune.errors import ConfigInvalid
from pockettune.federation import bind
from pockettune.local import LocalTraining
from pockettune.method import compose
from pockettune.methods.relaxed_quant import Config, quantized_logits
from pockettune.models.classifier import load_classifier
from pockettune.nn.relaxed import (
    POINTS,
    grid_ends,
    log_probabilities,
    relaxed,
    rounded,
    shifted,
)
from pockettune.round import initial_state, run_round

X = torch.linspace(-3.2, 2.7, 60, dtype=torch.float64)
ALPHA = torch.tensor([0.5], dtype=torch.float64)


def sigmoid(value: float) -> float:
    return 1.0 / (1.0 + np.exp(-value))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_probabilities_are_those_of_the_page(bits: int) -> None:
    """The truncated difference of logistic distribution functions, over the whole grid."""
    low, high = grid_ends(bits, signed=True)
    sigma = ALPHA / 3
    log_pi, points = log_probabilities(X, ALPHA, sigma, low, high)
    torch.testing.assert_close(log_pi.exp().sum(dim=-1), torch.ones_like(X))
    for x, logs, grid in zip(X.tolist(), log_pi, points, strict=True):
        bins = {
            i: sigmoid((0.5 * i + 0.25 - x) / (0.5 / 3)) - sigmoid((0.5 * i - 0.25 - x) / (0.5 / 3))
            for i in range(int(low), int(high) + 1)
        }
        total = sum(bins.values())
        for point, log in zip(grid.tolist(), logs.tolist(), strict=True):
            expected = bins.get(int(point), 0.0) / total
            assert np.exp(log) == pytest.approx(expected, abs=2e-3)


def test_small_noise_is_rounding() -> None:
    low, high = grid_ends(3, signed=True)
    uniform = torch.rand((*X.shape, POINTS), dtype=torch.float64)
    drawn = relaxed(
        X, ALPHA, ALPHA * 1e-4, low, high, uniform, temperature=1e-3, straight_through=False
    )
    expected = np.clip(np.round(X.numpy() / 0.5), -4, 3) * 0.5
    np.testing.assert_allclose(drawn.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(rounded(X, ALPHA, low, high).numpy(), expected)


def test_the_mean_of_draws_is_the_value() -> None:
    """At sigma = alpha / 3 it is stochastic rounding: E = 0.366 alpha for 0.37 alpha."""
    x = torch.full((40_000,), 0.37)
    uniform = torch.rand((40_000, POINTS), generator=torch.Generator().manual_seed(0))
    one = torch.ones(1)
    drawn = relaxed(x, one, one / 3, -8, 7, uniform, temperature=1.0, straight_through=True)
    assert set(drawn.unique().tolist()) <= {-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0}
    assert float(drawn.mean()) == pytest.approx(0.366, abs=0.012)


@pytest.mark.parametrize(
    "cells", [((0, 0), (0, 1), (0, 2)), ((0, 0), (0, 1), (1, 0)), ((0, 0), (1, 0), (2, 0))]
)
def test_any_three_shifted_numbers_are_uniform_and_independent(
    cells: tuple[tuple[int, int], ...],
) -> None:
    """64 cells of a cube hold equal shares: chi-square, 63 degrees of freedom, within 5 standard
    deviations."""
    draws, generator = 64_000, torch.Generator().manual_seed(0)
    own = torch.rand((draws, 3), generator=generator)
    numbers = shifted(own, torch.rand((draws, 1, POINTS), generator=generator))
    assert numbers.shape == (draws, 3, POINTS)
    quarters = [(numbers[:, value, point] * 4).long().clamp(max=3) for value, point in cells]
    cube = quarters[0] * 16 + quarters[1] * 4 + quarters[2]
    counts = torch.bincount(cube, minlength=64).double()
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 63 + 5 * 126**0.5


def test_a_tie_of_two_points_is_their_mean() -> None:
    """Halfway between two points with equal noise: never the sum of both."""
    x = torch.tensor([0.25])
    drawn = relaxed(
        x,
        torch.tensor([0.5]),
        torch.tensor([0.01]),
        -4,
        3,
        torch.full((1, POINTS), 0.5),
        temperature=1.0,
        straight_through=True,
    )
    assert drawn.item() in (0.0, 0.25, 0.5)


@pytest.mark.parametrize("which", ["x", "alpha", "sigma"])
def test_gradients_match_finite_differences(which: str) -> None:
    uniform = torch.rand(
        (7, POINTS), dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    values = {
        "x": torch.linspace(-1.1, 0.9, 7, dtype=torch.float64),
        "alpha": ALPHA.clone(),
        "sigma": ALPHA / 4,
    }

    def total(value: Tensor) -> Tensor:
        own = values | {which: value}
        drawn = relaxed(
            own["x"],
            own["alpha"],
            own["sigma"],
            -4,
            3,
            uniform,
            temperature=0.7,
            straight_through=False,
        )
        return (drawn * torch.arange(7)).sum()

    leaf = values[which].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total(leaf), leaf)
    step = 1e-6
    for index in range(leaf.numel()):
        shift = torch.zeros_like(leaf)
        shift[index] = step
        slope = (total(values[which] + shift) - total(values[which] - shift)) / (2 * step)
        assert float(gradient[index]) == pytest.approx(float(slope), rel=1e-5, abs=1e-7)


def test_straight_through_has_the_relaxed_gradient() -> None:
    uniform = torch.rand((5, POINTS), generator=torch.Generator().manual_seed(1))

    def gradient(straight_through: bool) -> Tensor:
        x = torch.linspace(-1, 1, 5).requires_grad_()
        drawn = relaxed(
            x,
            torch.tensor([0.5]),
            torch.tensor([0.2]),
            -4,
            3,
            uniform,
            temperature=1.0,
            straight_through=straight_through,
        )
        (slope,) = torch.autograd.grad(drawn.sum(), x)
        return slope

    torch.testing.assert_close(gradient(straight_through=True), gradient(straight_through=False))


def planted(examples: int) -> Split:
    """Classes are told apart by which half of the window is high."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, examples)
    inputs = 0.5 * random.normal(size=(examples, 3, 16)).astype(np.float32)
    for window, label in zip(inputs, labels, strict=True):
        window[:, 8 * label :][:, :8] += 1.0
    return Split(inputs, labels, np.full(examples, -1, np.int64))


@pytest.mark.parametrize("straight_through", [False, True])
def test_a_network_that_runs_on_few_bits_is_learnt(straight_through: bool) -> None:
    settings: dict[str, Any] = {
        "bits": 4,
        "straight_through": straight_through,
        "batch_size": 16,
    }
    model = load_classifier("har-conv", (3, 16), 2)
    local = LocalTraining(batch_size=16, optimizer="adamw", learning_rate=2e-3, epochs=2)
    federation = bind(compose("relaxed_quant", settings), model, local, ServerOptimizer())
    data = planted(64)
    state = initial_state(federation)
    before = state.parameters
    for _ in range(4):
        state, report = run_round(federation, state, [0], lambda _: data)
    logits = quantized_logits(
        federation.model,
        Config(**settings),
        torch.from_numpy(state.parameters),
        torch.from_numpy(data.inputs),
    )
    assert float((logits.argmax(1).numpy() == data.labels).mean()) > 0.9
    assert report.loss < 0.6
    learnt = state.parameters[model.size :] != before[model.size :]
    assert learnt.mean() > 0.9  # steps and noises are learnt, too


@pytest.mark.parametrize(
    ("key", "value"), [("bits", 1), ("bits", 9), ("noise", 0.0), ("noise", "no"), ("batch_size", 0)]
)
def test_values_out_of_range_are_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigInvalid, match=f"'{key}' cannot be"):
        Config(**{key: value})
