"""Who has which examples: natural users, or clients made with a known kind of skew.

A partition is index arrays into the training split, so ten thousand clients cost no more memory
than one. Draws are counter-based (``spec/random.md``, streams 32 to 35): same seed, same partition.

- ``natural``: the set's own users.
- ``iid``: even shares at random.
- ``dirichlet:ALPHA``: label skew (T.-M. H. Hsu et al., arXiv 1909.06335): each class is shared out
  in proportions drawn from a Dirichlet distribution; small ALPHA, few classes a client.
- ``quantity:ALPHA``: shares of very different sizes, labels at random.
- ``rotation:DEGREES``: even shares; each client's pictures are turned by an angle of its own, up to
  DEGREES either way (covariate shift).
- ``joint:ALPHA:DEGREES``: label skew and rotation.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pockettune import random
from pockettune.data.dataset import FederatedDataset, Split
from pockettune.data.rotation import rotated
from pockettune.errors import ConfigInvalid, PartitionImpossible

__all__ = ["Partition", "partition", "skew_of"]

_Indices = NDArray[np.int64]

_ORDER, _PROPORTIONS, _SIZES, _ANGLES = 32, 33, 34, 35
_FORMS = (
    "natural",
    "iid",
    "dirichlet:ALPHA",
    "quantity:ALPHA",
    "rotation:DEGREES",
    "joint:ALPHA:DEGREES",
)


@dataclass(frozen=True, slots=True)
class Partition:
    """Clients over a training split. ``shares`` are their example numbers, ``degrees`` their
    rotations (None: none); ``skew`` says in figures how unlike they are (``skew_of``)."""

    train: Split
    shares: Sequence[_Indices]
    degrees: Sequence[float] | None
    skew: Mapping[str, float]

    def split(self, client: int) -> Split:
        """A client's own examples, copied, and turned where clients are."""
        own = self.train.take(self.shares[client])
        if self.degrees is None:
            return own
        return Split(rotated(own.inputs, self.degrees[client]), own.labels, own.users)


def partition(text: str, dataset: FederatedDataset, clients: int, seed: int) -> Partition:
    """The partition that ``text`` names, for that many clients.

    Raises ConfigInvalid for an unknown form, and PartitionImpossible when the data cannot be shared
    out so: more clients than examples or natural users, or rotation of what is no picture.
    """
    kind, *numbers = text.split(":")
    values = [_number(text, number) for number in numbers]
    train = dataset.train
    if clients < 1 or len(train) < clients:
        raise PartitionImpossible(text, clients, f"the set has {len(train)} examples")
    labels = train.labels
    if kind in ("dirichlet", "joint") and labels.ndim != 1:
        raise PartitionImpossible(text, clients, "its examples have no one label each")
    degrees: list[float] | None = None
    match kind, values:
        case "natural", []:
            shares = _natural(text, train, clients)
        case "iid", []:
            shares = _even(len(train), clients, seed)
        case "dirichlet", [alpha]:
            shares = _dirichlet(labels, clients, alpha, seed)
        case "quantity", [alpha]:
            shares = _quantity(len(train), clients, alpha, seed)
        case "rotation", [bound]:
            shares, degrees = _even(len(train), clients, seed), _angles(clients, bound, seed)
        case "joint", [alpha, bound]:
            shares = _dirichlet(labels, clients, alpha, seed)
            degrees = _angles(clients, bound, seed)
        case _:
            raise ConfigInvalid("partition", text, _FORMS)
    if degrees is not None and train.inputs.ndim != 4:
        raise PartitionImpossible(text, clients, "its inputs are no pictures to turn")
    return Partition(train, shares, degrees, skew_of(labels, dataset.classes, shares, degrees))


def skew_of(
    labels: _Indices,
    classes: int,
    shares: Sequence[_Indices],
    degrees: Sequence[float] | None = None,
) -> dict[str, float]:
    """Figures of skew; ``labels`` is ``[n]``, or for text ``[n, T]``, where each counts:
    ``label_skew``, the mean over clients, weighted by examples, of the total
    variation distance (0 to 1) between a client's labels and all labels; ``size_skew``, the Gini
    coefficient of the clients' sizes (0 to 1); ``rotation``, the mean size of an angle in degrees.
    """
    counts = np.stack(
        [np.bincount(labels[share].reshape(-1), minlength=classes) for share in shares]
    )
    sizes = counts.sum(axis=1)
    overall = counts.sum(axis=0) / sizes.sum()
    distances = 0.5 * np.abs(counts / np.maximum(sizes, 1)[:, None] - overall).sum(axis=1)
    ordered = np.sort(sizes).astype(np.float64)
    ranks = np.arange(1, len(ordered) + 1)
    gini = ((2 * ranks - len(ordered) - 1) * ordered).sum() / (len(ordered) * ordered.sum())
    figures = {
        "label_skew": float(np.average(distances, weights=sizes)),
        "size_skew": float(gini),
    }
    if degrees is not None:
        figures["rotation"] = float(np.abs(degrees).mean())
    return figures


