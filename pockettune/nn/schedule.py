"""The noise schedule, training targets and the sampler, as table look-ups.

With abar the cumulative products of ``1 - beta`` (DDPM, arXiv 2006.11239):

- noised sample: ``x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps``;
- targets: ``eps``, or ``v = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0`` (arXiv 2202.00512);
- DDIM without added noise (arXiv 2010.02502, equation 12 at eta = 0):
  ``x_prev = sqrt(abar_prev) x_0 + sqrt(1 - abar_prev) eps`` with both estimated from x_t;
- zero terminal SNR: betas rescaled so that ``abar_T = 0`` (arXiv 2305.08891, algorithm 1).

The square roots are constants: a program looks them up by timestep. Entry 0 of a table belongs to
timestep -1, which stands for every timestep below 0: the end of sampling.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pockettune.errors import ModelUnsupported

__all__ = ["NoiseSchedule", "add_noise", "ddim_step", "sampler_timesteps", "training_target"]

_BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
_PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """``signal`` and ``noise`` are ``sqrt(abar)`` and ``sqrt(1 - abar)``, float32
    ``[train_timesteps + 1]``, entry t + 1 for timestep t. ``prediction`` is what the net
    estimates: "epsilon" or "v_prediction"."""

    signal: Tensor
    noise: Tensor
    train_timesteps: int
    prediction: str
    spacing: str
    steps_offset: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> NoiseSchedule:
        """From the ``scheduler_config.json`` of a diffusers pipeline.

        Any scheduler class serves: the betas are the same, the sampler is always DDIM. A spacing
        other than "trailing" becomes "leading". Raises ModelUnsupported for unknown betas or
        predictions.
        """
        prediction = config.get("prediction_type", "epsilon")
        if prediction not in _PREDICTIONS:
            raise ModelUnsupported("scheduler.prediction_type", prediction, _PREDICTIONS)
        cumulative = torch.cumprod(1.0 - _betas(config), dim=0)
        ends_clean = config.get("set_alpha_to_one", True)
        final = torch.ones(1) if ends_clean else cumulative[:1]
        cumulative = torch.cat([final, cumulative])
        spacing = config.get("timestep_spacing", "leading")
        return cls(
            signal=cumulative.sqrt(),
            noise=(1.0 - cumulative).sqrt(),
            train_timesteps=len(cumulative) - 1,
            prediction=prediction,
            spacing="trailing" if spacing == "trailing" else "leading",
            steps_offset=int(config.get("steps_offset", 0)),
        )

    def at(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise factors, float32 ``[1, 1, 1, 1]``, at ``timestep``, int64 ``[1]``."""
        row = timestep.clamp(-1, self.train_timesteps - 1) + 1
        signal = self.signal.index_select(0, row).reshape(1, 1, 1, 1)
        noise = self.noise.index_select(0, row).reshape(1, 1, 1, 1)
        return signal, noise


def _betas(config: Mapping[str, Any]) -> Tensor:
    trained = config.get("trained_betas")
    kind = config.get("beta_schedule", "linear")
    steps = int(config.get("num_train_timesteps", 1000))
    start, end = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    if trained is not None:
        betas = torch.tensor(trained, dtype=torch.float32)
    elif kind == "linear":
        betas = torch.linspace(start, end, steps, dtype=torch.float32)
    elif kind == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float32) ** 2
    elif kind == "squaredcos_cap_v2":
        curve = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
        ratios = [1 - curve[i + 1] / curve[i] for i in range(steps)]
        betas = torch.tensor([min(ratio, 0.999) for ratio in ratios], dtype=torch.float32)
    else:
        raise ModelUnsupported("scheduler.beta_schedule", kind, _BETA_SCHEDULES)
    return _zero_terminal_snr(betas) if config.get("rescale_betas_zero_snr") else betas


def _zero_terminal_snr(betas: Tensor) -> Tensor:
    """Betas whose last cumulative product is 0 and whose first is unchanged."""
    root = torch.cumprod(1.0 - betas, dim=0).sqrt()
    root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    cumulative = root**2
    alphas = torch.cat([cumulative[:1], cumulative[1:] / cumulative[:-1]])
    return 1.0 - alphas


def add_noise(schedule: NoiseSchedule, latents: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    """``x_t`` from ``x_0`` and ``eps``, all of one shape; ``timestep`` int64 ``[1]``."""
    signal_factor, noise_factor = schedule.at(timestep)
    return latents * signal_factor + noise * noise_factor


def training_target(
    schedule: NoiseSchedule, latents: Tensor, noise: Tensor, timestep: Tensor
) -> Tensor:
    """What the net should predict for ``add_noise`` of the same arguments."""
    if schedule.prediction == "epsilon":
        return noise
    signal_factor, noise_factor = schedule.at(timestep)
    return noise * signal_factor - latents * noise_factor


def ddim_step(
    schedule: NoiseSchedule,
    sample: Tensor,
    prediction: Tensor,
    timestep: Tensor,
    previous_timestep: Tensor,
) -> Tensor:
    """The sample at ``previous_timestep`` (negative: the end) from that at ``timestep``."""
    signal, noise = schedule.at(timestep)
    if schedule.prediction == "epsilon":
        clean, direction = (sample - prediction * noise) / signal, prediction
    else:
        clean = sample * signal - prediction * noise
        direction = prediction * signal + sample * noise
    previous_signal, previous_noise = schedule.at(previous_timestep)
    return clean * previous_signal + direction * previous_noise


def sampler_timesteps(schedule: NoiseSchedule, steps: int) -> list[tuple[int, int]]:
    """(timestep, previous timestep) of each sampling step: ``spec/bundle.md``, section 5."""
    total = schedule.train_timesteps
    stride = total // steps
    if schedule.spacing == "trailing":
        # Python's round is half to even, as the specification asks.
        times = [round(total * (steps - i) / steps) - 1 for i in range(steps)]
    else:
        times = [(steps - 1 - i) * stride + schedule.steps_offset for i in range(steps)]
    return [(time, time - stride) for time in times]
