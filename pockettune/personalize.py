"""The two things a person does with a bundle: teach it a subject, and make pictures.

Photos and words become the runner's input files here; the work is done by the native runner
(``spec/runner.md``), which resumes by itself when it finds its own earlier states.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pockettune import tensor_file
from pockettune.bundle import Bundle
from pockettune.desktop_adapter import fitting_adapter
from pockettune.errors import ConfigInvalid
from pockettune.files import storage_errors
from pockettune.images import read_photos
from pockettune.prompts import DEFAULT_TEMPLATE, Tokenizer, fill_template
from pockettune.runner import Event, run

__all__ = ["Drawing", "Subject", "Training", "generate", "personalize", "tokenizer_of"]

_TASK = "text_to_image"


@dataclass(frozen=True, slots=True)
class Subject:
    """What the photos show: a rare word that will name it, and the word for its class."""

    word: str
    class_word: str
    template: str = DEFAULT_TEMPLATE

    @property
    def prompt(self) -> str:
        """The prompt that the photos are trained with."""
        return fill_template(self.template, self.word, self.class_word)

    @property
    def class_prompt(self) -> str:
        """The prompt for any member of the class."""
        return fill_template(self.template, "", self.class_word)


@dataclass(frozen=True, slots=True)
class Training:
    """How to train. None leaves a value to the bundle."""

    steps: int | None = None
    samples: int | None = None
    """Different draws of noise and timestep; at most ``steps``."""
    seed: int = 0
    learning_rate: float | None = None
    class_pictures: int = 0
    """Pictures of the class that the model draws and trains on as well, so that the rest of what it
    knows stays (prior preservation). 0: none."""
    prior_weight: float = 1.0
    """Weight of a class picture's loss. 0 equals training without prior preservation."""
    threads: int = 1
    checkpoint_every: int | None = None


@dataclass(frozen=True, slots=True)
class Drawing:
    """How to make a picture. None leaves a value to the bundle."""

    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    threads: int = 1


def personalize(
    bundle: Bundle,
    photos: Path,
    subject: Subject,
    out: Path,
    training: Training,
    on_event: Callable[[Event], None],
) -> Path:
    """Trains on a folder of photos; returns the adapter's file in ``out``, beside ``result.json``.

    Called again with the same arguments after a stop, it goes on from the last saved state. Raises
    the errors of photos, prompts and runner.
    """
    _check_task(bundle)
    if training.class_pictures and not subject.class_prompt:
        valid = "a text with {class} or words of its own: the pictures of the class show them"
        raise ConfigInvalid("template", subject.template, valid)
    image = bundle.manifest["image"]
    tokenizer = tokenizer_of(bundle)
    tensors: dict[str, NDArray[Any]] = {"input_ids": tokenizer.encode([subject.prompt])}
    if training.class_pictures:
        tensors["class_input_ids"] = tokenizer.encode([subject.class_prompt])
    tensors["pixels"] = read_photos(photos, image["height"], image["width"])
    inputs = out / "work" / "inputs.safetensors"
    with storage_errors("create", inputs.parent):
        inputs.parent.mkdir(parents=True, exist_ok=True)
    tensor_file.write(inputs, tensors)
    run(
        "personalize",
        {
            "bundle": bundle.folder,
            "inputs": inputs,
            "out": out,
            "steps": training.steps,
            "samples": training.samples,
            "seed": training.seed,
            "threads": training.threads,
            "learning_rate": training.learning_rate,
            "checkpoint_every": training.checkpoint_every,
            "prior_weight": training.prior_weight if training.class_pictures else None,
            "class_pictures": training.class_pictures or None,
        },
        on_event,
    )
    return out / "adapter.safetensors"


def generate(
    bundle: Bundle,
    prompts: Sequence[str],
    out: Path,
    drawing: Drawing,
    on_event: Callable[[Event], None],
    *,
    adapter: Path | None = None,
) -> tuple[list[Path], Event]:
    """Draws one picture for each prompt into the folder ``out``.

    Picture ``j`` starts from the noise of the seed and ``j``, with any adapter: the same arguments
    give the same pictures. ``adapter`` is a file that ``personalize`` wrote, or a LoRA of diffusers
    or PEFT for the same model. Returns their files and the runner's last event (seconds, memory).
    """
    _check_task(bundle)
    input_ids = tokenizer_of(bundle).encode(prompts)
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs.safetensors"
        tensor_file.write(inputs, {"input_ids": input_ids})
        with storage_errors("create", out):
            out.mkdir(parents=True, exist_ok=True)
        last = run(
            "generate",
            {
                "bundle": bundle.folder,
                "inputs": inputs,
                "out": out,
                "adapter": adapter and fitting_adapter(bundle, adapter, Path(folder)),
                "steps": drawing.steps,
                "guidance": drawing.guidance,
                "seed": drawing.seed,
                "threads": drawing.threads,
            },
            on_event,
        )
    return [out / f"picture-{index:04d}.png" for index in range(len(prompts))], last


def _check_task(bundle: Bundle) -> None:
    if bundle.manifest["task"] != _TASK:
        raise ConfigInvalid("bundle", f"{bundle.folder} ({bundle.manifest['task']})", [_TASK])


def tokenizer_of(bundle: Bundle) -> Tokenizer:
    """The tokenizer whose vocabulary the bundle carries. Raises ConfigInvalid for another task."""
    _check_task(bundle)
    text = bundle.manifest["text"]
    files = text["tokenizer"]
    return Tokenizer(bundle.path(files["vocab"]), bundle.path(files["merges"]), text)
