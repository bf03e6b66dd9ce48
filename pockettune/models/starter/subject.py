"""The held-out subject of the demo: five pictures of one thing that no training stage has seen.

`python -m pockettune.models.starter.subject --packages DIR --out DIR` renders them again.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image

from pockettune.models.starter.command import run
from pockettune.models.starter.concepts import HELD_OUT
from pockettune.models.starter.pictograms import download, drawings
from pockettune.models.starter.views import BACKGROUNDS, compose

__all__ = ["CLASS_WORD", "PATH", "SUBJECT", "photographs"]

SUBJECT: Final = "teddy bear"
CLASS_WORD: Final = "bear"
PATH: Final = Path(__file__).parent / "subject"

SIDE: Final = 256
SURROUNDINGS: Final = ("white", "light blue", "yellow", "gray", "green")


def photographs(drawing: Image.Image, seed: int = 0) -> list[Image.Image]:
    """The subject (square RGBA) on five plain backgrounds, at five places, scales and tilts."""
    chance = random.Random(seed)  # noqa: S311 - pictures, not secrets
    pictures = []
    for index, background in enumerate(SURROUNDINGS):
        turned = drawing.rotate(chance.uniform(-5, 5), Image.Resampling.BICUBIC, expand=True)
        if index % 2:
            turned = turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        size = SIDE * chance.uniform(0.78, 0.92)
        center = (SIDE * chance.uniform(0.47, 0.53), SIDE * chance.uniform(0.47, 0.53))
        pictures.append(compose(turned, BACKGROUNDS[background], size, center, SIDE))
    return pictures


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pockettune.models.starter.subject",
        description="Render the held-out subject's pictures.",
    )
    parser.add_argument("--packages", type=Path, required=True, help="folder for the npm packages")
    parser.add_argument("--out", type=Path, default=PATH, help="folder for the pictures")
    options = parser.parse_args(arguments)

    def action() -> None:
        download(options.packages)
        options.out.mkdir(parents=True, exist_ok=True)
        drawn = drawings(options.packages, {SUBJECT: HELD_OUT[SUBJECT]}, SIDE)[0]
        for index, picture in enumerate(photographs(drawn.image), 1):
            picture.save(options.out / f"{SUBJECT.replace(' ', '-')}-{index}.png", optimize=True)

    return run(action, parser.prog)


if __name__ == "__main__":
    sys.exit(main())
