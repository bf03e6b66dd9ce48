"""What a data set is: arrays, and whose each example is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FederatedDataset", "Split"]


@dataclass(frozen=True, slots=True)
class Split:
    """Examples: ``inputs`` float32 ``[n, *input_shape]`` or, for text, int64 ``[n, T]``; ``labels``
    int64 ``[n]`` or ``[n, T]``; ``users`` int64 ``[n]``, the natural user of each, -1 without."""

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    users: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Split:
        """These examples, copied."""
        return Split(self.inputs[indices], self.labels[indices], self.users[indices])


@dataclass(frozen=True, slots=True)
class FederatedDataset:
    """A set for learning together. ``task`` is "classification" or "next_token"; ``classes`` counts
    the labels' values; ``user`` says what a natural user is, "" where there is none."""

    name: str
    task: str
    train: Split
    test: Split
    classes: int
    source: str
    license: str
    user: str = ""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example's input."""
        return tuple(self.train.inputs.shape[1:])
