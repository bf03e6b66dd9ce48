"""Tables, targets and the sampler against diffusers' DDIMScheduler."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler

from pockettune.errors import ModelUnsupported
from pockettune.nn.schedule import (
    NoiseSchedule,
    add_noise,
    ddim_step,
    sampler_timesteps,
    training_target,
)

SD15 = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}
SD21 = SD15 | {"prediction_type": "v_prediction"}
STARTER = SD21 | {
    "set_alpha_to_one": True,
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}
COSINE = SD15 | {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 100}
LINEAR = SD15 | {"beta_schedule": "linear"}
TRAINED = SD15 | {"trained_betas": [0.001 * (i + 1) for i in range(50)], "num_train_timesteps": 50}
CONFIGS = {
    "sd15": SD15,
    "sd21": SD21,
    "starter": STARTER,
    "cosine": COSINE,
    "linear": LINEAR,
    "trained": TRAINED,
}


def draw(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 1, 4, 6, 6, generator=generator).unbind()


@pytest.mark.parametrize("name", CONFIGS)
def test_noise_and_targets_are_those_of_diffusers(name: str) -> None:
    schedule, reference = NoiseSchedule.from_config(CONFIGS[name]), DDIMScheduler(**CONFIGS[name])
    latents, noise = draw()
    last = schedule.train_timesteps - 1
    for time in (0, last // 2, last):
        timestep = torch.tensor([time])
        expected = reference.add_noise(latents, noise, timestep)
        assert torch.equal(add_noise(schedule, latents, noise, timestep), expected)
        target = training_target(schedule, latents, noise, timestep)
        if schedule.prediction == "epsilon":
            assert torch.equal(target, noise)
        else:
            assert torch.equal(target, reference.get_velocity(latents, noise, timestep))


@pytest.mark.parametrize("name", ["sd15", "sd21", "starter"])
@pytest.mark.parametrize("steps", [1, 3, 7, 25, 50, 999, 1000])
def test_timesteps_are_those_of_diffusers(name: str, steps: int) -> None:
    schedule, reference = NoiseSchedule.from_config(CONFIGS[name]), DDIMScheduler(**CONFIGS[name])
    reference.set_timesteps(steps)
    expected = reference.timesteps.tolist()[:steps]
    found = sampler_timesteps(schedule, steps)
    assert [time for time, _ in found] == expected
    assert all(previous == time - 1000 // steps for time, previous in found)


@pytest.mark.parametrize("name", ["sd15", "sd21", "starter"])
def test_sampling_is_that_of_diffusers(name: str) -> None:
    schedule, reference = NoiseSchedule.from_config(CONFIGS[name]), DDIMScheduler(**CONFIGS[name])
    reference.set_timesteps(10)
    sample, _ = draw()
    expected = sample
    for seed, (time, previous) in enumerate(sampler_timesteps(schedule, 10)):
        prediction, _ = draw(seed + 1)
        expected = reference.step(prediction, time, expected).prev_sample
        times = torch.tensor([time]), torch.tensor([previous])
        sample = ddim_step(schedule, sample, prediction, *times)
    assert previous < 0
    torch.testing.assert_close(sample, expected, rtol=1e-4, atol=1e-5)


def test_a_timestep_beyond_the_table_is_its_last() -> None:
    """ "leading" with an offset and as many steps as timesteps asks for timestep 1000."""
    schedule = NoiseSchedule.from_config(SD15)
    latents, noise = draw()
    last, beyond = torch.tensor([999]), torch.tensor([1000])
    expected = add_noise(schedule, latents, noise, last)
    assert torch.equal(add_noise(schedule, latents, noise, beyond), expected)


def test_other_spacings_become_leading() -> None:
    assert NoiseSchedule.from_config(SD15 | {"timestep_spacing": "linspace"}).spacing == "leading"


@pytest.mark.parametrize(
    ("setting", "value"), [("prediction_type", "sample"), ("beta_schedule", "sigmoid")]
)
def test_unknown_settings_are_refused(setting: str, value: str) -> None:
    with pytest.raises(ModelUnsupported, match=setting):
        NoiseSchedule.from_config(SD15 | {setting: value})
