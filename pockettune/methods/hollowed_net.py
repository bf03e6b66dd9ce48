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

from pockettune import checks
from pockettune.adapter import AdapterLayout, layout_of, metadata_of
from pockettune.errors import ConfigInvalid
from pockettune.method import Cache, Method, MethodExport
from pockettune.models import programs, training
from pockettune.models.pipeline import Pipeline
from pockettune.nn.schedule import NoiseSchedule, add_noise, training_target
from pockettune.nn.unet import (
    NO_CUT,
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
from pockettune.optimizer import Optimizer
from pockettune.program import Program, TensorSpec

__all__ = ["METHOD", "Config", "export"]

HIDDEN = "hidden"


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
            checks.integer(name, getattr(self, name), 1)
        checks.integer("seed", self.seed, 0, 2**64 - 1)
        checks.number("alpha", self.alpha, "a number of at least 0", lambda value: value >= 0)
        checks.number("learning_rate", self.learning_rate, "a number above 0", lambda x: x > 0)
        checks.choice("optimizer", self.optimizer, ("adamw", "sgd"))
        checks.choice("schedule", self.schedule, ("constant", "cosine"))
        checks.choice("recompute", self.recompute, ("block", "none"))
        names = isinstance(self.targets, tuple) and all(isinstance(n, str) for n in self.targets)
        if not names or not self.targets:
            raise ConfigInvalid("targets", self.targets, "names of linear layers")
        if not isinstance(self.cut, str):
            raise ConfigInvalid("cut", self.cut, (*"ABCD", NO_CUT))


def export(pipeline: Pipeline, config: Config) -> MethodExport:
    """The parts of a bundle. The pipeline is not changed, only used.

    Raises CutIllegal, ConfigInvalid or ModelUnsupported.
    """
    net = units_of(pipeline.unet)
    cut = cut_by_name(net, config.cut)
    schedule = NoiseSchedule.from_config(pipeline.scheduler)
    kept = [unit.name for unit in kept_units(net, cut)]
    layout = layout_of(net.model, config.targets, config.rank, config.alpha or config.rank, kept)
    updates = max(1, config.steps // config.accumulation)
    cosine = config.schedule == "cosine"
    optimizer = Optimizer(config.optimizer, config.accumulation, cosine, updates)
    initial = training.initial_adapter(layout, config.seed)
    caches = programs.caches_of(pipeline)
    prepare: tuple[Program, ...] = ()
    if cut is not None:
        shape = _hidden_shape(pipeline, net, cut)
        caches[HIDDEN] = Cache("float32", shape, "float16", "sample")
        prepare = (_prepare_program(pipeline, net, cut, schedule, caches[HIDDEN]),)
    encode = (programs.encode_text_program(pipeline), programs.encode_image_program(pipeline))
    train_step = training.train_step_program(
        net.model,
        layout,
        optimizer,
        _loss(net, cut, schedule, recompute=config.recompute == "block"),
        *_sample(pipeline, schedule, prepare),
    )
    denoise = programs.denoise_program(
        pipeline, net, schedule, layout, lambda seed: training.example_adapter(layout, seed)
    )
    return MethodExport(
        task="text_to_image",
        programs=(*encode, *prepare, train_step, denoise, programs.decode_program(pipeline)),
        tensors=training.state_tensors(layout, optimizer, initial),
        caches=caches,
        preparation=tuple(program.name for program in (*encode, *prepare)),
        training={
            "program": train_step.name,
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
        generation=programs.generation_of(schedule),
        text=programs.text_of(pipeline),
        image=dict(zip(("height", "width"), pipeline.image_size, strict=True)),
        adapter={"tensors": programs.ADAPTER, "metadata": metadata_of(layout)},
        files=programs.tokenizer_files(pipeline),
        facts=_facts(net, cut, layout) | {"hidden_shape": caches[HIDDEN].shape if cut else None},
    )


def _hidden_shape(pipeline: Pipeline, net: UNetUnits, cut: Cut) -> tuple[int, ...]:
    """Shape of the hidden tensor, found without computing it."""
    text_shape = programs.text_states_spec(pipeline).shape
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        sample = torch.empty(pipeline.latent_shape)
        timestep, text = torch.empty(1, dtype=torch.int64), torch.empty(text_shape)
        return tuple(precompute(net, cut, sample, timestep, text).shape)


def _prepare_program(
    pipeline: Pipeline, net: UNetUnits, cut: Cut, schedule: NoiseSchedule, hidden: Cache
) -> Program:
    """A sample to its hidden tensor, by the net without an adapter."""

    @torch.no_grad()
    def function(latents: Tensor, text: Tensor, noise: Tensor, timestep: Tensor) -> tuple[Tensor]:
        noisy = add_noise(schedule, latents, noise, timestep)
        return (precompute(net, cut, noisy, timestep, text),)

    return Program(
        "prepare",
        function,
        training.sample_specs(pipeline, schedule),
        (TensorSpec(HIDDEN, "float32", hidden.shape, f"cache.{HIDDEN}"),),
        lambda seed: training.sample_example(pipeline, schedule, seed),
    )


def _sample(
    pipeline: Pipeline, schedule: NoiseSchedule, prepare: tuple[Program, ...]
) -> tuple[tuple[TensorSpec, ...], Callable[[int], tuple[Tensor, ...]]]:
    """Inputs of the loss and examples of them; a hidden tensor comes third."""
    latents, text, *drawn = training.sample_specs(pipeline, schedule)
    hidden = [spec for program in prepare for spec in program.outputs]

    def example(seed: int) -> tuple[Tensor, ...]:
        values = training.sample_example(pipeline, schedule, seed)
        prepared = [tensor for program in prepare for tensor in program.function(*values)]
        return (*values[:2], *prepared, *values[2:])

    return (latents, text, *hidden, *drawn), example


def _loss(
    net: UNetUnits, cut: Cut | None, schedule: NoiseSchedule, *, recompute: bool
) -> Callable[..., Tensor]:
    """The mean squared error of the hollow (or, without a cut, the full) net on a sample, [1]."""

    def loss(latents: Tensor, text: Tensor, *rest: Tensor) -> Tensor:
        *hidden, noise, timestep = rest
        noisy = add_noise(schedule, latents, noise, timestep)
        if cut is None:
            estimate = predict(net, noisy, timestep, text, recompute=recompute)
        else:
            estimate = predict_hollow(net, cut, noisy, timestep, text, *hidden, recompute=recompute)
        difference = estimate - training_target(schedule, latents, noise, timestep)
        return (difference * difference).reshape(-1).mean(dim=0, keepdim=True)

    return loss


def _facts(net: UNetUnits, cut: Cut | None, layout: AdapterLayout) -> dict[str, Any]:
    total = sum(parameter.numel() for parameter in net.model.parameters())
    removed = 0 if cut is None else parameters_in(net.units[cut.stop : cut.resume])
    return {
        "parameters": {
            "total": total,
            "kept": total - removed,
            "removed": removed,
            "adapter": layout.size,
        },
        "cut": NO_CUT if cut is None else cut.name,
        "legal_cuts": [*legal_cuts(net), NO_CUT],
        "targets": list(layout.modules),
        "rank": layout.rank,
        "alpha": layout.alpha,
    }


METHOD = Method(
    paper="Hollowed Net for On-Device Personalization of Text-to-Image Diffusion Models"
    " (Cho et al., NeurIPS 2024, arXiv:2411.01179)",
    config=Config,
    export=export,
)
