"""Hollowed Net on the starter: against diffusers' full net, PEFT and plain autograd."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, StableDiffusionPipeline
from peft import LoraConfig
from torch import Tensor
from transformers import CLIPTokenizer

from pockettune.adapter import attached, layout_of, unpack
from pockettune.errors import ConfigInvalid, CutIllegal
from pockettune.method import MethodExport
from pockettune.methods.hollowed_net import Config, export
from pockettune.models.pipeline import Pipeline, load_pipeline
from pockettune.nn.schedule import NoiseSchedule, sampler_timesteps
from pockettune.nn.unet import legal_cuts, units_of
from pockettune.optimizer import BETA1
from pockettune.program import Program

CUTS = ("A", "B", "C", "D", "none")
NO_CLIPPING = torch.tensor([1e30])


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load_pipeline("starter")


def program(parts: MethodExport, name: str) -> Program:
    return next(entry for entry in parts.programs if entry.name == name)


def named(found: Program, seed: int = 0, **changes: Tensor) -> dict[str, Tensor]:
    """Example inputs by name, with changes."""
    names = [spec.name for spec in found.inputs]
    values = dict(zip(names, found.example(seed), strict=True))
    assert changes.keys() <= values.keys()
    return values | changes


def run(found: Program, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    outputs = found.function(*inputs.values())
    return dict(zip((spec.name for spec in found.outputs), outputs, strict=True))


@pytest.mark.parametrize(
    ("cut", "optimizer"),
    [("A", "sgd"), ("B", "adamw"), ("C", "sgd"), ("D", "adamw"), ("none", "sgd")],
)
def test_programs_do_what_they_declare(pipeline: Pipeline, cut: str, optimizer: str) -> None:
    config = Config(cut=cut, optimizer=optimizer, accumulation=2, schedule="cosine")
    parts = export(pipeline, config)
    for entry in parts.programs:
        values = entry.example(0)
        outputs = entry.function(*values)
        for specs, tensors in ((entry.inputs, values), (entry.outputs, outputs)):
            assert len({id(tensor) for tensor in tensors}) == len(specs)
            for spec, tensor in zip(specs, tensors, strict=True):
                assert (spec.shape, f"torch.{spec.dtype}") == (tensor.shape, str(tensor.dtype))
                assert not tensor.requires_grad
                assert not tensor.is_floating_point() or tensor.isfinite().all()
        for spec in (*entry.inputs, *entry.outputs):
            kind, _, name = spec.binding.partition(".")
            known: Any = {"state": parts.tensors, "cache": parts.caches}.get(kind)
            assert known is None or (spec.dtype, spec.shape) == (
                known[name].dtype,
                known[name].shape,
            )
            if kind == "hyper" and name not in ("timestep", "previous_timestep"):
                assert name in parts.training["hyper"] | parts.generation["hyper"]
    names = {entry.name for entry in parts.programs}
    assert names == {*parts.preparation, "train_step", "denoise", "decode"}
    assert ("prepare" in names) == (cut != "none")
    json.dumps([parts.training, parts.generation, parts.text, parts.image, parts.facts])


@pytest.mark.parametrize("cut", CUTS)
def test_the_first_step_is_that_of_the_full_net(pipeline: Pipeline, cut: str) -> None:
    """The loss before training is the full net's of diffusers, for every cut."""
    parts = export(pipeline, Config(cut=cut))
    step = program(parts, "train_step")
    values = named(step, adapter=parts.tensors["adapter"].initial)
    scheduler = DDIMScheduler.from_config(dict(pipeline.scheduler))
    latents, noise, timestep = values["latents"], values["noise"], values["timestep"]
    with torch.no_grad():
        noisy = scheduler.add_noise(latents, noise, timestep)
        estimate = pipeline.unet(noisy, timestep, values["text_states"]).sample
    expected = F.mse_loss(estimate, scheduler.get_velocity(latents, noise, timestep))
    torch.testing.assert_close(run(step, values)["loss"], expected.reshape(1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("cut", ["B", "D", "none"])
def test_gradients_are_those_of_peft(pipeline: Pipeline, cut: str) -> None:
    """PEFT's layers in diffusers' own forward; the hollow's output is replaced by the stored one,
    whole blocks of these cuts make that a hook on one module."""
    parts = export(pipeline, Config(cut=cut, rank=3, alpha=6, recompute="block"))
    step = program(parts, "train_step")
    values = named(step, max_gradient_norm=NO_CLIPPING)
    after = run(step, values)
    net, reference = units_of(pipeline.unet), load_pipeline("starter").unet
    kept = [name.removeprefix("unet.") for name in parts.facts["targets"]]
    reference.add_adapter(LoraConfig(r=3, lora_alpha=6, target_modules=kept))
    parameters = dict(reference.named_parameters())
    layout = layout_of(pipeline.unet, ("to_q", "to_k", "to_v", "to_out.0"), 3, 6, _within(net, cut))
    leaves = {}
    with torch.no_grad():
        for name, tensor in unpack(layout, values["adapter"]).items():
            path = name.removeprefix("unet.").removesuffix(".weight") + ".default.weight"
            parameters[path].copy_(tensor)
            leaves[name] = parameters[path]
    if cut != "none":
        hole = legal_cuts(net)[cut]
        last = reference.get_submodule(net.units[hole.resume - 1].name)
        last.register_forward_hook(lambda module, inputs, output: values["hidden"])
    scheduler = DDIMScheduler.from_config(dict(pipeline.scheduler))
    latents, noise, timestep = values["latents"], values["noise"], values["timestep"]
    estimate = reference(
        scheduler.add_noise(latents, noise, timestep), timestep, values["text_states"]
    ).sample
    loss = F.mse_loss(estimate, scheduler.get_velocity(latents, noise, timestep))
    expected = torch.autograd.grad(loss, list(leaves.values()))
    torch.testing.assert_close(after["loss"], loss.detach().reshape(1), rtol=1e-5, atol=0)
    found = unpack(layout, after["moment1"] / (1 - BETA1))
    for name, gradient in zip(leaves, expected, strict=True):
        error = (found[name] - gradient).norm() / gradient.norm()
        assert error < 1e-4, name
    norm = torch.cat([gradient.flatten() for gradient in expected]).norm()
    torch.testing.assert_close(after["gradient_norm"], norm.reshape(1), rtol=1e-4, atol=0)


def _within(net: Any, cut: str) -> list[str]:
    if cut == "none":
        return [unit.name for unit in net.units]
    hole = legal_cuts(net)[cut]
    return [unit.name for unit in (*net.units[: hole.stop], *net.units[hole.resume :])]


def test_recomputation_changes_nothing(pipeline: Pipeline) -> None:
    states = []
    for recompute in ("block", "none"):
        step = program(export(pipeline, Config(cut="C", recompute=recompute)), "train_step")
        states.append(run(step, named(step)))
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=1e-5, atol=1e-8)


def test_prior_preservation_is_the_sum_of_dreambooth(pipeline: Pipeline) -> None:
    """An instance and a class sample by accumulation: the gradient of L_i + w L_c, then one update
    (DreamBooth, arXiv 2208.12242, equation 2)."""
    single = program(export(pipeline, Config(cut="C")), "train_step")
    double = program(export(pipeline, Config(cut="C", accumulation=2)), "train_step")
    weight = torch.tensor([0.7])
    gradients, losses = [], []
    for seed, scale in ((1, torch.ones(1)), (2, weight)):
        adapter = named(single)["adapter"]
        plain = named(single, seed, adapter=adapter, max_gradient_norm=NO_CLIPPING)
        after = run(single, plain)
        gradients.append(after["moment1"] / (1 - BETA1) * scale)
        losses.append(after["loss"] * scale)
    state = {name: value for name, value in named(double).items() if name in STATE}
    for seed, scale in ((1, torch.ones(1)), (2, weight)):
        values = named(double, seed, weight=scale, max_gradient_norm=NO_CLIPPING, **state)
        after = run(double, values)
        state = {name: after[name] for name in STATE}
        torch.testing.assert_close(after["loss"], losses.pop(0), rtol=1e-6, atol=0)
    expected = sum(gradients) * (1 - BETA1)
    torch.testing.assert_close(after["moment1"], expected, rtol=1e-4, atol=1e-9)
    assert not torch.equal(after["adapter"], named(double)["adapter"])
    assert not after["accumulator"].any()


STATE = ("adapter", "moment1", "moment2", "accumulator", "step")


def test_export_leaves_the_pipeline_as_it_was(pipeline: Pipeline) -> None:
    before = {name: id(module) for name, module in pipeline.unet.named_modules()}
    first = export(pipeline, Config(seed=3)).tensors["adapter"].initial
    second = export(pipeline, Config(seed=3)).tensors["adapter"].initial
    other = export(pipeline, Config(seed=4)).tensors["adapter"].initial
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    step = program(export(pipeline, Config()), "train_step")
    step.function(*step.example(0))
    assert {name: id(module) for name, module in pipeline.unet.named_modules()} == before
    assert not any(module._forward_hooks for module in pipeline.unet.modules())


def test_words_and_pictures_are_encoded_as_diffusers_does(pipeline: Pipeline) -> None:
    parts = export(pipeline, Config())
    encode_text, encode_image = program(parts, "encode_text"), program(parts, "encode_image")
    (ids,), (pixels,) = encode_text.example(0), encode_image.example(0)
    with torch.no_grad():
        (states,) = encode_text.function(ids)
        expected = pipeline.text_encoder(ids)[0]
        torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-5)
        (latents,) = encode_image.function(pixels)
        mean = pipeline.vae.encode(pixels).latent_dist.mean
        torch.testing.assert_close(latents, mean * pipeline.vae.config.scaling_factor)
        (image,) = program(parts, "decode").function(latents)
        decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
        torch.testing.assert_close(image, decoded.clamp(-1, 1))


