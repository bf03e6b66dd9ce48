"""Hollowed Net: personalize a text-to-image net in about the memory that it needs to draw.

Wonguk Cho, Seokeon Choi, Debasmit Das, Matthias Reisser, Taesup Kim, Sungrack Yun, Fatih Porikli,
"Hollowed Net for On-Device Personalization of Text-to-Image Diffusion Models", NeurIPS 2024,
arXiv:2411.01179.

With ``z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps`` and c the prompt's text states:

1. ``prepare``, once for each sample: the intact, frozen net runs up to the first decoder unit
   outside the hollow, ``h = Deep(Shallow(z_t, t, c))``; h is stored.
2. ``train_step``: the net without its deep units; low-rank updates (A, B) in those that stay;
   ``loss = weight * mean |target - Dec(h, Enc(z_t, t, c), t, c)|^2``; one optimizer update.
3. The adapter's names are those of the full net, so ``denoise`` runs the full net with it.

Without a cut, step 1 disappears and step 2 trains the full net: plain LoRA by the same code.

Differs from the paper, or is our choice because the paper leaves it open
(``docs/methods/hollowed_net.md``): which units are removed for a cut's name; noise is drawn again
from a counter instead of stored; h keeps coming from the net without the adapter; rank, targets,
learning rate and number of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from pockettune import random
from pockettune.adapter import AdapterLayout, attached, concatenate, layout_of, metadata_of, unpack
from pockettune.errors import ConfigInvalid
from pockettune.method import Cache, Method, MethodExport, StateTensor
from pockettune.models import programs
from pockettune.models.pipeline import Pipeline
from pockettune.nn.schedule import NoiseSchedule, add_noise, training_target
from pockettune.nn.unet import (
    Cut,
    UNetUnits,
    cut_by_name,
    kept_units,
    legal_cuts,
    parameters_in,
    precompute,
    predict,
    predict_hollow,
    units_of,
)
from pockettune.optimizer import Hyper, Optimizer
from pockettune.program import Program, TensorSpec

__all__ = ["METHOD", "Config", "export"]

HIDDEN = "hidden"
# Streams of spec/random.md.
_TIMESTEP_STREAM, _NOISE_STREAM, _ADAPTER_STREAM = 1, 2, 5
_ROLES = {"moment1": "moment", "moment2": "moment", "accumulator": "accumulator", "step": "counter"}


@dataclass(frozen=True, slots=True)
class Config:
    """What is trained and how. Raises ConfigInvalid for a value out of range."""

    cut: str = "C"
    """Which deep units are removed: "A" (fewest) to "D", or "none": plain LoRA on the full net."""
    rank: int = 4
    """Rank of each update, at least 1."""
    alpha: float = 0.0
    """Updates are scaled by alpha / rank; 0 stands for the rank, so for a scale of 1."""
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    """Endings of the names of the linear layers that get an update."""
    optimizer: str = "adamw"
    """"adamw" or "sgd" (with momentum 0.9)."""
    learning_rate: float = 1e-3
    """Default of the rate, above 0; the device may choose another."""
    schedule: str = "constant"
    """"constant", or "cosine": the rate falls to 0 over ``steps``."""
    accumulation: int = 1
    """Calls whose gradients are added up for one update; 2 with prior preservation."""
    steps: int = 300
    """Default number of training calls, and of prepared samples."""
    recompute: str = "block"
    """"block": the backward pass computes each unit again; "none": it keeps all it needs."""
    seed: int = 0
    """Seed of the adapter's initial values, 0 to 2^64 - 1."""

    def __post_init__(self) -> None:
        for name in ("rank", "accumulation", "steps"):
            _require(self, name, _is_integer(self, name, 1), "an integer of at least 1")
        _require(self, "seed", _is_integer(self, "seed", 0), "an integer from 0 to 2^64 - 1")
        _require(self, "alpha", _is_number(self, "alpha", 0.0), "a number of at least 0")
        rate_is_valid = _is_number(self, "learning_rate", 0.0) and self.learning_rate > 0
        _require(self, "learning_rate", rate_is_valid, "a number above 0")
        for name, valid in (
            ("optimizer", ("adamw", "sgd")),
            ("schedule", ("constant", "cosine")),
            ("recompute", ("block", "none")),
        ):
            _require(self, name, getattr(self, name) in valid, valid)
        _require(self, "targets", len(self.targets) > 0, "names of linear layers, at least one")


