"""The embedded text-to-image model: pictograms of 64 px, in Stable Diffusion's format."""

from pathlib import Path

__all__ = ["PATH"]

PATH: Path = Path(__file__).parent / "weights"
"""Folder of the pipeline: what `StableDiffusionPipeline.from_pretrained` takes."""
