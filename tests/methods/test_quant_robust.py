"""Quantization-robust federated averaging: its limits, and that each variant does its own thing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from pockettune.aggregate import ServerOptimizer
from pockettune.data.dataset import Split
from pockettune.errors import ConfigInvalid
from pockettune.evaluation import quantized_parameters
from pockettune.federation import bind
from pockettune.local import Identity, LocalTraining, draw, hyper_values, local_step
from pockettune.method import compose
from pockettune.methods.quant_robust import Config, client_loss
from pockettune.models.classifier import load_classifier
from pockettune.nn.losses import cross_entropy
from pockettune.pack import unpack
from pockettune.round import initial_state, run_round

MODEL = load_classifier("lenet", (1, 8, 8), 4)
LOCAL = LocalTraining(batch_size=8, learning_rate=0.1)
VARIANTS = ("kure", "apqn", "qat", "mqat")


def split_of(examples: int) -> Split:
    random = np.random.default_rng(0)
    return Split(
        inputs=random.normal(size=(examples, 1, 8, 8)).astype(np.float32),
        labels=random.integers(0, 4, examples),
        users=np.full(examples, -1, np.int64),
    )


def after_a_round(method: str, **settings: Any) -> np.ndarray:
    federation = bind(compose(method, settings), MODEL, LOCAL, ServerOptimizer())
    state, _ = run_round(federation, initial_state(federation), [0, 1], lambda _: split_of(20))
    return state.parameters


@pytest.mark.parametrize("variant", VARIANTS)
def test_strength_zero_is_federated_averaging_bit_for_bit(variant: str) -> None:
    plain = after_a_round("fedavg")
    settings = {"variant": variant, "activations": True}
    assert np.array_equal(after_a_round("quant_robust", **settings, strength=0.0), plain)
    assert not np.array_equal(after_a_round("quant_robust", **settings, strength=1.0), plain)


def test_mqat_of_full_width_alone_is_federated_averaging_bit_for_bit() -> None:
    """The same graph as with more widths: the pass-through itself is exact."""
    plain = after_a_round("fedavg")
    both = after_a_round("quant_robust", widths=[32, 32])
    assert np.array_equal(both, plain)


def parts(variant: str, **settings: Any) -> tuple[Any, Config, tuple[torch.Tensor, ...]]:
    config = Config(variant=variant, **settings)
    data = split_of(6)
    batch = (torch.from_numpy(data.inputs), torch.from_numpy(data.labels), torch.ones(6))
    return client_loss(MODEL, config), config, batch


def loss_of(objective: Any, batch: tuple[torch.Tensor, ...], who: Identity) -> float:
    named = unpack(MODEL.views, MODEL.initial(0))
    drawn = [draw(spec, who, 0) for spec in objective.draws]
    return float(objective.loss(named, *batch, *drawn))


def plain_loss(tensors: dict[str, torch.Tensor], batch: tuple[torch.Tensor, ...]) -> float:
    return float(cross_entropy(MODEL.apply_named(tensors, batch[0]), batch[1]).mean())


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("first_last", ["same", "eight", "full"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_qat_is_the_loss_on_the_grid_that_is_evaluated(
    bits: int, first_last: str, per_channel: bool
) -> None:
    objective, _, batch = parts("qat", bits=bits, first_last=first_last, per_channel=per_channel)
    tensors = quantized_parameters(
        MODEL, MODEL.initial(0), bits, per_channel=per_channel, first_last=first_last
    )
    assert loss_of(objective, batch, Identity(0, 0, 0)) == pytest.approx(
        plain_loss(tensors, batch), abs=1e-6
    )


def test_mqat_is_the_loss_on_the_grid_that_was_drawn() -> None:
    objective, config, batch = parts("mqat", widths=(2, 4, 32))
    possible = [
        plain_loss(quantized_parameters(MODEL, MODEL.initial(0), bits), batch)
        for bits in config.widths
    ]
    seen = set()
    for client in range(30):
        who = Identity(0, 0, client)
        index = int(draw(objective.draws[0], who, 0))
        assert loss_of(objective, batch, who) == pytest.approx(possible[index], abs=1e-6)
        seen.add(index)
    assert seen == {0, 1, 2}


def a_step(**settings: Any) -> tuple[Any, list[torch.Tensor], tuple[torch.Tensor, ...]]:
    """A client's step, its batch, and what follows the draws."""
    objective, _, batch = parts(**settings)
    step = local_step(MODEL, objective, LOCAL.make_optimizer())
    hyper = [torch.tensor([value]) for value in hyper_values(LOCAL)]
    return step, [*batch], (*hyper, MODEL.initial(0), torch.zeros(1, dtype=torch.int64))