def _require(config: Config, name: str, holds: bool, valid: str | tuple[str, ...]) -> None:
    if not holds:
        raise ConfigInvalid(name, getattr(config, name), valid)


def _is_integer(config: Config, name: str, lowest: int) -> bool:
    value = getattr(config, name)
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value < 2**64


def _is_number(config: Config, name: str, lowest: float) -> bool:
    value = getattr(config, name)
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and lowest <= value < float("inf")


def export(pipeline: Pipeline, config: Config) -> MethodExport:
    """The parts of a bundle. The pipeline is not changed, only used.

    Raises CutIllegal, ConfigInvalid or ModelUnsupported.
    """
    net = units_of(pipeline.unet)
    cut = cut_by_name(net, config.cut)
    schedule = NoiseSchedule.from_config(pipeline.scheduler)
    kept = [unit.name for unit in kept_units(net, cut)]
    layout = layout_of(net.model, config.targets, config.rank, config.alpha or config.rank, kept)
    hidden_shape = None if cut is None else _hidden_shape(pipeline, net, cut)
    parts = _Parts(pipeline, config, net, cut, schedule, layout, hidden_shape)
    preparation = ["encode_text", "encode_image"] + (["prepare"] if cut is not None else [])
    return MethodExport(
        task="text_to_image",
        programs=parts.programs(),
        tensors=parts.tensors(),
        caches=programs.caches_of(pipeline)
        | ({HIDDEN: Cache("float32", hidden_shape, "float16", "sample")} if hidden_shape else {}),
        preparation=tuple(preparation),
        training={
            "program": "train_step",
            "steps": config.steps,
            "samples": config.steps,
            "accumulation": config.accumulation,
            "hyper": {
                "learning_rate": config.learning_rate,
                "weight_decay": 0.01,
                "max_gradient_norm": 1.0,
                "warmup_steps": 0.0,
            },
        },
        generation={
            "step_program": "denoise",
            "output_program": "decode",
            "prompt_program": "encode_text",
            "steps": 25,
            "train_timesteps": schedule.train_timesteps,
            "spacing": schedule.spacing,
            "steps_offset": schedule.steps_offset,
            "hyper": {"guidance": 4.0},
        },
        text=programs.text_of(pipeline),
        image=dict(zip(("height", "width"), pipeline.image_size, strict=True)),
        adapter={"tensors": programs.ADAPTER, "metadata": metadata_of(layout)},
        files=programs.tokenizer_files(pipeline),
        facts=parts.facts(),
    )


