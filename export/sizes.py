"""Sizes: of tensors, and of bytes as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["size", "tensor_bytes"]

_BYTES = {"float32": 4, "float16": 2, "int64": 8, "int32": 4, "uint8": 1, "int8": 1}


def tensor_bytes(dtype: str, shape: Sequence[int]) -> int:
    """The bytes of a dense tensor."""
    return _BYTES[dtype] * math.prod(shape)


def size(count: float) -> str:
    """A number of bytes for people, in powers of ten: "17.6 MB"."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