def test_one_captured_step_serves_all_widths() -> None:
    step, batch, rest = a_step(variant="mqat", widths=(2, 4, 32), activations=True)
    graph = make_fx(step)(*batch, torch.tensor([0]), *rest)
    after = []
    for index in range(3):
        inputs = (*batch, torch.tensor([index]), *rest)
        expected, found = step(*inputs), graph(*inputs)
        for one, other in zip(expected, found, strict=True):
            assert torch.equal(one, other)
        after.append(found[2])
    plain, batch, rest = a_step(variant="fedavg")
    assert torch.equal(after[2], plain(*batch, *rest)[2])  # 32 bits
    assert not torch.equal(after[0], after[1])


@pytest.mark.parametrize(
    ("granularity", "changes_with"),
    [("step", {"step", "round", "client"}), ("round", {"round"}), ("client", {"client"})],
)
def test_granularity_says_when_widths_are_drawn(granularity: str, changes_with: set[str]) -> None:
    objective, _, _ = parts("mqat", granularity=granularity)
    (spec,) = objective.draws

    def drawn(**other: int) -> list[int]:
        found = []
        for base in range(12):
            who = {"round": base, "client": base, "step": base} | other
            identity = Identity(0, who["round"], who["client"])
            found.append(int(draw(spec, identity, who["step"])))
        return found

    for scope in ("step", "round", "client"):
        fixed = {"step": 3, "round": 3, "client": 3}
        del fixed[scope]
        assert (len(set(drawn(**fixed))) > 1) == (scope in changes_with), scope


def test_apqn_moves_weights_by_half_a_bin_at_most_and_not_biases() -> None:
    """The loss of the noisy weights, made again from the same uniform numbers."""
    objective, _, batch = parts("apqn", bits=3, strength=0.5)
    who = Identity(5, 1, 2)
    (spec,) = objective.draws
    unit = draw(spec, who, 0)
    tensors, start = unpack(MODEL.views, MODEL.initial(0)), 0
    for name, value in tensors.items():
        if value.dim() > 1:
            bins = value.abs().max() / 3
            own = unit[start : start + value.numel()].reshape(value.shape)
            tensors[name] = value + 0.5 * bins * (own - 0.5)
            start += value.numel()
    assert start == unit.numel()
    assert loss_of(objective, batch, who) == pytest.approx(plain_loss(tensors, batch), abs=1e-6)


def test_kure_adds_the_squared_distance_from_uniform_kurtosis() -> None:
    objective, _, batch = parts("kure", strength=0.3)
    tensors = unpack(MODEL.views, MODEL.initial(0))
    distances = []
    for value in tensors.values():
        if value.dim() > 1:
            w = value.double().numpy().reshape(-1)
            distances.append((np.mean(((w - w.mean()) / w.std()) ** 4) - 1.8) ** 2)
    expected = plain_loss(tensors, batch) + 0.3 * np.mean(distances)
    assert loss_of(objective, batch, Identity(0, 0, 0)) == pytest.approx(expected, abs=1e-5)


def test_activations_on_a_grid_change_the_loss() -> None:
    weights_only, _, batch = parts("qat", bits=2)
    both, _, _ = parts("qat", bits=2, activations=True)
    who = Identity(0, 0, 0)
    assert loss_of(weights_only, batch, who) != loss_of(both, batch, who)


def test_examples_that_fill_up_a_batch_do_not_set_the_range_of_activations() -> None:
    objective, _, (inputs, labels, _) = parts("qat", bits=2, activations=True)
    who = Identity(0, 0, 0)
    inputs[4:] *= 100
    filled = (inputs, labels, torch.tensor([1.0, 1, 1, 1, 0, 0]))
    alone = (inputs[:4], labels[:4], torch.ones(4))
    assert loss_of(objective, filled, who) == pytest.approx(
        loss_of(objective, alone, who), abs=1e-6
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("variant", "ptq"),
        ("strength", 1.5),
        ("strength", -0.1),
        ("strength", "much"),
        ("bits", 32),
        ("widths", ()),
        ("widths", 4),
        ("widths", (4, 5, 16)),
        ("granularity", "epoch"),
        ("first_last", "none"),
        ("activations", 3),
    ],
)
def test_values_out_of_range_are_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigInvalid, match=f"'{key}' cannot be"):
        Config(**{key: value})