def _number(text: str, number: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0.0 < value < 1e9:
        raise ConfigInvalid("partition", text, [*_FORMS, "with numbers above 0"])
    return value


def _natural(text: str, train: Split, clients: int) -> list[_Indices]:
    users = np.unique(train.users)
    if users[0] < 0:
        raise PartitionImpossible(text, clients, "its examples have no natural users")
    if clients != len(users):
        raise PartitionImpossible(text, clients, f"it has {len(users)} natural users")
    return [np.flatnonzero(train.users == user) for user in users]


def _even(examples: int, clients: int, seed: int) -> list[_Indices]:
    order = random.permutation(seed, _ORDER, 0, examples)
    return [np.sort(share) for share in np.array_split(order, clients)]


def _dirichlet(labels: _Indices, clients: int, alpha: float, seed: int) -> list[_Indices]:
    owner = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[random.permutation(seed, _ORDER, int(label), len(members))]
        bounds = _proportions(seed, _PROPORTIONS, int(label), clients, alpha).cumsum()
        place = (np.arange(len(members)) + 0.5) / len(members)
        owner[members] = np.searchsorted(bounds, place).clip(max=clients - 1)
    return _none_empty(owner, clients)


def _quantity(examples: int, clients: int, alpha: float, seed: int) -> list[_Indices]:
    order = random.permutation(seed, _ORDER, 0, examples)
    bounds = _proportions(seed, _SIZES, 0, clients, alpha).cumsum()
    owner = np.empty(examples, np.int64)
    place = (np.arange(examples) + 0.5) / examples
    owner[order] = np.searchsorted(bounds, place).clip(max=clients - 1)
    return _none_empty(owner, clients)


def _none_empty(owner: _Indices, clients: int) -> list[_Indices]:
    """The shares by owner; an empty one is given the first example of the largest, of equal ones
    the first client's."""
    order = np.argsort(owner, kind="stable")
    shares = np.split(order, np.searchsorted(owner[order], np.arange(1, clients)))
    by_size = [(-len(share), client) for client, share in enumerate(shares)]
    heapq.heapify(by_size)
    for client in range(clients):
        if len(shares[client]) == 0:
            size, largest = by_size[0]
            shares[client], shares[largest] = shares[largest][:1], shares[largest][1:]
            heapq.heapreplace(by_size, (size + 1, largest))
    return shares


def _angles(clients: int, bound: float, seed: int) -> list[float]:
    unit = random.uniform(seed, _ANGLES, 0, (clients,)).astype(np.float64)
    return [float(value) for value in (2.0 * unit - 1.0) * bound]


def _proportions(
    seed: int, stream: int, index: int, count: int, alpha: float
) -> NDArray[np.float64]:
    """A draw of a symmetric Dirichlet distribution, ``[count]``: normalized gamma variables.

    Logarithms keep small alphas from underflowing: with ``G`` of shape alpha + 1 and U uniform, ``G
    U^(1 / alpha)`` is of shape alpha.
    """
    gamma = _gamma(lambda draw: (seed, stream, index * 64 + draw), count, alpha + 1.0)
    unit = random.uniform(seed, stream, index * 64 + 63, (count,)).astype(np.float64)
    logarithm = np.log(gamma) + np.log(unit) / alpha
    weights = np.exp(logarithm - logarithm.max())
    normalized: NDArray[np.float64] = weights / weights.sum()
    return normalized


def _gamma(
    place: Callable[[int], tuple[int, int, int]], count: int, shape: float
) -> NDArray[np.float64]:
    """Gamma variables of ``shape`` >= 1 by rejection: G. Marsaglia, W. W. Tsang, "A simple method
    for generating gamma variables", ACM TOMS 26(3), 2000. ``place(i)`` names the i-th draw."""
    d = shape - 1.0 / 3.0
    c = 1.0 / np.sqrt(9.0 * d)
    result = np.zeros(count)
    missing = np.ones(count, bool)
    # 95 % are accepted at once, so 31 pairs of draws leave out 1 of 10^40; the mode stands for it.
    for attempt in range(31):
        normal = random.normal(*place(2 * attempt), (count,)).astype(np.float64)
        unit = random.uniform(*place(2 * attempt + 1), (count,)).astype(np.float64)
        cube = (1.0 + c * normal) ** 3
        with np.errstate(invalid="ignore", divide="ignore"):
            bound = 0.5 * normal**2 + d - d * cube + d * np.log(cube)
            accepted = missing & (cube > 0) & (np.log(unit) < bound)
        result[accepted] = d * cube[accepted]
        missing &= ~accepted
        if not missing.any():
            break
    result[missing] = d
    return result
