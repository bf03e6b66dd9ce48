"""What a server makes of its clients' updates: NumPy on named tensors, one update at a time.

- Federated averaging (B. McMahan et al., arXiv 1602.05629): the mean, weighted by examples.
- Server optimizers (S. Reddi et al., "Adaptive Federated Optimization", arXiv 2003.00295,
  algorithm 2): the mean update is taken as a negative gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pockettune import checks

__all__ = ["Aggregator", "ServerOptimizer", "Tensors", "weighted_mean"]

Tensors: TypeAlias = Mapping[str, NDArray[np.float32]]

_Sums: TypeAlias = tuple[dict[str, NDArray[np.float64]], float]

_KINDS = ("sgd", "momentum", "adam", "yogi")


@dataclass(frozen=True, slots=True)
class Aggregator:
    """Updates as one, streaming: memory does not grow with their number.

    ``add(accumulated, update, weight)`` takes None first; ``merge`` makes one of two accumulated
    values, which it leaves as they are; ``finish(accumulated)`` gives the one update. The order of
    the calls is part of the result's last bits.
    """

    add: Callable[[Any, Tensors, float], Any]
    merge: Callable[[Any, Any], Any]
    finish: Callable[[Any], Tensors]


def weighted_mean() -> Aggregator:
    """The mean weighted by ``weight``, summed in float64."""

    def add(accumulated: _Sums | None, update: Tensors, weight: float) -> _Sums:
        if accumulated is None:
            first = {name: value.astype(np.float64) * weight for name, value in update.items()}
            return first, weight
        sums, total = accumulated
        for name, value in update.items():
            sums[name] += value.astype(np.float64) * weight
        return sums, total + weight

    def merge(one: _Sums, other: _Sums) -> _Sums:
        return {name: value + other[0][name] for name, value in one[0].items()}, one[1] + other[1]

    def finish(accumulated: _Sums) -> Tensors:
        sums, total = accumulated
        return {name: (value / total).astype(np.float32) for name, value in sums.items()}

    return Aggregator(add, merge, finish)


@dataclass(frozen=True, slots=True)
class ServerOptimizer:
    """How the mean update changes the server's parameters.

    ``kind`` "sgd" adds ``learning_rate`` times it, so 1 is federated averaging; "momentum" keeps a
    running sum of factor ``beta1``; "adam" and "yogi" divide by ``sqrt(v) + tau``, as the paper,
    without bias correction. Raises ConfigInvalid for a value out of range.
    """

    kind: str = "sgd"
    learning_rate: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        checks.choice("server_optimizer", self.kind, _KINDS)
        for name in ("learning_rate", "tau"):
            value = getattr(self, name)
            checks.number(f"server_{name}", value, "a number above 0", lambda x: x > 0)
        for name in ("beta1", "beta2"):
            value, valid = getattr(self, name), "a number from 0 to below 1"
            checks.number(f"server_{name}", value, valid, lambda x: 0.0 <= x < 1.0)

    def init(self, parameters: Tensors) -> dict[str, dict[str, NDArray[np.float32]]]:
        """The moments before the first round: zeros, and ``tau^2`` for the second ones."""
        moments: dict[str, dict[str, NDArray[np.float32]]] = {}
        if self.kind != "sgd":
            moments["moment1"] = {key: np.zeros_like(value) for key, value in parameters.items()}
        if self.kind in ("adam", "yogi"):
            start = np.float32(self.tau**2)
            moments["moment2"] = {
                key: np.full_like(value, start) for key, value in parameters.items()
            }
        return moments

    def apply(
        self,
        parameters: Tensors,
        moments: Mapping[str, Tensors],
        update: Tensors,
    ) -> tuple[Tensors, dict[str, dict[str, NDArray[np.float32]]]]:
        """New parameters and moments; nothing given is changed."""
        rate, beta1, beta2 = (np.float32(x) for x in (self.learning_rate, self.beta1, self.beta2))
        one = np.float32(1.0)
        new: dict[str, NDArray[np.float32]] = {}
        kept: dict[str, dict[str, NDArray[np.float32]]] = {name: {} for name in moments}
        for name, value in parameters.items():
            change = update[name]
            if self.kind == "momentum":
                change = kept["moment1"][name] = beta1 * moments["moment1"][name] + change
            elif self.kind in ("adam", "yogi"):
                square = change * change
                second: NDArray[Any] = moments["moment2"][name]
                first = beta1 * moments["moment1"][name] + (one - beta1) * change
                if self.kind == "adam":
                    second = beta2 * second + (one - beta2) * square
                else:
                    gap = np.sign(second - square)
                    second = second - (one - beta2) * square * gap
                kept["moment1"][name], kept["moment2"][name] = first, second
                change = first / (np.sqrt(second) + np.float32(self.tau))
            new[name] = value + rate * change
        return new, kept
