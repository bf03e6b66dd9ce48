"""A client's steps against PyTorch's own optimizers on the same module."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pockettune.errors import ConfigInvalid
from pockettune.federation import cross_entropy_objective
from pockettune.local import Identity, LocalTraining, batch_plan, draw, hyper_values, local_step
from pockettune.models.classifier import Classifier, keep, load_classifier, names
from pockettune.pack import concatenate, unpack
from pockettune.program import TensorSpec

SHAPES: dict[str, tuple[tuple[int, ...], int]] = {
    "char-conv": ((12,), 20),
    "har-conv": ((6, 16), 7),
    "lenet": ((1, 8, 8), 10),
    "resnet-lite": ((1, 8, 8), 10),
}
WHO = Identity(seed=3, round=2, client=5)


def model_of(name: str) -> Classifier:
    return load_classifier(name, *SHAPES[name])


def batch_of(model: Classifier, examples: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    if len(model.input_shape) == 1:
        text = torch.randint(0, model.classes, (examples, *model.input_shape), generator=generator)
        return text, torch.roll(text, -1, dims=1)
    inputs = torch.randn((examples, *model.input_shape), generator=generator)
    return inputs, torch.randint(0, model.classes, (examples,), generator=generator)


def module_of(model: Classifier, parameters: Tensor) -> nn.Module:
    """An ordinary trainable module with these parameters."""
    module = copy.deepcopy(model.module).to_empty(device="cpu")
    tensors = {name: value.clone() for name, value in unpack(model.views, parameters).items()}
    module.load_state_dict(tensors)
    return module


def test_every_model_of_the_folder_is_tested() -> None:
    assert names() == sorted(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    ("training", "optimizer"),
    [
        (LocalTraining(learning_rate=0.1), {"lr": 0.1}),
        (
            LocalTraining(learning_rate=0.1, momentum=0.9, weight_decay=0.01),
            {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
        ),
    ],
)
def test_steps_are_those_of_torchs_sgd(
    name: str, training: LocalTraining, optimizer: dict[str, float]
) -> None:
    model = model_of(name)
    start = model.initial(1)
    inputs, labels = batch_of(model, 6)
    step = local_step(model, cross_entropy_objective(model), training.make_optimizer())
    hyper = [torch.tensor([value]) for value in hyper_values(training)]
    state = [start] + [
        torch.zeros(1, dtype=torch.int64) if key == "step" else torch.zeros_like(start)
        for key in training.make_optimizer().names()
    ]
    module = module_of(model, start)
    reference = torch.optim.SGD(module.parameters(), **optimizer)
    for _ in range(3):
        loss, _, *state = step(inputs, labels, torch.ones(6), *hyper, *state)
        reference.zero_grad()
        logits = module(inputs, keep)
        expected = F.cross_entropy(logits.flatten(0, -2), labels.flatten())
        expected.backward()
        reference.step()
        torch.testing.assert_close(loss[0], expected.detach(), rtol=1e-5, atol=1e-6)
    wanted = concatenate([value.detach() for value in module.parameters()])
    torch.testing.assert_close(state[0], wanted, rtol=1e-5, atol=1e-6)


def test_examples_of_weight_zero_are_not_there() -> None:
    model = model_of("lenet")
    inputs, labels = batch_of(model, 6)
    training = LocalTraining()
    step = local_step(model, cross_entropy_objective(model), training.make_optimizer())
    hyper = [torch.tensor([value]) for value in hyper_values(training)]
    counter = torch.zeros(1, dtype=torch.int64)
    few = step(inputs[:4], labels[:4], torch.ones(4), *hyper, model.initial(0), counter)
    weights = torch.tensor([1.0, 1, 1, 1, 0, 0])
    padded = step(inputs, labels, weights, *hyper, model.initial(0), counter)
    for one, other in zip(few, padded, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_the_proximal_term_pulls_to_the_servers_parameters() -> None:
    """arXiv 1812.06127, equation 2: the gradient of mu / 2 |w - w_server|^2 is added."""
    model = model_of("har-conv")
    inputs, labels = batch_of(model, 6)
    rate, mu = 0.1, 0.5
    training = LocalTraining(learning_rate=rate, proximal=mu)
    objective = cross_entropy_objective(model)
    hyper = [torch.tensor([value]) for value in hyper_values(training)]
    counter = torch.zeros(1, dtype=torch.int64)
    server, here = model.initial(0), model.initial(1)
    shared = (inputs, labels, torch.ones(6), *hyper, here, counter)
    plain = local_step(model, objective, training.make_optimizer())(*shared)
    pulled = local_step(model, objective, training.make_optimizer(), mu)(*shared, server)
    torch.testing.assert_close(
        plain[2] - pulled[2], rate * mu * (here - server), rtol=1e-4, atol=1e-6
    )


def test_an_epoch_takes_every_example_once() -> None:
    plan = batch_plan(70, LocalTraining(epochs=3, batch_size=32), WHO)
    assert plan.shape == (9, 32)
    epochs = plan.reshape(3, -1)
    for epoch in epochs:
        assert sorted(epoch[epoch >= 0]) == list(range(70))
        assert (epoch < 0).sum() == 3 * 32 - 70
    assert not np.array_equal(epochs[0], epochs[1])


def test_steps_can_be_counted_instead_of_epochs() -> None:
    assert batch_plan(70, LocalTraining(steps=4, batch_size=32), WHO).shape == (4, 32)
    assert batch_plan(5, LocalTraining(steps=7, batch_size=2), WHO).shape == (7, 2)


@pytest.mark.parametrize("other", [Identity(4, 2, 5), Identity(3, 3, 5), Identity(3, 2, 6)])
def test_order_and_draws_are_functions_of_who_draws(other: Identity) -> None:
    training = LocalTraining()
    spec = TensorSpec("noise", "float32", (8,), "random.uniform", stream=52, index="step")
    assert np.array_equal(batch_plan(70, training, WHO), batch_plan(70, training, WHO))
    assert not np.array_equal(batch_plan(70, training, WHO), batch_plan(70, training, other))
    assert torch.equal(draw(spec, WHO, 1), draw(spec, WHO, 1))
    assert not torch.equal(draw(spec, WHO, 1), draw(spec, other, 1))
    assert not torch.equal(draw(spec, WHO, 1), draw(spec, WHO, 2))


def test_draws_of_a_round_are_the_same_for_all_its_clients() -> None:
    spec = TensorSpec(
        "bits", "int64", (1,), "random.integer", stream=52, index="round", low=0, high=2**31
    )
    assert torch.equal(draw(spec, WHO, 1), draw(spec, Identity(3, 2, 9), 4))
    assert not torch.equal(draw(spec, WHO, 1), draw(spec, Identity(3, 3, 5), 1))


@pytest.mark.parametrize("name", SHAPES)
def test_initial_parameters_are_spread_as_torchs_and_a_function_of_the_seed(name: str) -> None:
    model = model_of(name)
    assert torch.equal(model.initial(4), model.initial(4))
    assert not torch.equal(model.initial(4), model.initial(5))
    tensors = unpack(model.views, model.initial(4))
    torch.manual_seed(0)
    module = copy.deepcopy(model.module).to_empty(device="cpu")
    for part in module.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    for key, parameter in module.named_parameters():
        ours, value = tensors[key], parameter.detach()
        if value.numel() >= 1000:
            assert ours.std().item() == pytest.approx(value.std().item(), rel=0.1), key
            assert abs(ours.mean().item()) < 0.1 * value.std().item() + 1e-3, key
        elif float(value.std()) == 0.0:
            assert torch.equal(ours, value), key


@pytest.mark.parametrize(
    ("name", "shape", "classes", "said"),
    [
        ("lenett", (1, 8, 8), 10, "'model' cannot be 'lenett'; valid: char-conv, har-conv"),
        ("lenet", (1, 9, 8), 10, "input_shape"),
        ("har-conv", (1, 8, 8), 10, "input_shape"),
        ("char-conv", (1, 8), 10, "input_shape"),
        ("lenet", (1, 8, 8), 1, "'classes' cannot be '1'"),
    ],
)
def test_models_that_do_not_fit_are_refused(
    name: str, shape: tuple[int, ...], classes: int, said: str
) -> None:
    with pytest.raises(ConfigInvalid, match=said):
        load_classifier(name, shape, classes)


def test_more_steps_than_a_round_has_random_numbers_for_are_refused() -> None:
    """Step 2^20 of one client would draw what step 0 of the next one draws."""
    training = LocalTraining(epochs=2**19, batch_size=8)
    assert training.steps_for(8) == 2**19
    with pytest.raises(ConfigInvalid, match=r"'epochs' cannot be '524288'.* 1048576 steps"):
        training.steps_for(9)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("steps", -1),
        ("batch_size", True),
        ("optimizer", "lion"),
        ("learning_rate", 0.0),
        ("momentum", 1.0),
        ("proximal", float("nan")),
        ("max_gradient_norm", -1.0),
    ],
)
def test_values_out_of_range_are_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigInvalid, match=f"'{key}' cannot be"):
        LocalTraining(**{key: value})
