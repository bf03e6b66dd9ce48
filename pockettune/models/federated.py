"""A federation's model as a bundle's programs: what a device needs to be a client.

``train_step`` is exactly ``pockettune.local.local_step`` of the bound federation, so a client
that trains on a device and one that is simulated do the same. ``evaluate`` and ``predict`` read the
same parameters, ``predict_8`` and its like on a grid of so many bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from pockettune.evaluation import quantized_parameters
from pockettune.federation import Federation
from pockettune.local import Identity, draw, hyper_values
from pockettune.method import MethodExport, StateTensor
from pockettune.models.classifier import Classifier
from pockettune.nn.losses import cross_entropy
from pockettune.nn.quantizers import FULL
from pockettune.pack import unpack
from pockettune.program import Program, TensorSpec

__all__ = ["CLASSIFICATION", "HYPER", "federated_export"]

CLASSIFICATION = "classification"
"""The task of these bundles."""

HYPER = ("learning_rate", "weight_decay", "max_gradient_norm", "warmup_steps")
_PARAMETERS = "parameters"
_ROLES = {"moment1": "moment", "moment2": "moment", "step": "counter"}
_EXAMPLE_CLIENT = 1


def federated_export(
    federation: Federation, bits: Sequence[int] = (), initial: Tensor | None = None
) -> MethodExport:
    """The parts of a bundle for clients of ``federation``; ``bits`` are the widths, besides 32, at
    which the model shall predict, ``initial`` the pack that it starts from in place of the
    federation's."""
    model, local = federation.model, federation.local
    if initial is None:
        initial = torch.from_numpy(federation.initial())
    state = _state(federation, initial)
    predicting = {width: _predict(federation, initial, width) for width in (FULL, *bits)}
    programs = (
        _train_step(federation, state, initial),
        _evaluate(federation, initial),
        *predicting.values(),
    )
    return MethodExport(
        task=CLASSIFICATION,
        programs=programs,
        tensors=state,
        caches={},
        preparation=(),
        training={
            "program": "train_step",
            "steps": local.steps or 1,
            "samples": 1,
            "accumulation": 1,
            "hyper": dict(zip(HYPER, hyper_values(local), strict=True)),
        },
        classification={
            "input_shape": list(model.input_shape),
            "classes": model.classes,
            "batch_size": local.batch_size,
            "epochs": local.epochs,
            "parameters": _PARAMETERS,
            "evaluate_program": "evaluate",
            "predict_programs": {
                program.name: {"bits": width, "arithmetic": "float32"}
                for width, program in predicting.items()
            },
        },
        facts={"local": asdict(local), "parameters": model.size},
    )


def _state(federation: Federation, initial: Tensor) -> dict[str, StateTensor]:
    """The state by name, in the order of a step's inputs."""
    size, views = (federation.model.size,), federation.model.views
    state = {_PARAMETERS: StateTensor("float32", size, "model", initial, views)}
    for name in federation.local.make_optimizer().names():
        if name == "step":
            state[name] = StateTensor("int64", (1,), _ROLES[name])
        else:
            state[name] = StateTensor("float32", size, _ROLES[name], None, views)
    return state


def _batch(model: Classifier, size: int) -> tuple[TensorSpec, TensorSpec, TensorSpec]:
    return (
        TensorSpec("inputs", "float32", (size, *model.input_shape), "batch.inputs"),
        TensorSpec("labels", "int64", (size,), "batch.labels"),
        TensorSpec("weights", "float32", (size,), "batch.weights"),
    )


def _example_batch(model: Classifier, size: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers without ties, one example that counts as not there."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.ones(size)
    weights[-1] = 0.0 if size > 1 else 1.0
    return (
        torch.rand((size, *model.input_shape), generator=generator),
        torch.randint(0, model.classes, (size,), generator=generator),
        weights,
    )


def _specs(state: dict[str, StateTensor]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name, tensor.dtype, tensor.shape, f"state.{name}")
        for name, tensor in state.items()
    )


def _train_step(federation: Federation, state: dict[str, StateTensor], initial: Tensor) -> Program:
    model, draws = federation.model, federation.objective.draws
    size = federation.local.batch_size
    numbers = tuple(TensorSpec(name, "float32", (1,), f"hyper.{name}") for name in HYPER)

    def function(*inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            return tuple(value.detach() for value in federation.step(*inputs))

    def example(seed: int) -> tuple[Tensor, ...]:
        # Distinct objects: a tracer takes one tensor given twice for one input.
        identity = Identity(seed, 0, _EXAMPLE_CLIENT)
        return (
            *_example_batch(model, size, seed),
            *(draw(spec, identity, 0) for spec in draws),
            *(torch.tensor([value]) for value in hyper_values(federation.local)),
            initial.clone(),
            *(
                torch.zeros(tensor.shape, dtype=getattr(torch, tensor.dtype))
                for name, tensor in state.items()
                if name != _PARAMETERS
            ),
        )

    inputs = (*_batch(model, size), *draws, *numbers, *_specs(state))
    outputs = (
        TensorSpec("loss", "float32", (1,), "loss"),
        TensorSpec("gradient_norm", "float32", (1,), "metric.gradient_norm"),
        *_specs(state),
    )
    return Program("train_step", function, inputs, outputs, example)


def _reading(
    federation: Federation,
    initial: Tensor,
    name: str,
    batch: int,
    function: Callable[..., tuple[Tensor, ...]],
    outputs: tuple[TensorSpec, ...],
) -> Program:
    """A program of the first ``batch`` inputs of a batch and the parameters."""
    model, size = federation.model, federation.local.batch_size
    parameters = TensorSpec(_PARAMETERS, "float32", (model.size,), f"state.{_PARAMETERS}")

    def example(seed: int) -> tuple[Tensor, ...]:
        return (*_example_batch(model, size, seed)[:batch], initial.clone())

    inputs = (*_batch(model, size)[:batch], parameters)
    return Program(name, function, inputs, outputs, example)


def _evaluate(federation: Federation, initial: Tensor) -> Program:
    """Sums over the batch, weighted: cross-entropy in nats, and right answers."""
    model = federation.model

    def function(
        inputs: Tensor, labels: Tensor, weights: Tensor, parameters: Tensor
    ) -> tuple[Tensor, ...]:
        logits = model.apply(parameters, inputs)
        losses = cross_entropy(logits, labels)
        right = (logits.argmax(dim=-1) == labels).to(torch.float32)
        return (losses * weights).sum().reshape(1), (right * weights).sum().reshape(1)

    outputs = (
        TensorSpec("loss_sum", "float32", (1,), "metric.loss_sum"),
        TensorSpec("right", "float32", (1,), "metric.right"),
    )
    return _reading(federation, initial, "evaluate", 3, function, outputs)


def _predict(federation: Federation, initial: Tensor, bits: int) -> Program:
    model, size = federation.model, federation.local.batch_size

    def function(inputs: Tensor, parameters: Tensor) -> tuple[Tensor, ...]:
        tensors = unpack(model.views, parameters)
        if bits != FULL:
            tensors = quantized_parameters(model, parameters, bits)
        return (model.apply_named(tensors, inputs),)

    outputs = (TensorSpec("logits", "float32", (size, model.classes), "output.logits"),)
    name = "predict" if bits == FULL else f"predict_{bits}"
    return _reading(federation, initial, name, 1, function, outputs)
