"""Rounds: their exact limits, who is left out, and that nothing but the seed decides."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pockettune.aggregate import ServerOptimizer
from pockettune.codecs import Parts
from pockettune.data.dataset import Split
from pockettune.errors import (
    ConfigInvalid,
    RoundFailed,
    TensorMismatch,
    UpdateInvalid,
    UpdateMismatch,
)
from pockettune.federation import Federation, bind
from pockettune.local import Identity, LocalTraining, batch_plan
from pockettune.method import compose
from pockettune.models.classifier import keep, load_classifier
from pockettune.pack import unpack
from pockettune.round import (
    ServerState,
    aggregate,
    cohort,
    fold,
    groups,
    initial_state,
    run_round,
    train_client,
)
from pockettune.update import read_update, write_update

MODEL = load_classifier("har-conv", (3, 8), 4)
LOCAL = LocalTraining(batch_size=8, learning_rate=0.1)


def split_of(examples: int, seed: int = 0) -> Split:
    random = np.random.default_rng(seed)
    return Split(
        inputs=random.normal(size=(examples, 3, 8)).astype(np.float32),
        labels=random.integers(0, 4, examples),
        users=np.full(examples, -1, np.int64),
    )


def clients(number: int) -> Split:
    return split_of(10 + 5 * number, seed=number)


def federation_of(
    local: LocalTraining = LOCAL, server: ServerOptimizer | None = None, **options: object
) -> Federation:
    return bind(compose("fedavg", {}), MODEL, local, server or ServerOptimizer(), **options)


def test_one_client_and_one_epoch_is_central_sgd() -> None:
    """Federated averaging's exact limit, against PyTorch's own optimizer on the same batches."""
    federation, data = federation_of(), split_of(30)
    start = initial_state(federation)
    end, _ = run_round(federation, start, [0], lambda _: data)
    module = type(MODEL.module)(3, 4)
    module.load_state_dict(unpack(MODEL.views, torch.tensor(start.parameters)))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for rows in batch_plan(30, LOCAL, Identity(federation.seed, 0, 0)):
        chosen = rows[rows >= 0]
        optimizer.zero_grad()
        logits = module(torch.from_numpy(data.inputs[chosen]), keep)
        F.cross_entropy(logits, torch.from_numpy(data.labels[chosen])).backward()
        optimizer.step()
    central = torch.cat([value.detach().reshape(-1) for value in module.parameters()])
    np.testing.assert_allclose(end.parameters, central.numpy(), rtol=1e-5, atol=1e-6)


def test_a_round_is_the_mean_of_its_clients_weighted_by_examples() -> None:
    federation = federation_of()
    start = initial_state(federation)
    end, report = run_round(federation, start, [0, 1, 2], clients)
    alone = [run_round(federation, start, [client], clients)[0] for client in range(3)]
    expected = np.average([state.parameters for state in alone], axis=0, weights=[10, 15, 20])
    np.testing.assert_allclose(end.parameters, expected, rtol=1e-5, atol=1e-7)
    assert (report.clients, report.examples, end.round) == (3, 45, 1)
    assert not report.excluded


def test_bytes_are_those_of_the_files() -> None:
    federation = federation_of(codec="affine:4")
    state = initial_state(federation)
    results = [train_client(federation, state, client, clients(client)) for client in (0, 1)]
    _, report = aggregate(federation, state, [fold(federation, state, results)])
    assert report.bytes_up == sum(len(result.update or b"") for result in results)
    assert report.bytes_up < 2 * MODEL.size  # half a byte each, and headers
    assert report.bytes_down == 2 * 4 * MODEL.size


@pytest.mark.parametrize("size", [1, 10, 50, 10_000])
def test_groups_hold_the_cohort_in_its_order(size: int) -> None:
    chosen = list(range(0, 2 * size, 2))
    pieces = groups(chosen)
    assert [client for piece in pieces for client in piece] == chosen
    assert len({len(piece) for piece in pieces[:-1]}) <= 1
    assert all(0 < len(piece) <= 8 for piece in pieces)


def test_merged_parts_are_the_mean_over_all() -> None:
    federation = federation_of()
    start = initial_state(federation)
    results = [train_client(federation, start, client, clients(client)) for client in range(5)]
    together, one = aggregate(federation, start, [fold(federation, start, results)])
    parts = [fold(federation, start, some) for some in (results[:2], [], results[2:])]
    apart, other = aggregate(federation, start, parts)
    assert one == other
    np.testing.assert_allclose(apart.parameters, together.parameters, rtol=1e-6, atol=1e-8)


def test_the_seed_decides_everything() -> None:
    def after_two(seed: int) -> np.ndarray:
        federation = federation_of(seed=seed)
        state = initial_state(federation)
        for _ in range(2):
            chosen = cohort(seed, state.round, 5, 2)
            state, _ = run_round(federation, state, chosen, clients)
        return state.parameters

    assert np.array_equal(after_two(1), after_two(1))
    assert not np.array_equal(after_two(1), after_two(2))


def test_a_cohort_has_different_clients_each_round() -> None:
    rounds = [cohort(0, number, 50, 10) for number in range(40)]
    assert all(len(set(chosen)) == 10 and max(chosen) < 50 for chosen in rounds)
    assert set().union(*rounds) == set(range(50))
    assert cohort(0, 3, 50, 10) == rounds[3] != cohort(1, 3, 50, 10)


def test_a_diverged_client_is_left_out_and_counted() -> None:
    federation = federation_of()
    start = initial_state(federation)
    poisoned = split_of(10)
    poisoned.inputs[3, 0, 0] = np.inf
    data = {0: clients(0), 1: poisoned, 2: split_of(0)}
    end, report = run_round(federation, start, [0, 1, 2], data.__getitem__)
    alone, _ = run_round(federation, start, [0], clients)
    assert report.excluded == {"diverged": 1, "empty": 1}
    assert np.array_equal(end.parameters, alone.parameters)


def test_a_client_beyond_its_codec_is_left_out_and_counted() -> None:
    """float16 ends at 65,504; nobody else's round ends there."""
    federation = federation_of(LocalTraining(steps=1, learning_rate=0.1), codec="dense:f16")
    start = initial_state(federation)
    wild = split_of(10)
    wild.inputs[:] *= 1e12
    data = {0: clients(0), 1: wild}
    end, report = run_round(federation, start, [0, 1], data.__getitem__)
    alone, _ = run_round(federation, start, [0], data.__getitem__)
    assert math.isfinite(train_client(federation, start, 1, wild).loss)
    assert report.excluded == {"diverged": 1}
    assert np.array_equal(end.parameters, alone.parameters)


