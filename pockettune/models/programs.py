"""Programs of a text-to-image model that are the same for every method.

``encode_text`` and ``encode_image`` turn words and photos into what the net works on, ``denoise``
is one sampling step with guidance, ``decode`` turns latents into a picture. A method adds its own
preparation and training programs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pockettune.adapter import AdapterLayout, attached, unpack
from pockettune.method import Cache
from pockettune.models.pipeline import Pipeline
from pockettune.nn.schedule import NoiseSchedule, ddim_step
from pockettune.nn.unet import UNetUnits, predict
from pockettune.program import Program, TensorSpec

__all__ = [
    "ADAPTER",
    "LATENTS",
    "PICTURE",
    "TEXT_STATES",
    "caches_of",
    "decode_program",
    "denoise_program",
    "encode_image_program",
    "encode_text_program",
    "generation_of",
    "latents_spec",
    "text_of",
    "text_states_spec",
    "tokenizer_files",
]

ADAPTER, LATENTS, PICTURE, TEXT_STATES = "adapter", "latents", "picture", "text_states"

_VOCABULARY, _MERGES = "tokenizer/vocab.json", "tokenizer/merges.txt"
# The stream of a picture's first latents: spec/random.md.
_PICTURE_STREAM = 4


def caches_of(pipeline: Pipeline) -> dict[str, Cache]:
    """The caches that these programs read and write."""
    latent_shape = pipeline.latent_shape
    first = {"binding": "random.normal", "stream": _PICTURE_STREAM}
    return {
        TEXT_STATES: Cache("float32", _text_shape(pipeline), "float32", "prompt"),
        LATENTS: Cache("float32", latent_shape, "float32", "photo"),
        PICTURE: Cache("float32", latent_shape, "float32", "picture", first),
    }


def text_of(pipeline: Pipeline) -> dict[str, Any]:
    """The manifest's ``text`` member."""
    length = pipeline.max_length
    empty = pipeline.tokenizer("", padding="max_length", max_length=length, truncation=True)
    return {
        "max_length": length,
        "tokenizer": {"vocab": _VOCABULARY, "merges": _MERGES},
        "unconditional_ids": [int(token) for token in empty.input_ids],
    }


