"""Whether a setting is of its type and in its range, told alike for every config.

Nothing is taken for what it only resembles: 4.0 is no integer and 1 no flag. A config is hashed
into what an update or a bundle is bound to, and equal settings have to be equal there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from pockettune.errors import ConfigInvalid

__all__ = ["choice", "flag", "integer", "number"]

_LARGEST = 2**63 - 1


def integer(name: str, value: object, low: int, high: int = _LARGEST) -> None:
    """Raises ConfigInvalid unless the value is an integer from ``low`` to ``high``."""
    if type(value) is not int or not low <= value <= high:
        valid = f"of at least {low}" if high == _LARGEST else f"from {low} to {high}"
        raise ConfigInvalid(name, value, f"an integer {valid}")


def number(name: str, value: object, valid: str, holds: Callable[[float], bool]) -> None:
    """Raises ConfigInvalid unless the value is a finite number, integer or float, that ``holds``;
    ``valid`` says which do."""
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)  # an integer to Python
        or not abs(value) <= sys.float_info.max
        or not holds(value)
    ):
        raise ConfigInvalid(name, value, valid)


def flag(name: str, value: object) -> None:
    """Raises ConfigInvalid unless the value is true or false."""
    if type(value) is not bool:
        raise ConfigInvalid(name, value, ("true", "false"))


def choice(name: str, value: object, valid: Sequence[str | int]) -> None:
    """Raises ConfigInvalid unless the value is one of ``valid``, and of its type."""
    if not any(type(value) is type(one) and value == one for one in valid):
        raise ConfigInvalid(name, value, valid)
