"""A sheet of pictures with words: photos, and what the model makes of prompts before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

__all__ = ["Row", "before_and_after", "compose"]

_MARGIN = 16
_GAP = 8
_LABEL_WIDTH = 84
_INK = (32, 33, 36)
_FAINT = (110, 114, 120)
_FRAME = (222, 224, 228)
_PAPER = (255, 255, 255)
_LARGEST_CELL = 256
_SMALLEST_CELL = 160


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a label at the left, pictures, and (where given) a caption under each."""

    label: str
    pictures: Sequence[Image.Image]
    captions: Sequence[str] = ()


def compose(rows: Sequence[Row], *, title: str = "") -> Image.Image:
    """The rows as one RGB image on white.

    Cells are squares between 160 and 256 pixels: small pictures are enlarged, so that a person sees
    them, large ones reduced. Missing captions leave no room; rows may differ in length.
    """
    cell = max(
        (max(picture.size) for row in rows for picture in row.pictures), default=_SMALLEST_CELL
    )
    cell = min(max(cell, _SMALLEST_CELL), _LARGEST_CELL)
    text, heading = ImageFont.load_default(14), ImageFont.load_default(20)
    columns = max((len(row.pictures) for row in rows), default=0)
    width = 2 * _MARGIN + _LABEL_WIDTH + columns * (cell + _GAP)
    wrapped = [[_wrap(caption, text, cell) for caption in row.captions] for row in rows]
    line_height = 18
    heights = [
        cell + _GAP + line_height * max((len(lines) for lines in captions), default=0)
        for captions in wrapped
    ]
    top = _MARGIN + (36 if title else 0)
    sheet = Image.new("RGB", (width, top + sum(heights) + _GAP * len(rows) + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), title, fill=_INK, font=heading)
    for row, captions, height in zip(rows, wrapped, heights, strict=True):
        for number, line in enumerate(_wrap(row.label, text, _LABEL_WIDTH - _GAP)):
            draw.text((_MARGIN, top + number * line_height), line, fill=_INK, font=text)
        for column, picture in enumerate(row.pictures):
            left = _MARGIN + _LABEL_WIDTH + column * (cell + _GAP)
            draw.rectangle((left - 1, top - 1, left + cell, top + cell), outline=_FRAME)
            sheet.paste(_fitted(picture, cell), (left, top))
            for number, line in enumerate(captions[column] if column < len(captions) else ()):
                place = (left, top + cell + 4 + number * line_height)
                draw.text(place, line, fill=_FAINT, font=text)
        top += height + _GAP
    return sheet


def before_and_after(
    photos: Sequence[Image.Image],
    prompts: Sequence[str],
    before: Sequence[Path],
    after: Sequence[Path],
    *,
    title: str = "",
) -> Image.Image:
    """The sheet of a personalization: photos, then each prompt's picture before and after it."""
    return compose(
        [
            Row("photos", photos),
            Row("before", [_opened(path) for path in before]),
            Row("after", [_opened(path) for path in after], prompts),
        ],
        title=title,
    )


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def _fitted(picture: Image.Image, cell: int) -> Image.Image:
    """A picture enlarged or reduced to lie within a square cell, on paper."""
    scale = cell / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    square = Image.new("RGB", (cell, cell), _PAPER)
    resized = picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    square.paste(resized, ((cell - size[0]) // 2, (cell - size[1]) // 2))
    return square


def _wrap(
    caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[str]:
    """Lines no wider than ``width`` pixels; a longer word stands alone."""
    lines: list[str] = []
    for word in caption.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