def tokenizer_files(pipeline: Pipeline) -> dict[str, bytes]:
    """Vocabulary and merges in CLIP's own two files, whatever files the model came with."""
    model = json.loads(pipeline.tokenizer.backend_tokenizer.to_str())["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    vocabulary = json.dumps(model["vocab"], ensure_ascii=False, separators=(",", ":"))
    return {
        _VOCABULARY: vocabulary.encode(),
        _MERGES: "\n".join(["#version: 0.2", *merges, ""]).encode(),
    }


def generation_of(schedule: NoiseSchedule) -> dict[str, Any]:
    """The manifest's ``generation`` member."""
    return {
        "prompt_program": "encode_text",
        "step_program": "denoise",
        "output_program": "decode",
        "steps": 25,
        "train_timesteps": schedule.train_timesteps,
        "spacing": schedule.spacing,
        "steps_offset": schedule.steps_offset,
        "hyper": {"guidance": 4.0},
    }


def _text_shape(pipeline: Pipeline) -> tuple[int, int, int]:
    return 1, pipeline.max_length, int(pipeline.text_encoder.config.hidden_size)


def text_states_spec(
    pipeline: Pipeline, name: str = TEXT_STATES, prompt: str | None = None
) -> TensorSpec:
    """The specification of a prompt's text states as an input or output."""
    binding = f"cache.{TEXT_STATES}"
    return TensorSpec(name, "float32", _text_shape(pipeline), binding, prompt=prompt)


def encode_text_program(pipeline: Pipeline) -> Program:
    """``batch.input_ids`` int64 ``[1, tokens]`` to ``cache.text_states``: the last hidden states of
    the CLIP text encoder (arXiv 2103.00020), as Stable Diffusion uses them."""
    encoder, length = pipeline.text_encoder, pipeline.max_length
    vocabulary = int(encoder.config.vocab_size)
    # Each token sees itself and those before it. The lowest finite value serves as minus infinity,
    # since rows of minus infinity would be NaN in a softmax that subtracts maxima.
    lowest = torch.finfo(torch.float32).min
    mask = torch.full((1, 1, length, length), lowest).triu(1)

    @torch.no_grad()
    def function(input_ids: Tensor) -> tuple[Tensor]:
        hidden = encoder.embeddings(input_ids=input_ids)
        for layer in encoder.encoder.layers:
            hidden = layer(hidden, mask)
        return (encoder.final_layer_norm(hidden),)

    def example(seed: int) -> tuple[Tensor]:
        return (torch.randint(0, vocabulary, (1, length), generator=_generator(seed)),)

    return Program(
        "encode_text",
        function,
        (TensorSpec("input_ids", "int64", (1, length), "batch.input_ids"),),
        (text_states_spec(pipeline),),
        example,
    )


def encode_image_program(pipeline: Pipeline) -> Program:
    """``batch.pixels`` float32 ``[1, 3, H, W]`` in [-1, 1] to ``cache.latents``: the posterior's
    mean, shifted and scaled as the net expects."""
    vae, channels = pipeline.vae, pipeline.latent_shape[1]
    shape = (1, 3, *pipeline.image_size)
    shift, scale = _shift_and_scale(vae)

    @torch.no_grad()
    def function(pixels: Tensor) -> tuple[Tensor]:
        moments = vae.encoder(pixels)
        if vae.quant_conv is not None:
            moments = vae.quant_conv(moments)
        latents = moments[:, :channels]
        if shift:
            latents = latents - shift
        return (latents if scale == 1.0 else latents * scale,)

    return Program(
        "encode_image",
        function,
        (TensorSpec("pixels", "float32", shape, "batch.pixels"),),
        (latents_spec(pipeline),),
        lambda seed: (torch.rand(shape, generator=_generator(seed)) * 2 - 1,),
    )


def latents_spec(pipeline: Pipeline) -> TensorSpec:
    """The specification of a photo's latents as an input or output."""
    return TensorSpec(LATENTS, "float32", pipeline.latent_shape, f"cache.{LATENTS}")


def denoise_program(
    pipeline: Pipeline,
    net: UNetUnits,
    schedule: NoiseSchedule,
    layout: AdapterLayout,
    example_adapter: Callable[[int], Tensor],
) -> Program:
    """One step of the sampler on ``cache.picture`` with the adapter: both branches of
    classifier-free guidance (arXiv 2207.12598) as one batch of 2, then DDIM."""

    @torch.no_grad()
    def function(
        picture: Tensor,
        conditional: Tensor,
        unconditional: Tensor,
        timestep: Tensor,
        previous_timestep: Tensor,
        guidance: Tensor,
        adapter: Tensor,
    ) -> tuple[Tensor]:
        text = torch.cat([unconditional, conditional])
        with attached(net.model, layout, unpack(layout, adapter)):
            both = predict(net, torch.cat([picture, picture]), timestep, text)
        without, with_prompt = both[:1], both[1:]
        guided = without + (with_prompt - without) * guidance.reshape(1, 1, 1, 1)
        return (ddim_step(schedule, picture, guided, timestep, previous_timestep),)

    def example(seed: int) -> tuple[Tensor, ...]:
        generator = _generator(seed)
        text_shape, last = _text_shape(pipeline), schedule.train_timesteps
        timestep = torch.randint(last // 10, last, (1,), generator=generator)
        return (
            torch.randn(pipeline.latent_shape, generator=generator),
            torch.randn(text_shape, generator=generator),
            torch.randn(text_shape, generator=generator),
            timestep,
            timestep - last // 10,
            torch.tensor([4.0]),
            example_adapter(seed),
        )

    picture = TensorSpec(PICTURE, "float32", pipeline.latent_shape, f"cache.{PICTURE}")
    inputs = (
        picture,
        text_states_spec(pipeline, "conditional", "conditional"),
        text_states_spec(pipeline, "unconditional", "unconditional"),
        TensorSpec("timestep", "int64", (1,), "hyper.timestep"),
        TensorSpec("previous_timestep", "int64", (1,), "hyper.previous_timestep"),
        TensorSpec("guidance", "float32", (1,), "hyper.guidance"),
        TensorSpec(ADAPTER, "float32", (layout.size,), f"state.{ADAPTER}"),
    )
    return Program("denoise", function, inputs, (picture,), example)


def decode_program(pipeline: Pipeline) -> Program:
    """``cache.picture`` to ``output.image``, float32 ``[1, 3, H, W]``, clamped to [-1, 1]."""
    vae = pipeline.vae
    shift, scale = _shift_and_scale(vae)

    @torch.no_grad()
    def function(picture: Tensor) -> tuple[Tensor]:
        latents = picture if scale == 1.0 else picture / scale
        if shift:
            latents = latents + shift
        if vae.post_quant_conv is not None:
            latents = vae.post_quant_conv(latents)
        return (vae.decoder(latents).clamp(-1.0, 1.0),)

    shape = pipeline.latent_shape
    return Program(
        "decode",
        function,
        (TensorSpec(PICTURE, "float32", shape, f"cache.{PICTURE}"),),
        (TensorSpec("image", "float32", (1, 3, *pipeline.image_size), "output.image"),),
        lambda seed: (torch.randn(shape, generator=_generator(seed)) * scale,),
    )


def _shift_and_scale(vae: Any) -> tuple[float, float]:
    return float(vae.config.get("shift_factor") or 0.0), float(vae.config.scaling_factor)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
