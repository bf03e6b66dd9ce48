"""From drawings to training pairs: a drawing on a plain background, and a caption that says so.

Each view varies what a prompt can ask for (background color, size, the object's color where it has
one, style) and what it cannot (exact place and scale), so that text learns to control the former.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from pockettune.models.starter.pictograms import Drawing

__all__ = ["BACKGROUNDS", "SIDE", "View", "an", "compose", "dominant_hue", "recolored", "views"]

SIDE: Final = 64  # pixels of a view, and of the model

BACKGROUNDS: Final = {
    "white": (255, 255, 255),
    "red": (220, 40, 45),
    "orange": (250, 140, 30),
    "yellow": (252, 214, 50),
    "green": (60, 170, 75),
    "blue": (50, 110, 220),
    "purple": (135, 75, 190),
    "pink": (250, 150, 190),
    "gray": (150, 150, 155),
    "black": (20, 20, 24),
    "brown": (130, 85, 50),
    "light blue": (160, 210, 245),
}
HUES: Final = {
    "red": 0,
    "orange": 28,
    "yellow": 52,
    "green": 125,
    "blue": 215,
    "purple": 272,
    "pink": 328,
}
"""Degrees on the color wheel of the colors that a drawing can be turned to."""

WHITE_SHARE: Final = 5.0  # white is this many times as frequent as another background
SMALL_SHARE: Final = 0.07
RECOLORED_SHARE: Final = 0.16
EMPTY_CAPTION_SHARE: Final = 0.08  # what classifier-free guidance subtracts is learned from these


@dataclass(frozen=True, slots=True)
class View:
    """One training pair; `image` is (SIDE, SIDE, 3) uint8."""

    image: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"
    caption: str
    concept: str


def views(drawing: Drawing, count: int, seed: int) -> list[View]:
    """`count` views of one drawing, the same for the same seed."""
    chance = random.Random(f"{seed}/{drawing.concept}/{drawing.style}")  # noqa: S311 - no secret
    hue = dominant_hue(drawing.image)
    return [_view(drawing, hue, chance) for _ in range(count)]


def compose(
    drawing: Image.Image, color: Sequence[int], size: float, center: tuple[float, float], side: int
) -> Image.Image:
    """Put an RGBA drawing of `size` pixels at `center` of a plain square of `side` pixels; RGB."""
    pixels = max(8, round(size))
    scaled = drawing.resize((pixels, pixels), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (side, side), tuple(color))
    canvas.paste(scaled, (round(center[0] - pixels / 2), round(center[1] - pixels / 2)), scaled)
    return canvas


def dominant_hue(drawing: Image.Image) -> float | None:
    """The hue in degrees that holds most of a drawing's color, or None where no single one does.

    Only such a drawing can be recolored and still be called "a purple frog".
    """
    opaque = np.asarray(drawing.getchannel("A")) > 127
    hue, saturation, value = _hsv(drawing, opaque)
    weight = saturation * value * (saturation > 0.3) * (value > 0.25)
    if weight.sum() == 0 or (weight > 0).mean() < 0.4:
        return None
    histogram = np.bincount((hue // 10).astype(int) % 36, weights=weight, minlength=36)
    smooth = np.sum([np.roll(histogram, shift) for shift in range(-3, 4)], axis=0)
    peak = int(np.argmax(smooth))
    if smooth[peak] < 0.75 * weight.sum():
        return None
    angle = np.deg2rad(hue)
    near = np.abs((hue - peak * 10 - 5 + 180) % 360 - 180) < 40
    sine, cosine = (weight * np.sin(angle))[near].sum(), (weight * np.cos(angle))[near].sum()
    return float(np.rad2deg(np.arctan2(sine, cosine)) % 360)


def recolored(drawing: Image.Image, degrees: float) -> Image.Image:
    """The drawing with every hue turned by `degrees`."""
    hsv = np.array(drawing.convert("RGB").convert("HSV"))
    hsv[..., 0] = (hsv[..., 0].astype(int) + round(degrees / 360 * 256)) % 256
    turned = Image.fromarray(hsv, "HSV").convert("RGB")
    turned.putalpha(drawing.getchannel("A"))
    return turned


def an(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _hsv(
    drawing: Image.Image, opaque: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]"
) -> "list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]":
    """Hue in degrees, saturation and value in 0..1, of the opaque pixels."""
    hsv = np.asarray(drawing.convert("RGB").convert("HSV"), np.float64)[opaque]
    return [hsv[:, 0] * 360 / 256, hsv[:, 1] / 255, hsv[:, 2] / 255]


def _view(drawing: Drawing, hue: float | None, chance: random.Random) -> View:
    small = chance.random() < SMALL_SHARE
    size = chance.uniform(30, 38) if small else chance.uniform(52, 60)
    reach = 8 if small else 2
    center = (32 + chance.uniform(-reach, reach), 32 + 0.8 * chance.uniform(-reach, reach))
    image, noun = drawing.image, drawing.concept
    if hue is not None and chance.random() < RECOLORED_SHARE:
        color = chance.choice(list(HUES))
        image, noun = recolored(image, HUES[color] - hue), f"{color} {noun}"
    elif small and chance.random() < 0.6:
        noun = f"small {noun}"
    weights = [WHITE_SHARE] + [1.0] * (len(BACKGROUNDS) - 1)
    background = chance.choices(list(BACKGROUNDS), weights)[0]
    picture = compose(image, _jittered(background, chance), size, center, SIDE)
    caption = _caption(noun, drawing.style, background, chance)
    return View(np.asarray(picture), caption, drawing.concept)


def _jittered(background: str, chance: random.Random) -> tuple[int, ...]:
    """The named color, varied a little; white stays white."""
    reach = 0 if background == "white" else 12
    return tuple(
        min(255, max(0, round(level + chance.uniform(-reach, reach))))
        for level in BACKGROUNDS[background]
    )


def _caption(noun: str, style: str, background: str, chance: random.Random) -> str:
    if chance.random() < EMPTY_CAPTION_SHARE:
        return ""
    place = f" on {an(background)} background"
    if chance.random() > (0.4 if background == "white" else 0.6):
        place = ""
    manner = f", {style} style" if chance.random() < 0.75 else ""
    phrase = an(noun) if chance.random() < 0.9 else noun
    if chance.random() < 0.6:
        return phrase + place + manner
    return phrase + manner + (f",{place}" if manner and place else place)
