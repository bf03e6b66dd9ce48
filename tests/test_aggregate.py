"""The server's arithmetic against the papers' lines, written out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pockettune.aggregate import ServerOptimizer, weighted_mean
from pockettune.errors import ConfigInvalid

RANDOM = np.random.default_rng(0)


def some() -> NDArray[np.float32]:
    return RANDOM.normal(size=5).astype(np.float32)


def test_the_mean_is_weighted_and_does_not_depend_on_how_many_came_before() -> None:
    aggregator = weighted_mean()
    updates, weights = [{"a": some()} for _ in range(7)], [1.0, 2, 3, 4, 5, 6, 7]
    accumulated = None
    for update, weight in zip(updates, weights, strict=True):
        accumulated = aggregator.add(accumulated, update, weight)
    expected = np.average([update["a"] for update in updates], axis=0, weights=weights)
    np.testing.assert_allclose(aggregator.finish(accumulated)["a"], expected, rtol=1e-6)


def test_adding_changes_no_update() -> None:
    aggregator, first, second = weighted_mean(), {"a": some()}, {"a": some()}
    before = first["a"].copy()
    aggregator.add(aggregator.add(None, first, 2.0), second, 3.0)
    assert np.array_equal(first["a"], before)


@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam", "yogi"])
def test_optimizers_are_those_of_the_paper(kind: str) -> None:
    """arXiv 2003.00295, algorithm 2, in float64."""
    rate, beta1, beta2, tau = 0.5, 0.8, 0.95, 0.01
    optimizer = ServerOptimizer(kind, rate, beta1, beta2, tau)
    parameters = {"a": some()}
    moments = optimizer.init(parameters)
    x, m, v = parameters["a"].astype(np.float64), np.zeros(5), np.full(5, tau**2)
    for _ in range(4):
        update = {"a": some()}
        parameters, moments = optimizer.apply(parameters, moments, update)
        delta = update["a"].astype(np.float64)
        if kind == "sgd":
            x = x + rate * delta
        elif kind == "momentum":
            m = beta1 * m + delta
            x = x + rate * m
        else:
            m = beta1 * m + (1 - beta1) * delta
            if kind == "adam":
                v = beta2 * v + (1 - beta2) * delta**2
            else:
                v = v - (1 - beta2) * delta**2 * np.sign(v - delta**2)
            x = x + rate * m / (np.sqrt(v) + tau)
        np.testing.assert_allclose(parameters["a"], x, rtol=1e-5)


@pytest.mark.parametrize(
    "values",
    [{"kind": "lamb"}, {"learning_rate": 0.0}, {"beta1": 1.0}, {"beta2": -0.1}, {"tau": 0.0}],
)
def test_values_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigInvalid, match="'server_"):
        ServerOptimizer(**values)