def _hidden_shape(pipeline: Pipeline, net: UNetUnits, cut: Cut) -> tuple[int, ...]:
    """Shape of the hidden tensor, found without computing it."""
    text_shape = programs.text_states_spec(pipeline).shape
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        sample = torch.empty(pipeline.latent_shape)
        timestep, text = torch.empty(1, dtype=torch.int64), torch.empty(text_shape)
        return tuple(precompute(net, cut, sample, timestep, text).shape)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the programs of one export share."""

    pipeline: Pipeline
    config: Config
    net: UNetUnits
    cut: Cut | None
    schedule: NoiseSchedule
    layout: AdapterLayout
    hidden_shape: tuple[int, ...] | None
    """Shape of the hidden tensor; None without a cut."""

    def programs(self) -> tuple[Program, ...]:
        pipeline = self.pipeline
        return (
            programs.encode_text_program(pipeline),
            programs.encode_image_program(pipeline),
            *([_prepare_program(self, self.cut)] if self.cut is not None else []),
            _train_step_program(self),
            programs.denoise_program(
                pipeline, self.net, self.schedule, self.layout, self.example_adapter
            ),
            programs.decode_program(pipeline),
        )

    def optimizer(self) -> Optimizer:
        config = self.config
        updates = max(1, config.steps // config.accumulation)
        return Optimizer(
            config.optimizer, config.accumulation, config.schedule == "cosine", updates
        )

    def tensors(self) -> dict[str, StateTensor]:
        """The state by name, in the order of the training program's inputs."""
        size, views = (self.layout.size,), self.layout.views
        initial = self.initial_adapter()
        state = {programs.ADAPTER: StateTensor("float32", size, "adapter", initial, views)}
        for name in self.optimizer().names():
            if name == "step":
                state[name] = StateTensor("int64", (1,), _ROLES[name])
            else:
                state[name] = StateTensor("float32", size, _ROLES[name], None, views)
        return state

    def initial_adapter(self) -> Tensor:
        """A normal with deviation 1 / rank, B zero: the adapter changes nothing at first."""
        tensors = []
        for index, view in enumerate(self.layout.views):
            if view.name.endswith("lora_A.weight"):
                values = random.normal(self.config.seed, _ADAPTER_STREAM, index, view.shape)
                tensors.append(torch.from_numpy(values).reshape(-1) / self.config.rank)
            else:
                tensors.append(torch.zeros(view.shape).reshape(-1))
        return torch.cat(tensors)

    def example_adapter(self, seed: int) -> Tensor:
        """As after some training: B is not zero."""
        generator = torch.Generator().manual_seed(seed)
        return self.initial_adapter() + 0.02 * torch.randn(self.layout.size, generator=generator)

    def facts(self) -> dict[str, Any]:
        total = sum(parameter.numel() for parameter in self.net.model.parameters())
        removed = 0
        if self.cut is not None:
            removed = parameters_in(self.net.units[self.cut.stop : self.cut.resume])
        return {
            "parameters": {
                "total": total,
                "kept": total - removed,
                "removed": removed,
                "adapter": self.layout.size,
            },
            "cut": self.config.cut,
            "legal_cuts": [*legal_cuts(self.net), "none"],
            "hidden_shape": self.hidden_shape,
            "targets": list(self.layout.modules),
            "rank": self.layout.rank,
            "alpha": self.layout.alpha,
        }


def _sample_specs(parts: _Parts) -> tuple[TensorSpec, ...]:
    """Inputs that say what a training sample is: latents, words, noise, timestep."""
    pipeline, last = parts.pipeline, parts.schedule.train_timesteps
    noise = TensorSpec(
        "noise",
        "float32",
        pipeline.latent_shape,
        "random.normal",
        stream=_NOISE_STREAM,
        index="sample",
    )
    timestep = TensorSpec(
        "timestep",
        "int64",
        (1,),
        "random.integer",
        stream=_TIMESTEP_STREAM,
        index="sample",
        low=0,
        high=last,
    )
    latents, text = programs.latents_spec(pipeline), programs.text_states_spec(pipeline)
    return latents, text, noise, timestep


