"""Manifests with as many values and as much text as wanted (``spec/bundle.md``, section 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pockettune.bundle import encode_manifest

__all__ = ["filled"]


def filled(manifest: Mapping[str, Any], values: int, text: int) -> bytes:
    """A manifest that an unknown member brings to so many values and bytes of text."""
    found = _size(json.loads(encode_manifest({**manifest, "unknown": [""]})))
    unknown = ["x" * (text - found[1]), *[[]] * (values - found[0])]
    return encode_manifest({**manifest, "unknown": unknown})


def _size(value: Any) -> tuple[int, int]:
    """Values of a document, and bytes between the quotes of its texts as we write them."""
    if isinstance(value, str):
        return 1, _text(value)
    names = value if isinstance(value, dict) else ()
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    sizes = [_size(item) for item in items]
    text = sum(map(_text, names)) + sum(size[1] for size in sizes)
    return 1 + sum(size[0] for size in sizes), text


def _text(value: str) -> int:
    return len(json.dumps(value)) - 2
