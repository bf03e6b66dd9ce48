"""Pictograms as they come: two npm packages, both MIT, read into square RGBA drawings.

`@lobehub/fluent-emoji-3d` (Fluent emoji by Microsoft, MIT; WebP, 256 px) is the style "3d";
`@iconify-json/fluent-emoji-flat` (the same set's flat drawings, MIT; SVG) is the style "flat".
"""

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from pockettune.errors import IoFailed, ToolMissing
from pockettune.models.starter.concepts import HELD_OUT, STYLES

__all__ = ["PACKAGES", "Drawing", "code_points", "download", "drawings", "every_training_drawing"]

PACKAGES: Final = {
    "3d": "@lobehub/fluent-emoji-3d@1.1.0",
    "flat": "@iconify-json/fluent-emoji-flat@1.2.6",
}
SIDE: Final = 128  # pixels of a stored drawing; views are 64 px, so it is always scaled down
SVG_UNITS: Final = 32  # the flat set is drawn on a 32 by 32 grid


@dataclass(frozen=True, slots=True)
class Drawing:
    """One pictogram in one style; `image` is a square RGBA that its longer side fills."""

    concept: str
    style: str
    image: Image.Image


def download(folder: Path) -> None:
    """Fetch both packages with npm (no scripts run) and unpack them to `folder/<style>`.

    Raises ToolMissing without npm, and IoFailed when npm cannot fetch one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for style, package in PACKAGES.items():
        if (folder / style).is_dir():
            continue
        command = ["npm", "pack", "--silent", "--ignore-scripts", package]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        except FileNotFoundError as error:
            raise ToolMissing("npm", "apt-get install npm") from error
        except subprocess.CalledProcessError as error:
            reason = error.stderr.strip().splitlines() or ["npm gave no reason"]
            raise IoFailed("read", package, reason[-1]) from error
        archive = folder / done.stdout.strip().splitlines()[-1]
        unpacked = folder / f".{style}"
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
        # Renamed last, so that a broken download is not taken for a whole one.
        unpacked.rename(folder / style)
        archive.unlink()


def drawings(folder: Path, concepts: Mapping[str, str], side: int = SIDE) -> list[Drawing]:
    """Read every concept (name to code point) in both styles, in a fixed order.

    Raises KeyError when a package lacks one.
    """
    sources = {"3d": _webp_files(folder), "flat": _svg_bodies(folder)}
    found = []
    for name, code in concepts.items():
        for style in STYLES:
            if code not in sources[style]:
                raise KeyError(f"{name} ({code}) has no {style} drawing in {PACKAGES[style]}")
            found.append(Drawing(name, style, _square(_render(sources[style][code], side), side)))
    return found


def every_training_drawing(folder: Path) -> Iterator[Drawing]:
    """All drawings of both packages but the held-out ones: what the autoencoder learns from."""
    hidden = set(HELD_OUT.values())
    for style, source in (("3d", _webp_files(folder)), ("flat", _svg_bodies(folder))):
        for code in sorted(source.keys() - hidden):
            yield Drawing(code, style, _square(_render(source[code], SIDE), SIDE))


def code_points(text: str) -> str:
    """A pictogram's key: its code points in lower-case hex, without the variation selector."""
    return "-".join(part for part in text.lower().split("-") if part != "fe0f")


def _webp_files(folder: Path) -> dict[str, bytes | Path]:
    return {code_points(path.stem): path for path in (folder / "3d/package/assets").glob("*.webp")}


def _svg_bodies(folder: Path) -> dict[str, bytes | Path]:
    package = folder / "flat/package"
    icons = json.loads((package / "icons.json").read_text())["icons"]
    names = json.loads((package / "chars.json").read_text())
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SVG_UNITS} {SVG_UNITS}">'
    return {
        code_points(code): f"{head}{icons[name]['body']}</svg>".encode()
        for code, name in names.items()
        if name in icons
    }


def _render(source: bytes | Path, side: int) -> Image.Image:
    if isinstance(source, Path):
        with Image.open(source) as image:
            return image.convert("RGBA")
    try:
        import cairosvg  # here, because only the flat style needs it
    except (ImportError, OSError) as error:  # an OSError where the cairo library itself is missing
        remedy = "pip install cairosvg; apt-get install libcairo2"
        raise ToolMissing("cairosvg", remedy) from error

    png = cairosvg.svg2png(source, output_width=2 * side, output_height=2 * side)
    return Image.open(io.BytesIO(png)).convert("RGBA")


def _square(image: Image.Image, side: int) -> Image.Image:
    """Crop to what is visible, scale its longer side to `side` and center it."""
    alpha = image.getchannel("A").point(lambda value: 255 if value > 8 else 0)
    cropped = image.crop(alpha.getbbox())
    scale = side / max(cropped.size)
    width, height = (max(1, round(length * scale)) for length in cropped.size)
    scaled = cropped.resize((width, height), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (side, side))
    canvas.paste(scaled, ((side - width) // 2, (side - height) // 2))
    return canvas
