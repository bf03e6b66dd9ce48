"""One round of federated learning as functions: state in, state out.

``cohort`` chooses who trains, ``train_client`` is all that happens on a client, ``fold`` decodes
encoded updates into one value, one at a time, ``aggregate`` makes the next state of that;
``run_round`` is all in a row. A cohort is folded in ``groups``, and who does that, and where, is up
to the caller, so that the same round runs, to the last bit, in one process or in many. Everything
is a function of the federation, its seed and the round's number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pockettune import random
from pockettune.aggregate import Tensors
from pockettune.data.dataset import Split
from pockettune.errors import (
    ConfigInvalid,
    RoundFailed,
    TensorMismatch,
    UpdateInvalid,
    UpdateOutOfRange,
)
from pockettune.federation import Federation
from pockettune.local import Identity, train
from pockettune.method import View
from pockettune.update import Update, read_update, write_update

__all__ = [
    "ClientResult",
    "Folded",
    "RoundReport",
    "ServerState",
    "aggregate",
    "cohort",
    "fold",
    "groups",
    "initial_state",
    "one_by_one",
    "run_round",
    "train_client",
    "train_group",
]

_COHORT_STREAM = 50
# Enough groups that no worker waits long for another's last one; groups as large as pays.
_LEAST_GROUPS, _LARGEST_GROUP = 16, 8

Clients: TypeAlias = Callable[[int], Split]
Runner: TypeAlias = Callable[
    [Federation, "ServerState", Sequence[int], Clients], Iterable["Folded"]
]


@dataclass(frozen=True, slots=True)
class ServerState:
    """What the server knows between rounds: ``round`` counts those that are done, ``parameters``
    is a float32 pack ``[size]``, ``moments`` are the server optimizer's packs by name."""

    round: int
    parameters: NDArray[np.float32]
    moments: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class ClientResult:
    """What comes back from a client: the bytes of its update, or why there is none ("empty": it has
    no examples; "diverged": its loss or parameters are not finite, or beyond the codec)."""

    client: int
    update: bytes | None
    excluded: str | None
    examples: int
    loss: float
    """Mean over the client's steps, in nats."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What some clients of a round come to. ``accumulated`` is the aggregator's, None when no
    client took part; ``loss`` is the sum weighted by examples; ``excluded`` counts by reason."""

    accumulated: Any
    clients: int
    excluded: Mapping[str, int]
    examples: int
    loss: float
    bytes_up: int


@dataclass(frozen=True, slots=True)
class RoundReport:
    """What a round did. ``loss`` is the mean over the clients that took part, weighted by examples;
    ``excluded`` counts the others by reason; bytes are those of the files that travel."""

    round: int
    clients: int
    excluded: Mapping[str, int]
    examples: int
    loss: float
    bytes_up: int
    bytes_down: int


def initial_state(federation: Federation) -> ServerState:
    """The state before the first round."""
    parameters = federation.initial()
    moments = federation.server.init({"": parameters})
    return ServerState(0, parameters, {name: packs[""] for name, packs in moments.items()})


def cohort(seed: int, round_number: int, clients: int, size: int) -> list[int]:
    """The numbers of the clients of a round, ``size`` different ones of ``clients``, sorted."""
    order = random.permutation(seed, _COHORT_STREAM, round_number, clients)
    return sorted(int(client) for client in order[:size])


def train_client(
    federation: Federation, state: ServerState, client: int, data: Split
) -> ClientResult:
    """All that happens on one client in one round: local steps, difference, encoding."""
    examples = len(data.labels)
    if examples == 0:
        return ClientResult(client, None, "empty", 0, math.nan)
    identity = Identity(federation.seed, state.round, client)
    parameters, losses = train(
        federation.step,
        federation.objective.draws,
        federation.local,
        state.parameters,
        data,
        identity,
    )
    loss = float(np.mean(losses))
    if not (math.isfinite(loss) and np.isfinite(parameters).all()):
        return ClientResult(client, None, "diverged", examples, loss)
    with np.errstate(over="ignore"):  # the codec refuses what is not finite
        change = _by_name(federation.model.views, parameters - state.parameters)
    update = Update(
        method=federation.composition.name,
        bundle_id=federation.digest,
        round=state.round,
        samples=examples,
        metrics={"loss": loss},
        tensors=change,
    )
    try:
        encoded = write_update(update, federation.codec, federation.seed, identity.index("step"))
    except UpdateOutOfRange:
        return ClientResult(client, None, "diverged", examples, loss)
    return ClientResult(client, encoded, None, examples, loss)


