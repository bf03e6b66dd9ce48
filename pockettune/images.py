"""Photos from a folder, as the numbers that a bundle's programs take.

Any size, any mode that Pillow reads: turned as the camera's EXIF says, colors brought to sRGB, what
is transparent laid on white, the middle cut out in the bundle's shape, resized with Lanczos.
"""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from pockettune.errors import PhotosTooFew, PhotosUnreadable

__all__ = ["FEWEST_PHOTOS", "photo_files", "read_photo", "read_photos", "to_pixels"]

FEWEST_PHOTOS = 3

# Files with these endings are meant as photos: one that cannot be decoded is an error, not skipped.
# Everything else in the folder (a README, a thumbnail database) is not looked at.
_ENDINGS = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpeg", ".jpg", ".png"}
    | {".jp2", ".jpe", ".tif", ".tiff", ".webp"}
)

# What Pillow and its codecs raise for broken files: SyntaxError for PNG chunks, RuntimeError for
# AVIF, struct.error for EXIF, and so on. Only want of memory is another's fault.
_UNDECODABLE = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    Image.DecompressionBombError,
)


def photo_files(folder: Path) -> list[Path]:
    """The photos of a folder in the order of their names; its own files only, no hidden ones.

    Raises PhotosUnreadable when the folder does not exist or holds none.
    """
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise PhotosUnreadable(folder, error.strerror or str(error)) from error
    files = [
        path
        for path in entries
        if path.suffix.lower() in _ENDINGS and not path.name.startswith(".") and path.is_file()
    ]
    if not files:
        raise PhotosUnreadable(folder, "the folder holds no photos")
    return files


def read_photo(path: Path, height: int, width: int) -> Image.Image:
    """One photo as an 8-bit RGB image of ``height`` x ``width``.

    Raises PhotosUnreadable, which names the file.
    """
    try:
        with warnings.catch_warnings():
            # Of damaged metadata, and above 89 megapixels; phones make photos of 200. It still
            # refuses bombs.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                upright = ImageOps.exif_transpose(image)
                rgb = _on_white(_in_srgb(upright))
        return _middle(rgb, height, width).resize((width, height), Image.Resampling.LANCZOS)
    except _UNDECODABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, UnidentifiedImageError):
            reason = "it is not an image in a known format"
        raise PhotosUnreadable(path, reason) from error


def read_photos(
    folder: Path, height: int, width: int, *, fewest: int = FEWEST_PHOTOS
) -> NDArray[np.float32]:
    """All photos of a folder: float32 ``[n, 3, height, width]`` in [-1, 1].

    Raises PhotosUnreadable and PhotosTooFew.
    """
    files = photo_files(folder)
    if len(files) < fewest:
        raise PhotosTooFew(folder, len(files), fewest)
    return to_pixels([read_photo(path, height, width) for path in files])


def to_pixels(images: list[Image.Image]) -> NDArray[np.float32]:
    """RGB images of one size as float32 ``[n, 3, height, width]``: value / 127.5 - 1."""
    stacked = np.stack([np.asarray(image, dtype=np.float32) for image in images])
    pixels = stacked / np.float32(127.5) - np.float32(1)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _middle(image: Image.Image, height: int, width: int) -> Image.Image:
    """The largest part in the shape ``height`` x ``width`` around the center."""
    scale = min(image.width / width, image.height / height)
    inner_width = min(image.width, max(1, round(width * scale)))
    inner_height = min(image.height, max(1, round(height * scale)))
    left, top = (image.width - inner_width) // 2, (image.height - inner_height) // 2
    # Cut first: a resize of a box would mix in what lies around it.
    return image.crop((left, top, left + inner_width, top + inner_height))


def _in_srgb(image: Image.Image) -> Image.Image:
    """Colors of an embedded profile (phones use Display P3) brought to sRGB."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK", "L"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image  # A broken profile is no reason to refuse a photo that decodes.
    return image if converted is None else converted


def _on_white(image: Image.Image) -> Image.Image:
    """Any mode as RGB; what is transparent shows white."""
    if image.mode.startswith("I"):
        # 16-bit gray: Pillow's own conversion clips at 255 instead of scaling.
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    colored = image.convert("RGBA")
    white = Image.new("RGBA", colored.size, "white")
    return Image.alpha_composite(white, colored).convert("RGB")
