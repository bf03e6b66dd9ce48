"""An adapter that the Kotlin SDK trained, in diffusers as it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.synthetic import SIZES, write_model
from pockettune import random
from pockettune.bundle import open_bundle

ROOT = Path(__file__).parents[3]
PROMPT = "a sks frog"
SEED, STEPS, GUIDANCE = 5, 4, 3.0


def test_load_lora_weights_draws_the_picture_that_the_jvm_draws(
    desktop: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    from diffusers import StableDiffusionPipeline

    model, bundle = tmp_path / "model", tmp_path / "bundle"
    write_model(model, SIZES["tiny"], dtype=torch.float32)
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "export",
        "--model",
        model,
        "--out",
        bundle,
        "--cut",
        "A",
    ]
    subprocess.run([*command, "--bits", "32"], cwd=ROOT, check=True, capture_output=True)
    image = open_bundle(bundle).manifest["image"]
    shape = (2, 3, image["height"], image["width"])
    pixels = np.random.default_rng(0).uniform(-1, 1, shape).astype("<f4")
    pixels.tofile(tmp_path / "pixels")

    words = ("--bundle", bundle, "--prompt", PROMPT, "--out", tmp_path)
    desktop("personalize", *words, "--pixels", tmp_path / "pixels", "--steps", 20)
    how = ("--seed", SEED, "--steps", STEPS, "--guidance", GUIDANCE)
    pictures = {}
    for name, adapter in {"with": ("--adapter", "run"), "without": ()}.items():
        desktop("generate", *words, *how, *adapter, "--picture", tmp_path / name)
        pictures[name] = np.fromfile(tmp_path / name, np.uint8).reshape(*shape[2:], 3).astype(int)

    torch.set_num_threads(1)
    pipe = StableDiffusionPipeline.from_pretrained(model, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(tmp_path / "adapters", weight_name="run.safetensors")
    drawn = pipe(
        PROMPT,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        latents=torch.from_numpy(random.normal(SEED, 4, 0, (1, 4, 8, 8))),
        output_type="np",
    ).images[0]
    np.testing.assert_allclose(pictures["with"], drawn * 255, atol=1.0)
    assert abs(pictures["with"] - pictures["without"]).max() > 1
