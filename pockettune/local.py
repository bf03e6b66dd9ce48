"""What a client does in a round: a few steps of an optimizer on its own data.

One step is one pure function of batch, random numbers and state. Simulation runs it, and the
exporter captures the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pockettune import checks, random
from pockettune.errors import ConfigInvalid
from pockettune.method import Objective
from pockettune.models.classifier import Classifier
from pockettune.optimizer import Hyper, Optimizer
from pockettune.pack import concatenate, unpack
from pockettune.program import TensorSpec

if TYPE_CHECKING:
    from pockettune.data.dataset import Split

__all__ = [
    "ORDER_STREAM",
    "Identity",
    "LocalTraining",
    "Step",
    "batch_plan",
    "draw",
    "hyper_values",
    "local_step",
    "train",
]

ORDER_STREAM = 49

Step: TypeAlias = Callable[..., tuple[Tensor, ...]]

_CLIENTS, _STEPS = 2**24, 2**20


@dataclass(frozen=True, slots=True)
class LocalTraining:
    """How a client trains. Raises ConfigInvalid for a value out of range."""

    epochs: int = 1
    """Passes over the client's data."""
    steps: int = 0
    """Steps instead of epochs; 0 leaves it to ``epochs``."""
    batch_size: int = 32
    optimizer: str = "sgd"
    """"sgd" or "adamw"."""
    momentum: float = 0.0
    """Of "sgd"; a client starts each round without momentum."""
    learning_rate: float = 0.05
    weight_decay: float = 0.0
    max_gradient_norm: float = 0.0
    """Gradients are clipped to this norm; 0 is no clipping."""
    proximal: float = 0.0
    """FedProx's mu (T. Li et al., arXiv 1812.06127): ``mu / 2 |w - w_server|^2`` is added."""

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("steps", 0), ("batch_size", 1)):
            checks.integer(name, getattr(self, name), low, _STEPS - 1)
        checks.choice("optimizer", self.optimizer, ("sgd", "adamw"))
        checks.number("learning_rate", self.learning_rate, "a number above 0", lambda x: x > 0)
        checks.number(
            "momentum", self.momentum, "a number from 0 to below 1", lambda x: 0.0 <= x < 1.0
        )
        for name in ("weight_decay", "max_gradient_norm", "proximal"):
            checks.number(name, getattr(self, name), "a number of at least 0", lambda x: x >= 0)

    def make_optimizer(self) -> Optimizer:
        """The optimizer of a step."""
        return Optimizer(
            self.optimizer,
            momentum=self.momentum,
            clipping=self.max_gradient_norm > 0,
            decay=self.weight_decay > 0,
        )

    def steps_for(self, examples: int) -> int:
        """Number of steps of a client with that many examples.

        Raises ConfigInvalid for more than a round has random numbers for.
        """
        steps = self.steps or self.epochs * -(-examples // self.batch_size)
        if steps >= _STEPS:
            valid = f"fewer: a client with {examples} examples would take {steps} steps"
            raise ConfigInvalid("epochs", self.epochs, f"{valid}, and may take {_STEPS - 1}")
        return steps


@dataclass(frozen=True, slots=True)
class Identity:
    """Who draws random numbers, and when: what makes every draw of a fleet its own.

    ``seed`` is the federation's, ``round`` below 2^20, ``client`` below 2^24; a client's index is
    ``(round * 2^24 + client) * 2^20 + step`` (``spec/random.md``).
    """

    seed: int
    round: int
    client: int

    def index(self, scope: str, step: int = 0) -> int:
        """The counter of ``scope``: "step", "round" or "client"."""
        if scope == "round":
            return self.round
        if scope == "client":
            return self.client
        return (self.round * _CLIENTS + self.client) * _STEPS + step


def draw(spec: TensorSpec, identity: Identity, step: int) -> Tensor:
    """The random input ``spec`` of a step, of its shape and dtype (``spec/random.md``)."""
    stream, index = spec.stream or 0, identity.index(spec.index or "step", step)
    if spec.binding == "random.integer":
        low, high = spec.low or 0, spec.high or 1
        return torch.from_numpy(random.integer(identity.seed, stream, index, spec.shape, low, high))
    function = random.normal if spec.binding == "random.normal" else random.uniform
    return torch.from_numpy(function(identity.seed, stream, index, spec.shape))


def batch_plan(examples: int, training: LocalTraining, identity: Identity) -> NDArray[np.int64]:
    """Which examples each step takes, ``[steps, batch_size]``; -1 where a batch is not full.

    Every epoch is a permutation of its own, cut into batches.
    """
    steps = training.steps_for(examples)
    per_epoch = -(-examples // training.batch_size)
    plan = np.full((-(-steps // per_epoch) * per_epoch, training.batch_size), -1, dtype=np.int64)
    for epoch in range(len(plan) // per_epoch):
        order = random.permutation(
            identity.seed, ORDER_STREAM, identity.index("step", epoch), examples
        )
        rows = plan[epoch * per_epoch : (epoch + 1) * per_epoch].reshape(-1)
        rows[:examples] = order
    return plan[:steps]


def hyper_values(training: LocalTraining) -> tuple[float, float, float, float]:
    """Values of a step's hyper inputs in their order: rate, decay, clipping bound, warm-up."""
    values = training.learning_rate, training.weight_decay, training.max_gradient_norm
    rate, decay, bound = map(float, values)
    return rate, decay, bound, 0.0


def local_step(
    model: Classifier, objective: Objective, optimizer: Optimizer, proximal: float = 0.0
) -> Step:
    """``step(inputs, labels, weights, *draws, rate, decay, bound, warmup, parameters, *state)``.

    ``state`` are the optimizer's tensors, then, with ``proximal``, the server's parameters. Returns
    loss ``[1]``, gradient norm ``[1]``, parameters and the optimizer's tensors. The loss is without
    the proximal term, whose gradient is added as ``proximal * (parameters - server's)``.
    """
    moments = len(optimizer.names())

    def step(inputs: Tensor, labels: Tensor, weights: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        draws, rest = rest[: len(objective.draws)], rest[len(objective.draws) :]
        hyper, (parameters, *state) = Hyper(*rest[:4]), rest[4:]
        leaves = {
            name: tensor.detach().requires_grad_()
            for name, tensor in unpack(model.views, parameters).items()
        }
        with torch.enable_grad():
            loss: Tensor = objective.loss(leaves, inputs, labels, weights, *draws).reshape(())
            gradients = torch.autograd.grad(loss, list(leaves.values()))
        gradient = concatenate(gradients)
        if proximal:
            gradient = gradient + (parameters - state[moments]) * proximal
        new, norm = optimizer.update(optimizer.state(parameters, *state[:moments]), gradient, hyper)
        return loss.detach().reshape(1), norm, *new.tensors()

    return step


def train(
    step: Step,
    draws: Sequence[TensorSpec],
    training: LocalTraining,
    start: NDArray[np.float32],
    data: Split,
    identity: Identity,
) -> tuple[NDArray[np.float32], list[float]]:
    """A client's parameters after its steps, ``[size]`` as ``start``, and each step's loss in nats.

    ``step`` is what ``local_step`` makes of a model and ``training``, ``draws`` its random inputs.
    """
    optimizer = training.make_optimizer()
    hyper = [torch.tensor([value]) for value in hyper_values(training)]
    server = torch.from_numpy(start)
    state = [server, *(_initial_moment(name, server) for name in optimizer.names())]
    anchor = [server] if training.proximal else []
    losses: list[float] = []
    for number, rows in enumerate(batch_plan(len(data.labels), training, identity)):
        drawn = [draw(spec, identity, number) for spec in draws]
        # Random inputs may have a shape that goes with the whole batch.
        batch = _batch(data, rows if drawn else rows[rows >= 0])
        loss, _, *state = step(*batch, *drawn, *hyper, *state, *anchor)
        losses.append(float(loss))
    return state[0].numpy(), losses


def _initial_moment(name: str, parameters: Tensor) -> Tensor:
    if name == "step":
        return torch.zeros(1, dtype=torch.int64)
    return torch.zeros_like(parameters)


def _batch(data: Split, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, labels and weights of a batch; rows of -1 are there with weight 0."""
    chosen = np.maximum(rows, 0)
    weights = (rows >= 0).astype(np.float32)
    inputs = torch.from_numpy(data.inputs[chosen])
    if inputs.dim() == 4:
        # Pooling is an order of magnitude faster so, and LeNet's step almost twice. `contiguous`
        # would leave pictures of one channel as they are.
        pictures = torch.empty(inputs.shape, memory_format=torch.channels_last)
        inputs = pictures.copy_(inputs)
    return inputs, torch.from_numpy(data.labels[chosen]), torch.from_numpy(weights)
