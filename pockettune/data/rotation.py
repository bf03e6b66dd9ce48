"""Pictures turned about their middle, in NumPy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["rotated"]


def rotated(images: NDArray[np.float32], degrees: float) -> NDArray[np.float32]:
    """``images`` ``[n, channels, height, width]`` turned counter-clockwise, bilinear; what comes in
    from outside repeats the border."""
    height, width = images.shape[2:]
    angle = math.radians(degrees)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    from_x = math.cos(angle) * x - math.sin(angle) * y + (width - 1) / 2
    from_y = math.sin(angle) * x + math.cos(angle) * y + (height - 1) / 2
    # 45 degrees of rounding errors must not move a picture that is not turned.
    from_x, from_y = np.round(from_x, 9).clip(0, width - 1), np.round(from_y, 9).clip(0, height - 1)
    left, top = np.floor(from_x).astype(int), np.floor(from_y).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    part_x, part_y = (from_x - left).astype(np.float32), (from_y - top).astype(np.float32)
    upper = images[..., top, left] * (1 - part_x) + images[..., top, right] * part_x
    lower = images[..., bottom, left] * (1 - part_x) + images[..., bottom, right] * part_x
    turned: NDArray[np.float32] = (upper * (1 - part_y) + lower * part_y).astype(np.float32)
    return turned
