"""`python -m pockettune.models.starter.evaluate`: does the model draw what it is asked for?

Every concept is drawn with each of `SEEDS`, and each picture is compared with the drawings of all
concepts by features of EfficientNet-Lite0. The figure is the share of pictures whose most similar
drawing is one of the right concept. Writes `evaluation.json` and the sheet of all pictures.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw
from rich.console import Console
from rich.progress import track

from pockettune.models.efficientnet import features
from pockettune.models.starter import PATH, concepts
from pockettune.models.starter.command import count, run
from pockettune.models.starter.networks import open_pipeline
from pockettune.models.starter.pictograms import Drawing, download, drawings
from pockettune.models.starter.views import BACKGROUNDS, SIDE, an, compose

__all__ = ["Answer", "Evaluation", "draw", "evaluate", "nearest", "sheet"]

SEEDS: Final = (1, 2)
STEPS: Final = 25
GUIDANCE: Final = 4.0
PROMPT: Final = "{} on a white background"
REFERENCE_SIZE: Final = 56  # pixels of a drawing in its 64: the middle of what the views use
BATCH: Final = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """One picture: what was asked for, and the concept it looks most like."""

    concept: str
    seed: int
    nearest: str
    similarity: float  # cosine to the most similar drawing, at most 1


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The acceptance figure and what it was measured with."""

    share_right: float  # 0..1
    concepts: int
    pictures: int
    prompt: str
    seeds: tuple[int, ...]
    steps: int
    guidance: float
    seconds_per_picture: float
    threads: int
    answers: tuple[Answer, ...]


def draw(pipeline: StableDiffusionPipeline, prompts: Sequence[str], seed: int) -> list[Image.Image]:
    """A picture for each prompt; every one starts from the same noise, so batches do not matter."""
    made: list[Image.Image] = []
    for start in range(0, len(prompts), BATCH):
        batch = list(prompts[start : start + BATCH])
        made += pipeline(
            batch,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            height=SIDE,
            width=SIDE,
            generator=[torch.Generator().manual_seed(seed) for _ in batch],
        ).images
    return made


def nearest(
    pictures: Sequence[Image.Image], references: Sequence[Image.Image], names: Sequence[str]
) -> list[tuple[str, float]]:
    """For each picture the name of the most similar reference, and the cosine."""
    cosines = features(pictures) @ features(references).T
    best = cosines.max(dim=1)
    return [
        (names[index], value)
        for index, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def evaluate(
    pipeline: StableDiffusionPipeline, drawn: Sequence[Drawing]
) -> tuple[Evaluation, list[Image.Image]]:
    """Draw every concept with every seed; the answers and pictures in the same order."""
    names = list(concepts.ALL)
    center = (SIDE / 2, SIDE / 2)
    references = [
        compose(drawing.image, BACKGROUNDS["white"], REFERENCE_SIZE, center, SIDE)
        for drawing in drawn
    ]
    prompts = [PROMPT.format(an(name)) for name in names]
    started = time.monotonic()
    pictures = [
        picture
        for seed in track(SEEDS, description="drawing every concept")
        for picture in draw(pipeline, prompts, seed)
    ]
    seconds = (time.monotonic() - started) / len(pictures)
    found = nearest(pictures, references, [drawing.concept for drawing in drawn])
    asked = [(name, seed) for seed in SEEDS for name in names]
    answers = tuple(
        Answer(name, seed, answer, round(cosine, 4))
        for (name, seed), (answer, cosine) in zip(asked, found, strict=True)
    )
    right = sum(answer.concept == answer.nearest for answer in answers)
    return (
        Evaluation(
            share_right=round(right / len(answers), 4),
            concepts=len(names),
            pictures=len(answers),
            prompt=PROMPT.format("a <concept>"),
            seeds=SEEDS,
            steps=STEPS,
            guidance=GUIDANCE,
            seconds_per_picture=round(seconds, 2),
            threads=torch.get_num_threads(),
            answers=answers,
        ),
        pictures,
    )


def sheet(answers: Sequence[Answer], pictures: Sequence[Image.Image]) -> Image.Image:
    """All pictures with what was asked for; a wrong one also says, in red, what it looks like."""
    columns, text = 12, 22
    order = sorted(range(len(answers)), key=lambda at: (answers[at].concept, answers[at].seed))
    rows = -(-len(order) // columns)
    canvas = Image.new("RGB", (columns * SIDE, rows * (SIDE + text)), "white")
    pen = ImageDraw.Draw(canvas)
    for place, at in enumerate(order):
        left, top = place % columns * SIDE, place // columns * (SIDE + text)
        answer = answers[at]
        canvas.paste(pictures[at], (left, top))
        pen.text((left + 2, top + SIDE - 1), answer.concept, fill="black", font_size=10)
        if answer.nearest != answer.concept:
            pen.text((left + 2, top + SIDE + 9), answer.nearest, fill="red", font_size=10)
    # A palette keeps the file small; 256 colors are plenty for plain backgrounds.
    return canvas.quantize(256, dither=Image.Dither.NONE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pockettune.models.starter.evaluate",
        description="Measure how often the starter model draws the concept that it is asked for.",
    )
    parser.add_argument(
        "--model", type=Path, default=PATH, help="pipeline folder (the embedded one)"
    )
    parser.add_argument(
        "--packages",
        type=Path,
        default=Path("build/starter/packages"),
        help="folder of the pictogram packages; fetched with npm when missing (%(default)s)",
    )
    parser.add_argument("--out", type=Path, default=PATH.parent, help="folder for the results")
    parser.add_argument("--threads", type=count, default=1, help="threads of PyTorch (%(default)s)")
    options = parser.parse_args(arguments)

    def action() -> None:
        torch.set_num_threads(options.threads)
        pipeline = open_pipeline(options.model)
        download(options.packages)
        result, pictures = evaluate(pipeline, drawings(options.packages, concepts.ALL))
        write(result, pictures, options.out)

    return run(action, parser.prog)


def write(result: Evaluation, pictures: Sequence[Image.Image], folder: Path) -> None:
    """Write `evaluation.json` and `evaluation.png`, and print the figure."""
    folder.mkdir(parents=True, exist_ok=True)
    sheet(result.answers, pictures).save(folder / "evaluation.png", optimize=True)
    (folder / "evaluation.json").write_text(json.dumps(asdict(result), indent=1) + "\n")
    wrong = [f"{a.concept} (like {a.nearest})" for a in result.answers if a.nearest != a.concept]
    console = Console()
    console.print(
        f"{result.share_right:.1%} of {result.pictures} pictures of {result.concepts} concepts "
        f"look most like the right one (EfficientNet-Lite0 features)"
    )
    if wrong:
        console.print(f"wrong: {', '.join(wrong)}")


if __name__ == "__main__":
    sys.exit(main())
