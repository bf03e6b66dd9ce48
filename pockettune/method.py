"""What a method is: a record of functions, found by its file in ``pockettune/methods``.

``names`` lists the folder without importing anything; ``get`` imports one file and returns its
``METHOD``. There is no other registry.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pockettune.errors import ConfigInvalid
from pockettune.program import Program

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Cache",
    "Method",
    "MethodExport",
    "StateTensor",
    "View",
    "config_from_json",
    "config_to_json",
    "get",
    "names",
]

_Config = TypeVar("_Config")


@dataclass(frozen=True, slots=True)
class View:
    """A named tensor within a pack; ``offset`` in elements."""

    name: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class StateTensor:
    """A tensor of the state. ``role`` and ``views`` as in ``spec/bundle.md``; ``initial`` None
    means zeros."""

    dtype: str
    shape: tuple[int, ...]
    role: str
    initial: Tensor | None = None
    views: tuple[View, ...] = ()


@dataclass(frozen=True, slots=True)
class Cache:
    """What programs hand to one another, one value for each item of ``scope``."""

    dtype: str
    shape: tuple[int, ...]
    stored: str
    scope: str
    initial: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class MethodExport:
    """All that a bundle needs to know from a method; fields as in ``spec/bundle.md``, section 3.

    ``files`` are further files of the bundle by name; ``facts`` are for people: the report and
    ``--explain``.
    """

    task: str
    programs: tuple[Program, ...]
    tensors: Mapping[str, StateTensor]
    caches: Mapping[str, Cache]
    preparation: tuple[str, ...]
    training: Mapping[str, Any]
    generation: Mapping[str, Any]
    text: Mapping[str, Any]
    image: Mapping[str, Any]
    adapter: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Method:
    """``paper`` cites it, ``config`` is its frozen dataclass, ``export(model, config)`` makes the
    parts of a bundle."""

    paper: str
    config: type
    export: Callable[[Any, Any], MethodExport] | None = None


def names() -> list[str]:
    """Names of all methods, sorted."""
    folder = Path(__file__).parent / "methods"
    return sorted(path.stem for path in folder.glob("[a-z]*.py"))


def get(name: str) -> Method:
    """The method of that name. Raises ConfigInvalid naming the valid ones."""
    if name not in names():
        raise ConfigInvalid("method", name, names())
    method: Method = importlib.import_module(f"pockettune.methods.{name}").METHOD
    return method


def config_to_json(config: Any) -> dict[str, Any]:
    """A config's values, ready for JSON: tuples become lists."""
    values = dataclasses.asdict(config)
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }


def config_from_json(kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    """The config of ``kind`` with ``values`` and defaults for the rest; lists become tuples.

    Raises ConfigInvalid for an unknown key, naming the valid ones, or a value out of range.
    """
    valid = [entry.name for entry in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key, value in values.items():
        if key not in valid:
            raise ConfigInvalid(key, value, valid)
    plain = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    return kind(**plain)