def _sample_example(parts: _Parts, seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    latents, text, noise, timestep = _sample_specs(parts)
    high = timestep.high or 1
    return (
        torch.randn(latents.shape, generator=generator),
        torch.randn(text.shape, generator=generator),
        torch.randn(noise.shape, generator=generator),
        torch.randint(high // 10, high, (1,), generator=generator),
    )


def _hidden_spec(parts: _Parts) -> tuple[TensorSpec, ...]:
    shape = parts.hidden_shape
    return (TensorSpec(HIDDEN, "float32", shape, f"cache.{HIDDEN}"),) if shape else ()


def _prepare_program(parts: _Parts, cut: Cut) -> Program:
    """Latents, words, noise and timestep to the hidden tensor, by the net without an adapter."""
    net, schedule = parts.net, parts.schedule

    @torch.no_grad()
    def function(latents: Tensor, text: Tensor, noise: Tensor, timestep: Tensor) -> tuple[Tensor]:
        noisy = add_noise(schedule, latents, noise, timestep)
        return (precompute(net, cut, noisy, timestep, text),)

    return Program(
        "prepare",
        function,
        _sample_specs(parts),
        _hidden_spec(parts),
        lambda seed: _sample_example(parts, seed),
    )


def _train_step_program(parts: _Parts) -> Program:
    """One call of training: loss, gradient and update as one function of the state."""
    net, cut, schedule, layout = parts.net, parts.cut, parts.schedule, parts.layout
    optimizer, recompute = parts.optimizer(), parts.config.recompute == "block"

    def loss_of(
        latents: Tensor, text: Tensor, hidden: Tensor | None, noise: Tensor, timestep: Tensor
    ) -> Tensor:
        noisy = add_noise(schedule, latents, noise, timestep)
        if cut is None or hidden is None:
            estimate = predict(net, noisy, timestep, text, recompute=recompute)
        else:
            estimate = predict_hollow(net, cut, noisy, timestep, text, hidden, recompute=recompute)
        difference = estimate - training_target(schedule, latents, noise, timestep)
        return (difference * difference).reshape(-1).mean(dim=0, keepdim=True)

    def function(*inputs: Tensor) -> tuple[Tensor, ...]:
        latents, text, *rest = inputs
        hidden = None if cut is None else rest.pop(0)
        noise, timestep, weight, rate, decay, bound, warmup, adapter, *state = rest
        leaves = {
            name: tensor.detach().requires_grad_()
            for name, tensor in unpack(layout, adapter).items()
        }
        with torch.enable_grad(), attached(net.model, layout, leaves):
            loss = loss_of(latents, text, hidden, noise, timestep) * weight
            gradients = torch.autograd.grad(loss, list(leaves.values()))
        with torch.no_grad():
            new, norm = optimizer.update(
                optimizer.state(adapter, *state),
                concatenate(gradients),
                Hyper(rate, decay, bound, warmup),
            )
        return loss.detach(), norm, *new.tensors()

    latents, text, noise, timestep = _sample_specs(parts)
    numbers = ("learning_rate", "weight_decay", "max_gradient_norm", "warmup_steps")
    state = tuple(
        TensorSpec(name, tensor.dtype, tensor.shape, f"state.{name}")
        for name, tensor in parts.tensors().items()
    )
    inputs = (
        latents,
        text,
        *_hidden_spec(parts),
        noise,
        timestep,
        TensorSpec("weight", "float32", (1,), "batch.weight"),
        *(TensorSpec(name, "float32", (1,), f"hyper.{name}") for name in numbers),
        *state,
    )
    outputs = (
        TensorSpec("loss", "float32", (1,), "loss"),
        TensorSpec("gradient_norm", "float32", (1,), "metric.gradient_norm"),
        *state,
    )
    return Program("train_step", function, inputs, outputs, _train_step_example(parts, inputs))


def _train_step_example(
    parts: _Parts, inputs: tuple[TensorSpec, ...]
) -> Callable[[int], tuple[Tensor, ...]]:
    """The first step of training, but with an adapter that already does something."""
    hyper = {"learning_rate": 1e-3, "weight_decay": 0.01, "max_gradient_norm": 1.0}
    dtypes = {"float32": torch.float32, "int64": torch.int64}

    def example(seed: int) -> tuple[Tensor, ...]:
        latents, text, noise, timestep = _sample_example(parts, seed)
        known = {"latents": latents, "text_states": text, "noise": noise, "timestep": timestep}
        known |= {"weight": torch.ones(1), programs.ADAPTER: parts.example_adapter(seed)}
        known |= {name: torch.tensor([value]) for name, value in hyper.items()}
        if parts.cut is not None:
            function = _prepare_program(parts, parts.cut).function
            (known[HIDDEN],) = function(latents, text, noise, timestep)
        # Distinct objects: tracing takes one tensor given twice for one input.
        return tuple(
            known[spec.name]
            if spec.name in known
            else torch.zeros(spec.shape, dtype=dtypes[spec.dtype])
            for spec in inputs
        )

    return example


METHOD = Method(
    paper="Hollowed Net for On-Device Personalization of Text-to-Image Diffusion Models"
    " (Cho et al., NeurIPS 2024, arXiv:2411.01179)",
    config=Config,
    export=export,
)
