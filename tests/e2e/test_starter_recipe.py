"""The starter's recipe from nothing to a pipeline, on fabricated pictograms and a few steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

from pockettune.models.starter import concepts
from pockettune.models.starter.recipe import STAGES, progress, start_from
from pockettune.models.starter.workspace import Schedule, Workspace

pytestmark = pytest.mark.e2e

SCHEDULE = Schedule(views=1, autoencoder_steps=2, first_steps=2, all_steps=2, decoder_steps=2)


def fabricate_packages(folder: Path) -> None:
    """What npm would have brought: a disk of some color for every concept, in both styles."""
    assets = folder / "3d/package/assets"
    flat = folder / "flat/package"
    for path in (assets, flat):
        path.mkdir(parents=True)
    codes = [*concepts.ALL.values(), *concepts.HELD_OUT.values()]
    icons = {}
    for index, code in enumerate(codes):
        color = f"hsl({index * 7 % 360}, 80%, 50%)"
        image = Image.new("RGBA", (40, 40))
        ImageDraw.Draw(image).ellipse((2, 2, 37, 37), fill=color)
        image.save(assets / f"{code}.webp", lossless=True)
        icons[code] = {"body": f'<circle cx="16" cy="16" r="12" fill="{color}"/>'}
    (flat / "icons.json").write_text(json.dumps({"icons": icons}))
    (flat / "chars.json").write_text(json.dumps({code: code for code in codes}))


def run_until(work: Workspace, last: str) -> None:
    for stage in STAGES:
        if not stage.output(work).exists():
            with progress() as bars:
                stage.run(work, bars)
        assert stage.output(work).exists(), stage.name
        if stage.name == last:
            return


def test_every_stage_makes_its_output_and_the_pipeline_draws(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    work = Workspace(tmp_path / "work", SCHEDULE)
    fabricate_packages(work.packages)
    run_until(work, "model")

    images, latents = np.load(work.images), np.load(work.latents)
    assert images.shape == (2 * len(concepts.ALL), 64, 64, 3)
    assert latents.shape == (len(images), 4, 16, 16)
    assert not list(work.folder.glob("*partial*"))
    assert not list(work.folder.glob("*.pt"))
    for path in work.model.rglob("*.json"):
        assert str(tmp_path) not in path.read_text(), path
    pipeline = StableDiffusionPipeline.from_pretrained(work.model, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("a frog", num_inference_steps=2, height=64, width=64).images[0]
    assert picture.size == (64, 64)

    # Another run can start from this one's result, and then makes neither vocabulary nor
    # autoencoder, nor the first U-Net.
    other = Workspace(tmp_path / "other", SCHEDULE)
    other.folder.mkdir()
    start_from(other, work.model, "the run before")
    made = {stage.name for stage in STAGES if stage.output(other).exists()}
    assert made == {"tokenizer", "autoencoder", "first"}
    assert other.record()["start"] == {"note": "the run before"}
