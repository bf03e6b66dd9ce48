"""Where a run of the recipe keeps what it has made, and the record of what it cost."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Schedule", "Workspace", "complete_folder"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How much each stage does; the defaults are an estimated six hours on one slow thread."""

    views: int = 200  # of each drawing
    autoencoder_steps: int = 3000
    first_steps: int = 9000  # on the first concepts alone
    all_steps: int = 3000  # on all concepts
    decoder_steps: int = 900
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Workspace:
    """One folder; every stage's output has a name here, and exists only when it is whole."""

    folder: Path
    schedule: Schedule

    @property
    def packages(self) -> Path:
        """The pictogram packages as npm has them."""
        return self.folder / "packages"

    @property
    def images(self) -> Path:
        """Views: (N, 64, 64, 3) uint8, npy."""
        return self.folder / "images.npy"

    @property
    def captions(self) -> Path:
        """JSON: `captions` and `concepts`, a string each for every view."""
        return self.folder / "captions.json"

    @property
    def tokenizer(self) -> Path:
        """Folder of the tokenizer."""
        return self.folder / "tokenizer"

    @property
    def autoencoder(self) -> Path:
        """Folder of the autoencoder whose latents the U-Net learns."""
        return self.folder / "autoencoder"

    @property
    def latents(self) -> Path:
        """Latents of the views: (N, 4, 16, 16) float16, npy."""
        return self.folder / "latents.npy"

    @property
    def first(self) -> Path:
        """Folder of U-Net and text encoder that know the first concepts."""
        return self.folder / "first"

    @property
    def all(self) -> Path:
        """Folder of U-Net and text encoder that know all concepts."""
        return self.folder / "all"

    @property
    def decoder(self) -> Path:
        """Folder of the autoencoder with the sharpened decoder."""
        return self.folder / "decoder"

    @property
    def model(self) -> Path:
        """Folder of the pipeline, float16: what is published."""
        return self.folder / "model"

    @property
    def evaluation(self) -> Path:
        """The acceptance figure and all answers."""
        return self.folder / "evaluation.json"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.folder / "MODEL_CARD.md"

    def record(self) -> dict[str, Any]:
        """What has been run so far: stage name to its facts."""
        path = self.folder / "record.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def note(self, stage: str, **facts: Any) -> None:
        """Add one stage's facts to the record."""
        known = self.record() | {stage: facts}
        partial = self.folder / "record.partial"
        partial.write_text(json.dumps(known, indent=1) + "\n")
        partial.replace(self.folder / "record.json")


@contextmanager
def complete_folder(path: Path) -> Iterator[Path]:
    """A folder to write to, which gets its name only when the block ends well."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    partial.rename(path)
