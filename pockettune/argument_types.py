"""Types of command-line options, shared by the commands.

An empty word is a shell variable that nobody has set. As a path it would mean the folder one is in,
as a subject that there is none, so it is a mistake.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

__all__ = ["path", "setting", "words"]


def words(text: str) -> str:
    """A text with something in it but white space."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8")
    return text


def path(text: str) -> Path:
    """A path that was given."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return Path(text)


def setting(text: str) -> tuple[str, Any]:
    """``NAME=VALUE``, the value as JSON; a bare word is a text, which is easy to type."""
    name, _, value = text.partition("=")
    wrong = argparse.ArgumentTypeError(f"{text[:100]!r} is not NAME=VALUE with a JSON value")
    if not name.strip() or not value:
        raise wrong
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        if value[0] in '[{"':
            raise wrong from None
        return name, value
    except (ValueError, RecursionError):
        raise wrong from None  # an endless number, or brackets without end
