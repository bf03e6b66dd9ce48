"""A training step of an adapter as one pure function of its state.

The program takes a sample, numbers to train with and the state, and returns loss, gradient norm and
the new state: forward pass, backward pass, clipping, accumulation and update in one. What a method
adds is the loss and the inputs that it needs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pockettune import random
from pockettune.adapter import AdapterLayout, attached, unpack
from pockettune.method import StateTensor
from pockettune.models import programs
from pockettune.models.pipeline import Pipeline
from pockettune.nn.schedule import NoiseSchedule
from pockettune.optimizer import Hyper, Optimizer
from pockettune.pack import concatenate
from pockettune.program import Program, TensorSpec

__all__ = [
    "example_adapter",
    "initial_adapter",
    "sample_example",
    "sample_specs",
    "state_tensors",
    "train_step_program",
]

# Streams of spec/random.md.
_TIMESTEP_STREAM, _NOISE_STREAM, _ADAPTER_STREAM = 1, 2, 5
_ROLES = {"moment1": "moment", "moment2": "moment", "accumulator": "accumulator", "step": "counter"}
_HYPER = ("learning_rate", "weight_decay", "max_gradient_norm", "warmup_steps")
_EXAMPLE_HYPER = (1e-3, 0.01, 1.0, 0.0)


def initial_adapter(layout: AdapterLayout, seed: int) -> Tensor:
    """A pack that changes nothing: A normal with deviation 1 / rank, B zero; float32 ``[size]``."""
    tensors = []
    for index, view in enumerate(layout.views):
        if view.name.endswith("lora_A.weight"):
            values = random.normal(seed, _ADAPTER_STREAM, index, view.shape)
            tensors.append(torch.from_numpy(values).reshape(-1) / layout.rank)
        else:
            tensors.append(torch.zeros(view.shape).reshape(-1))
    return torch.cat(tensors)


def example_adapter(layout: AdapterLayout, seed: int) -> Tensor:
    """A pack as after some training: B is not zero."""
    generator = torch.Generator().manual_seed(seed)
    return initial_adapter(layout, seed) + 0.02 * torch.randn(layout.size, generator=generator)


def state_tensors(
    layout: AdapterLayout, optimizer: Optimizer, initial: Tensor
) -> dict[str, StateTensor]:
    """The state by name, in the order of a training program's inputs."""
    size, views = (layout.size,), layout.views
    state = {programs.ADAPTER: StateTensor("float32", size, "adapter", initial, views)}
    for name in optimizer.names():
        if name == "step":
            state[name] = StateTensor("int64", (1,), _ROLES[name])
        else:
            state[name] = StateTensor("float32", size, _ROLES[name], None, views)
    return state


def sample_specs(pipeline: Pipeline, schedule: NoiseSchedule) -> tuple[TensorSpec, ...]:
    """What a training sample is: latents, text states, noise and timestep."""
    shape, last = pipeline.latent_shape, schedule.train_timesteps
    noise = TensorSpec("noise", "float32", shape, "random.normal", _NOISE_STREAM, "sample")
    timestep = TensorSpec(
        "timestep", "int64", (1,), "random.integer", _TIMESTEP_STREAM, "sample", low=0, high=last
    )
    return programs.latents_spec(pipeline), programs.text_states_spec(pipeline), noise, timestep


def sample_example(pipeline: Pipeline, schedule: NoiseSchedule, seed: int) -> tuple[Tensor, ...]:
    """Values for ``sample_specs``; the timestep is not among the nearly clean ones."""
    generator = torch.Generator().manual_seed(seed)
    latents, text, noise, _ = sample_specs(pipeline, schedule)
    last = schedule.train_timesteps
    return (
        torch.randn(latents.shape, generator=generator),
        torch.randn(text.shape, generator=generator),
        torch.randn(noise.shape, generator=generator),
        torch.randint(last // 10, last, (1,), generator=generator),
    )


def train_step_program(
    net: nn.Module,
    layout: AdapterLayout,
    optimizer: Optimizer,
    loss: Callable[..., Tensor],
    sample: tuple[TensorSpec, ...],
    example_sample: Callable[[int], tuple[Tensor, ...]],
) -> Program:
    """The program for ``loss``, a function of the tensors of ``sample`` that returns ``[1]``.

    The loss is scaled by ``batch.weight`` before its gradient is taken. Examples are a first step:
    moments are zero, but the adapter already does something.
    """

    def function(*inputs: Tensor) -> tuple[Tensor, ...]:
        values, rest = inputs[: len(sample)], inputs[len(sample) :]
        weight, rate, decay, bound, warmup, adapter, *state = rest
        leaves = {
            name: tensor.detach().requires_grad_()
            for name, tensor in unpack(layout, adapter).items()
        }
        # The hooks stay for the gradient too: recomputation runs the layers again.
        with torch.enable_grad(), attached(net, layout, leaves):
            weighted = loss(*values) * weight
            gradients = torch.autograd.grad(weighted, list(leaves.values()))
        with torch.no_grad():
            new, norm = optimizer.update(
                optimizer.state(adapter, *state),
                concatenate(gradients),
                Hyper(rate, decay, bound, warmup),
            )
        return weighted.detach(), norm, *new.tensors()

    def example(seed: int) -> tuple[Tensor, ...]:
        # Distinct objects: a tracer takes one tensor given twice for one input.
        return (
            *example_sample(seed),
            torch.ones(1),
            *(torch.tensor([value]) for value in _EXAMPLE_HYPER),
            example_adapter(layout, seed),
            *(torch.zeros(layout.size) for name in optimizer.names() if name != "step"),
            torch.zeros(1, dtype=torch.int64),
        )

    state = tuple(
        TensorSpec(name, tensor.dtype, tensor.shape, f"state.{name}")
        for name, tensor in state_tensors(layout, optimizer, torch.zeros(0)).items()
    )
    numbers = (TensorSpec(name, "float32", (1,), f"hyper.{name}") for name in _HYPER)
    inputs = (*sample, TensorSpec("weight", "float32", (1,), "batch.weight"), *numbers, *state)
    outputs = (
        TensorSpec("loss", "float32", (1,), "loss"),
        TensorSpec("gradient_norm", "float32", (1,), "metric.gradient_norm"),
        *state,
    )
    return Program("train_step", function, inputs, outputs, example)