def test_pictures_are_those_of_diffusers(pipeline: Pipeline) -> None:
    """Five steps of ``denoise`` with an adapter against StableDiffusionPipeline's own loop."""
    parts = export(pipeline, Config(cut="C"))
    encode, denoise = program(parts, "encode_text"), program(parts, "denoise")
    prompt, length = "a red car", parts.text["max_length"]
    ids = pipeline.tokenizer(
        prompt, padding="max_length", max_length=length, return_tensors="pt"
    ).input_ids
    (conditional,) = encode.function(ids)
    (unconditional,) = encode.function(torch.tensor([parts.text["unconditional_ids"]]))
    picture = torch.randn(pipeline.latent_shape, generator=torch.Generator().manual_seed(2))
    adapter = named(denoise)["adapter"]
    scheduler = DDIMScheduler.from_config(dict(pipeline.scheduler))
    reference = StableDiffusionPipeline(
        vae=pipeline.vae,
        text_encoder=pipeline.text_encoder,
        tokenizer=pipeline.tokenizer,
        unet=pipeline.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    reference.set_progress_bar_config(disable=True)
    kept = _within(units_of(pipeline.unet), "C")
    layout = layout_of(pipeline.unet, ("to_q", "to_k", "to_v", "to_out.0"), 4, 4, kept)
    assert layout.views == parts.tensors["adapter"].views
    with torch.no_grad(), attached(pipeline.unet, layout, unpack(layout, adapter)):
        expected = reference(
            prompt,
            num_inference_steps=5,
            guidance_scale=4.0,
            latents=picture.clone(),
            output_type="latent",
        ).images
    schedule = NoiseSchedule.from_config(pipeline.scheduler)
    for times in sampler_timesteps(schedule, 5):
        time, previous = (torch.tensor([value]) for value in times)
        (picture,) = denoise.function(
            picture, conditional, unconditional, time, previous, torch.tensor([4.0]), adapter
        )
    torch.testing.assert_close(picture, expected, rtol=1e-3, atol=1e-3)


def test_the_bundle_s_tokenizer_is_the_model_s(pipeline: Pipeline, tmp_path: Path) -> None:
    parts = export(pipeline, Config())
    for name, content in parts.files.items():
        (tmp_path / Path(name).name).write_bytes(content)
    rebuilt = CLIPTokenizer(vocab=str(tmp_path / "vocab.json"), merges=str(tmp_path / "merges.txt"))
    for text in ("a photo of sks frog", "Zwölf Boxkämpfer!", "", "it's 12 o'clock"):
        assert rebuilt(text).input_ids == pipeline.tokenizer(text).input_ids
    assert set(parts.text["tokenizer"].values()) == set(parts.files)
    start, end, *padding = parts.text["unconditional_ids"]
    assert [start, end] == pipeline.tokenizer("").input_ids
    assert set(padding) == {pipeline.tokenizer.pad_token_id}


def test_facts_add_up(pipeline: Pipeline) -> None:
    facts = export(pipeline, Config(cut="B", rank=2)).facts
    sizes = facts["parameters"]
    assert sizes["kept"] + sizes["removed"] == sizes["total"]
    assert sizes["total"] == sum(p.numel() for p in pipeline.unet.parameters())
    assert facts["hidden_shape"] == (1, 192, 8, 8)
    assert facts["legal_cuts"] == list(CUTS)
    assert not any(name.startswith("mid_block") for name in facts["targets"])
    assert facts["alpha"] == facts["rank"] == 2


def test_what_cannot_be_exported_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(CutIllegal, match="choose one of A, B, C, D, none"):
        export(pipeline, Config(cut="E"))
    with pytest.raises(ConfigInvalid, match="'targets' cannot be 'to_w'"):
        export(pipeline, Config(targets=("to_w",)))


def subject() -> Tensor:
    """Two pictures of a red disc with a white square, which no concept of the starter is."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    pictures = []
    for background, shift in ((-0.2, 0.1), (0.6, -0.1)):
        picture = torch.full((3, 64, 64), background)
        picture[:, (x - shift) ** 2 + y**2 < 0.4] = torch.tensor([0.9, -0.8, -0.8])[:, None]
        picture[:, ((x - shift).abs() < 0.2) & (y.abs() < 0.2)] = 1.0
        pictures.append(picture)
    return torch.stack(pictures)


@pytest.mark.e2e
@pytest.mark.parametrize("cut", ["B", "none"])
def test_forty_steps_learn_a_subject_that_the_full_net_then_knows(
    pipeline: Pipeline, cut: str
) -> None:
    parts = export(pipeline, Config(cut=cut, learning_rate=2e-3))
    step = program(parts, "train_step")
    length = parts.text["max_length"]
    ids = pipeline.tokenizer(
        "a sks toy", padding="max_length", max_length=length, return_tensors="pt"
    ).input_ids
    (text,) = program(parts, "encode_text").function(ids)
    photos = [program(parts, "encode_image").function(p[None])[0] for p in subject()]
    generator = torch.Generator().manual_seed(0)

    def sample(index: int) -> dict[str, Tensor]:
        latents = photos[index % 2]
        drawn = {
            "latents": latents,
            "text_states": text,
            "noise": torch.randn(latents.shape, generator=generator),
            "timestep": torch.randint(0, 1000, (1,), generator=generator),
        }
        if cut != "none":
            (drawn["hidden"],) = program(parts, "prepare").function(*drawn.values())
        return drawn

    held_out = [
        {**sample(index), "timestep": torch.tensor([50 + 90 * index])} for index in range(10)
    ]

    def loss_of_the_full_net(adapter: Tensor) -> float:
        """The mean over fixed samples of the full net with the hollow's adapter attached."""
        kept = _within(units_of(pipeline.unet), cut)
        layout = layout_of(pipeline.unet, ("to_q", "to_k", "to_v", "to_out.0"), 4, 4, kept)
        losses = []
        with torch.no_grad(), attached(pipeline.unet, layout, unpack(layout, adapter)):
            for drawn in held_out:
                latents, noise, timestep = drawn["latents"], drawn["noise"], drawn["timestep"]
                scheduler = DDIMScheduler.from_config(dict(pipeline.scheduler))
                noisy = scheduler.add_noise(latents, noise, timestep)
                estimate = pipeline.unet(noisy, timestep, text).sample
                target = scheduler.get_velocity(latents, noise, timestep)
                losses.append(F.mse_loss(estimate, target).item())
        return sum(losses) / len(losses)

    initial = parts.tensors["adapter"].initial
    assert initial is not None
    before = loss_of_the_full_net(initial)
    state = {"adapter": initial}
    losses = []
    for index in range(40):
        after = run(step, named(step, **sample(index), **state))
        state = {name: after[name] for name in ("adapter", "moment1", "moment2", "step")}
        losses.append(after["loss"].item())
    assert all(math.isfinite(loss) for loss in losses)
    assert loss_of_the_full_net(state["adapter"]) < 0.9 * before
