"""JSON as ``spec/bundle.md``, section 1 wants it: one document, one meaning.

Readers in other languages keep the first of two equal keys, or the last, or crash at great depth;
so whatever two readers could take differently is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["DEEPEST", "LONGEST", "MOST_TEXT", "MOST_VALUES", "check_size", "decode", "encode"]

DEEPEST = 32
LONGEST = 16 * 2**20
"""Bytes of a document."""
MOST_VALUES = 2**16
MOST_TEXT = 2**20
"""Bytes between the quotes of all names and texts."""

# A text; or what begins a value: the bracket of a container with something in it, or a comma.
_TOKEN = re.compile(rb'"((?:[^"\\]++|\\.)*+)"?|[\[{](?![ \t\n\r]*+[\]}])|,', re.DOTALL)


def decode(text: bytes) -> Any:
    """The value of a UTF-8 JSON document.

    Raises ``ValueError`` with a short reason: not UTF-8, not JSON, a duplicate key, more than 32
    levels, more than ``check_size`` allows, a number that is not finite as float64, a lone
    surrogate.
    """
    check_size(text)
    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_finite_integer,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON at character {error.pos}: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"more than {DEEPEST} levels") from None
    _check_text_and_depth(value, 0)
    return value


def check_size(text: bytes) -> None:
    """Raises ``ValueError`` for a document that is too large to be read, before anything is built.

    Values take many times the bytes that stand for them. Counting ends at the limit, so that it
    takes no time that would matter; in what is no JSON it counts something, which is enough.
    """
    if len(text) > LONGEST:
        raise ValueError(f"more than {LONGEST} bytes")
    values, room = 1, MOST_TEXT
    for token in _TOKEN.finditer(text):
        if token[1] is None:
            values += 1
            if values > MOST_VALUES:
                raise ValueError(f"more than {MOST_VALUES} values")
        else:
            room -= len(token[1])
            if room < 0:
                raise ValueError(f"more than {MOST_TEXT} bytes of text")


def encode(value: Any) -> bytes:
    """The one way we write a value: sorted keys, no spaces, ASCII, shortest floats.

    Takes any mapping and sequence. Raises ``ValueError`` for a number that is not finite and
    ``TypeError`` for what JSON cannot hold.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain
    ).encode("ascii")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {ascii(key)[:80]} occurs twice in one object")
            seen.add(key)
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a finite number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is not a finite number")
    return number


def _finite_integer(digits: str) -> int:
    # Longer ones overflow float64, in which other readers hold them; int() would take long, too.
    if len(digits) > 310 or not math.isfinite(float(digits)):
        raise ValueError(f"{digits[:20]}... is not a finite number")
    return int(digits)


def _check_text_and_depth(value: Any, depth: int) -> None:
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError("a text holds a lone surrogate")
    elif isinstance(value, dict | list):
        if depth == DEEPEST:
            raise ValueError(f"more than {DEEPEST} levels")
        if isinstance(value, dict):
            for key in value:
                _check_text_and_depth(key, depth)
        for item in value.values() if isinstance(value, dict) else value:
            _check_text_and_depth(item, depth + 1)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")