@pytest.mark.parametrize("fault", [ValueError("no"), UpdateInvalid("tensor a", "no")])
def test_a_fault_in_a_codec_is_not_taken_for_a_diverged_client(fault: Exception) -> None:
    federation = federation_of()

    def encode(values: np.ndarray, words: object) -> Parts:
        raise fault

    broken = dataclasses.replace(
        federation, codec=dataclasses.replace(federation.codec, encode=encode)
    )
    with pytest.raises(type(fault)) as caught:
        run_round(broken, initial_state(broken), [0], clients)
    assert caught.value is fault


def test_a_round_without_any_client_left_says_so() -> None:
    federation = federation_of()
    with pytest.raises(RoundFailed, match="empty: 2"):
        run_round(federation, initial_state(federation), [0, 1], lambda _: split_of(0))


def test_an_update_of_another_round_is_refused() -> None:
    federation = federation_of()
    state = initial_state(federation)
    result = train_client(federation, state, 0, clients(0))
    later = dataclasses.replace(state, round=4)
    with pytest.raises(UpdateMismatch):
        fold(federation, later, [result])


def renamed(tensors: dict[str, np.ndarray]) -> None:
    tensors["head.scale"] = tensors.pop("head.bias")


OTHER_TENSORS: dict[str, tuple[Callable[[dict[str, np.ndarray]], object], str]] = {
    "missing": (lambda t: t.pop("head.bias"), r"'head.bias' is missing, not float32 \[4\]"),
    "renamed": (renamed, r"'head.bias' is missing, not float32 \[4\]"),
    "more": (
        lambda t: t.update(extra=np.ones(3, np.float32)),
        r"'extra' is float32 \[3\], not one of the model's",
    ),
    # Both would be broadcast to the model's shape by NumPy.
    "scalar": (
        lambda t: t.update({"head.bias": np.ones((), np.float32)}),
        r"'head.bias' is float32 \[\], not float32 \[4\]",
    ),
    "row": (
        lambda t: t.update({"head.bias": np.ones((1, 4), np.float32)}),
        r"'head.bias' is float32 \[1, 4\], not float32 \[4\]",
    ),
}


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("case", OTHER_TENSORS)
def test_an_update_of_other_tensors_is_refused(case: str, position: int) -> None:
    federation = federation_of()
    state = initial_state(federation)
    results = [train_client(federation, state, client, clients(client)) for client in range(2)]
    update = read_update(results[position].update or b"")
    change, sentence = OTHER_TENSORS[case]
    tensors = dict(update.tensors)
    change(tensors)
    wrong = write_update(dataclasses.replace(update, tensors=tensors), federation.codec, 0, 0)
    results[position] = dataclasses.replace(results[position], update=wrong)
    with pytest.raises(TensorMismatch, match=sentence):
        fold(federation, state, results)


