"""The embedded text-to-image model: 64 px pictograms, Stable Diffusion 1.5's component classes, 20 MB."""

from pathlib import Path

__all__ = ["PATH"]

PATH: Path = Path(__file__).parent / "weights"
"""Folder of the pipeline in diffusers format: pass it to `StableDiffusionPipeline.from_pretrained`."""
