"""The stage that takes the time: U-Net and text encoder learn to denoise captioned latents.

The loss is that of v-prediction (Salimans and Ho, "Progressive Distillation for Fast Sampling of
Diffusion Models", arXiv 2202.00512, eq. 12) on a schedule whose last step holds no signal (Lin et
al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", arXiv 2305.08891): without
that, the model could not learn that the prompt alone decides the background's color.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel

__all__ = ["Pairs", "Plan", "rate", "timesteps", "train"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast one run learns."""

    steps: int
    batch: int = 16
    peak_rate: float = 2e-3
    warm_up: int = 400  # steps
    flat_share: float = 0.4  # of the steps at the peak rate; then a cosine to 2 % of it
    average: float = 0.9985  # weight of the past in the moving average, per step
    checkpoint_every: int = 200  # steps; 0 = never
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Pairs:
    """Captioned latents."""

    latents: Tensor  # (N, 4, 16, 16) float16
    tokens: Tensor  # (N, T) int64
    weights: Tensor  # (N): how often each is drawn, relative to the others


def rate(plan: Plan, step: int) -> float:
    """Learning rate at a step: linear warm-up, flat, cosine."""
    past = max(0.0, (step / plan.steps - plan.flat_share) / (1 - plan.flat_share))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, past)))
    return plan.peak_rate * min(1.0, (step + 1) / plan.warm_up) * (0.02 + 0.98 * cosine)


def timesteps(count: int, levels: int, generator: torch.Generator) -> Tensor:
    """`count` timesteps spread evenly over all levels, leaning to the noisy end (exponent 0.8).

    Stratified, because a batch of 16 independent draws leaves gaps that make the loss jump.
    """
    even = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    return (even**0.8 * levels).long().clamp(0, levels - 1)


def train(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    scheduler: DDIMScheduler,
    pairs: Pairs,
    plan: Plan,
    checkpoint: Path,
    report: Callable[[int, float], None],
) -> None:
    """Train both nets in place; at the end they hold the moving average of their weights.

    A run that finds `checkpoint` goes on from it; the state is replaced as a whole, so that a kill
    at any moment costs at most `checkpoint_every` steps. `report` is told step and loss.
    """
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, lr=plan.peak_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    average = [parameter.detach().clone() for parameter in parameters]
    generator = torch.Generator().manual_seed(plan.seed)
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        first = state["step"]
        with torch.no_grad():
            for parameter, value in zip(parameters, state["weights"], strict=True):
                parameter.copy_(value)
        average = state["average"]
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])

    signal = scheduler.alphas_cumprod.sqrt()
    noise_level = (1 - scheduler.alphas_cumprod).sqrt()
    unet.train()
    text_encoder.train()
    for step in range(first, plan.steps):
        rows = torch.multinomial(pairs.weights, plan.batch, generator=generator)
        latents = pairs.latents[rows].float()
        noise = torch.randn(latents.shape, generator=generator)
        at = timesteps(plan.batch, len(signal), generator)
        a, b = signal[at].view(-1, 1, 1, 1), noise_level[at].view(-1, 1, 1, 1)
        states = text_encoder(pairs.tokens[rows])[0]
        predicted = unet(a * latents + b * noise, at, states).sample
        loss = functional.mse_loss(predicted, a * noise - b * latents)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate(plan, step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        decay = min(
            plan.average, (1 + step) / (20 + step)
        )  # the first steps should be forgotten soon
        torch._foreach_lerp_(average, [parameter.detach() for parameter in parameters], 1 - decay)
        done = step + 1
        if plan.checkpoint_every and done % plan.checkpoint_every == 0:
            _save(checkpoint, done, parameters, average, optimizer, generator)
        report(done, loss.item())

    with torch.no_grad():
        for parameter, value in zip(parameters, average, strict=True):
            parameter.copy_(value)
    unet.eval()
    text_encoder.eval()


def _save(
    path: Path,
    step: int,
    parameters: Sequence[Tensor],
    average: Sequence[Tensor],
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    state = {
        "step": step,
        "weights": [parameter.detach() for parameter in parameters],
        "average": list(average),
        "optimizer": optimizer.state_dict(),
        "generator": generator.get_state(),
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)