def test_an_update_without_a_loss_is_refused() -> None:
    federation = federation_of()
    state = initial_state(federation)
    result = train_client(federation, state, 0, clients(0))
    update = dataclasses.replace(read_update(result.update or b""), metrics={"accuracy": 1.0})
    mute = dataclasses.replace(result, update=write_update(update, federation.codec, 0, 0))
    with pytest.raises(UpdateInvalid, match="metrics: it has no loss"):
        fold(federation, state, [mute])


def test_tensors_in_another_order_are_the_same_update() -> None:
    federation = federation_of()
    state = initial_state(federation)
    result = train_client(federation, state, 0, clients(0))
    update = read_update(result.update or b"")
    backwards = dataclasses.replace(update, tensors=dict(reversed(update.tensors.items())))
    other = dataclasses.replace(result, update=write_update(backwards, federation.codec, 0, 0))
    ends = [
        aggregate(federation, state, [fold(federation, state, [r])])[0] for r in (result, other)
    ]
    assert np.array_equal(ends[0].parameters, ends[1].parameters)


def test_a_client_of_one_class_trains() -> None:
    federation, data = federation_of(), split_of(10)
    data.labels[:] = 2
    result = train_client(federation, initial_state(federation), 0, data)
    assert result.update is not None
    assert np.isfinite(result.loss)


@pytest.mark.parametrize("kind", ["momentum", "adam", "yogi"])
def test_server_optimizers_keep_their_moments(kind: str) -> None:
    federation = federation_of(server=ServerOptimizer(kind, learning_rate=0.1))
    state = initial_state(federation)
    first, _ = run_round(federation, state, [0], clients)
    forgetful = ServerState(1, first.parameters, state.moments)
    second, _ = run_round(federation, first, [1], clients)
    without, _ = run_round(federation, forgetful, [1], clients)
    assert not np.array_equal(second.parameters, without.parameters)


@pytest.mark.parametrize(("kind", "rate"), [("sgd", 1e38), ("sgd", 1e308), ("adam", 1e38)])
def test_a_server_that_leaves_float32_is_told_and_the_state_kept(kind: str, rate: float) -> None:
    federation = federation_of(server=ServerOptimizer(kind, learning_rate=rate, beta1=0.0))
    state = initial_state(federation)
    before = state.parameters.copy()
    enormous = split_of(20)
    enormous.inputs[:] *= 1e4
    with pytest.raises(ConfigInvalid, match=r"'server_learning_rate' cannot be .* less: round 0"):
        run_round(federation, state, [0], lambda _: enormous)
    assert np.array_equal(state.parameters, before)


def test_a_method_that_changes_nothing_of_a_round_is_refused() -> None:
    """It would be federated averaging under its name."""
    with pytest.raises(ConfigInvalid, match="'hollowed_net'; valid: those of fleets"):
        bind(compose("hollowed_net", {}), MODEL, LOCAL, ServerOptimizer())


def test_the_proximal_term_holds_clients_back() -> None:
    def distance(proximal: float) -> float:
        federation = federation_of(dataclasses.replace(LOCAL, epochs=4, proximal=proximal))
        start = initial_state(federation)
        end, _ = run_round(federation, start, [2], clients)
        return float(np.linalg.norm(end.parameters - start.parameters))

    assert distance(2.0) < 0.8 * distance(0.0)


@pytest.mark.parametrize("codec", ["zip", ""])
def test_a_codec_beside_an_encoding_method_or_unknown_is_refused(codec: str) -> None:
    with pytest.raises(ConfigInvalid, match="codec"):
        federation_of(codec=codec)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "1", True])
def test_a_seed_out_of_range_is_refused(seed: object) -> None:
    with pytest.raises(ConfigInvalid, match="'seed' cannot be"):
        federation_of(seed=seed)