def fold(federation: Federation, state: ServerState, results: Iterable[ClientResult]) -> Folded:
    """The clients' results, decoded and accumulated one at a time in the order given.

    Raises what ``read_update`` raises, TensorMismatch for other tensors than the model's, and
    UpdateInvalid for an update that does not tell its loss.
    """
    accumulated = None
    excluded: Counter[str] = Counter()
    clients = examples = bytes_up = 0
    loss = 0.0
    for result in results:
        if result.update is None:
            excluded[str(result.excluded)] += 1
            continue
        update = read_update(result.update, bundle_id=federation.digest, round=state.round)
        _check_tensors(federation.model.views, update.tensors)
        if "loss" not in update.metrics:
            raise UpdateInvalid("metrics", "it has no loss")
        accumulated = federation.aggregator.add(accumulated, update.tensors, update.samples)
        clients += 1
        examples += update.samples
        bytes_up += len(result.update)
        loss += update.metrics["loss"] * update.samples
    return Folded(accumulated, clients, excluded, examples, loss, bytes_up)


def aggregate(
    federation: Federation, state: ServerState, parts: Iterable[Folded]
) -> tuple[ServerState, RoundReport]:
    """The next state from parts of a cohort, merged in the order given.

    Raises RoundFailed when no client is left, and ConfigInvalid for a server whose rate takes the
    parameters beyond float32: the state that was given is the last good one.
    """
    accumulated = None
    excluded: Counter[str] = Counter()
    clients = examples = bytes_up = 0
    loss = 0.0
    for part in parts:
        if accumulated is None:
            accumulated = part.accumulated
        elif part.accumulated is not None:
            accumulated = federation.aggregator.merge(accumulated, part.accumulated)
        excluded.update(part.excluded)
        clients += part.clients
        examples += part.examples
        bytes_up += part.bytes_up
        loss += part.loss
    if accumulated is None:
        raise RoundFailed(state.round, dict(excluded))
    with np.errstate(over="ignore", invalid="ignore"):  # told below
        change = _as_pack(federation.model.views, federation.aggregator.finish(accumulated))
        parameters, moments = federation.server.apply(
            {"": state.parameters},
            {name: {"": pack} for name, pack in state.moments.items()},
            {"": change},
        )
    new = ServerState(
        state.round + 1,
        parameters[""],
        {name: packs[""] for name, packs in moments.items()},
    )
    if not all(np.isfinite(pack).all() for pack in (new.parameters, *new.moments.values())):
        valid = f"less: round {state.round} would leave parameters that are not finite"
        raise ConfigInvalid("server_learning_rate", federation.server.learning_rate, valid)
    asked = clients + sum(excluded.values())
    report = RoundReport(
        round=state.round,
        clients=clients,
        excluded=dict(excluded),
        examples=examples,
        loss=loss / examples,
        bytes_up=bytes_up,
        bytes_down=asked * state.parameters.nbytes,
    )
    return new, report


def groups(chosen: Sequence[int]) -> list[Sequence[int]]:
    """The cohort in the pieces that are folded each by itself: a function of its size alone, so
    that sums have the same order wherever they are made."""
    size = max(1, min(_LARGEST_GROUP, len(chosen) // _LEAST_GROUPS))
    return [chosen[start : start + size] for start in range(0, len(chosen), size)]


def train_group(
    federation: Federation, state: ServerState, group: Sequence[int], clients: Clients
) -> Folded:
    """A group's clients, one after the other, folded."""
    results = (
        train_client(federation, state, client, federation.client_data(clients(client), client))
        for client in group
    )
    return fold(federation, state, results)


def one_by_one(
    federation: Federation, state: ServerState, chosen: Sequence[int], clients: Clients
) -> Iterator[Folded]:
    """The runner that needs nothing: one client after the other, in this process."""
    for group in groups(chosen):
        yield train_group(federation, state, group, clients)


def run_round(
    federation: Federation,
    state: ServerState,
    chosen: Sequence[int],
    clients: Clients,
    runner: Runner = one_by_one,
) -> tuple[ServerState, RoundReport]:
    """A round with the clients ``chosen``, whose data ``clients`` gives by number."""
    return aggregate(federation, state, runner(federation, state, chosen, clients))


def _check_tensors(views: Sequence[View], tensors: Tensors) -> None:
    """Raises TensorMismatch unless the tensors are the model's, by name and shape."""
    wanted = {view.name: view.shape for view in views}
    for name in (*wanted, *tensors):
        found, expected = tensors.get(name), wanted.get(name)
        if found is None or found.shape != expected:
            raise TensorMismatch(
                name,
                "missing" if found is None else f"float32 {list(found.shape)}",
                "one of the model's" if expected is None else f"float32 {list(expected)}",
            )


def _by_name(views: Sequence[View], pack: NDArray[np.float32]) -> Tensors:
    return {
        view.name: pack[view.offset : view.offset + math.prod(view.shape)].reshape(view.shape)
        for view in views
    }


def _as_pack(views: Sequence[View], tensors: Tensors) -> NDArray[np.float32]:
    return np.concatenate([tensors[view.name].reshape(-1) for view in views])
