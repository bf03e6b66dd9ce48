"""The random numbers that every reader draws: ``spec/vectors/random.json``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pockettune import random

__all__ = ["random_numbers"]

_PLACES = [(0, 1, 0), (1, 2, 7), (2**64 - 1, 4, 2**64 - 1), (2**32 + 5, 2**32 - 1, 2**32 + 9)]
_RANGES = [(0, 1000), (-5, 7), (0, 2**32), (9, 10)]
# Both ends, both sides of the change from the center to the tail (q = -0.425), and the middle.
_LOWER = [0, 1, 2, 1000, 2**16, 2**28, 0x13333332, 0x13333333, 2**31 - 1]


def random_numbers() -> dict[str, Any]:
    """What ``random.json`` holds. Seeds and indices are texts: they do not fit float64."""
    word = np.array([*_LOWER, *(2**32 - 1 - edge for edge in reversed(_LOWER))], np.uint64)

    def at(seed: int, stream: int, index: int) -> dict[str, Any]:
        return {"seed": str(seed), "stream": stream, "index": str(index)}

    return {
        "words": [
            {**at(*place), "block": block, "words": random.words(*place, block, 1)[0].tolist()}
            for place in _PLACES
            for block in (0, 1, 2**32 - 1)
        ],
        "integers": [
            {
                **at(*place),
                "low": low,
                "high": high,
                "values": random.integer(*place, (9,), low, high).tolist(),
            }
            for place, (low, high) in zip(_PLACES, _RANGES, strict=True)
        ],
        "uniforms": [
            {**at(*place), "bits": _bits(random.uniform(*place, (9,)))} for place in _PLACES
        ],
        "normals": [
            {**at(*place), "bits": _bits(random.normal(*place, (101,)))} for place in _PLACES
        ],
        "of_words": {
            "words": word.tolist(),
            "uniforms": _bits(random.uniform_of(word)),
            "normals": _bits(random.normal_of(word)),
        },
    }


def _bits(values: NDArray[np.float32]) -> list[int]:
    bits: list[int] = values.view(np.uint32).tolist()
    return bits
