"""What a method is: a record of functions, found by its file in ``pockettune/methods``.

``names`` lists the folder without importing anything; ``get`` imports one file and returns its
``METHOD``. There is no other registry. Each function of the record is a *stage*; a stage that a
method leaves out is that of plain federated averaging (``pockettune/federation.py``). Methods that
replace different stages compose.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pockettune.errors import ConfigInvalid
from pockettune.program import Program

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from torch import Tensor

    from pockettune.aggregate import Aggregator
    from pockettune.codecs import Codec
    from pockettune.data.dataset import Split
    from pockettune.models.classifier import Classifier
    from pockettune.program import TensorSpec

__all__ = [
    "PLAIN",
    "STAGES",
    "TRAINED_ROLES",
    "Cache",
    "Composition",
    "Method",
    "MethodExport",
    "Objective",
    "StateTensor",
    "View",
    "compose",
    "config_from_json",
    "config_to_json",
    "get",
    "names",
]

_Config = TypeVar("_Config", bound="DataclassInstance")

PLAIN = "fedavg"
"""The name of no method: every stage is that of federated averaging."""


TRAINED_ROLES = ("adapter", "model")
"""Roles of the tensors that training is for: what is added to a model, or the whole of it."""


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
    Those that a task does not have are empty.

    ``files`` are further files of the bundle by name; ``facts`` are for people: the report and
    ``--explain``.
    """

    task: str
    programs: tuple[Program, ...]
    tensors: Mapping[str, StateTensor]
    caches: Mapping[str, Cache]
    preparation: tuple[str, ...]
    training: Mapping[str, Any]
    generation: Mapping[str, Any] = field(default_factory=dict)
    text: Mapping[str, Any] = field(default_factory=dict)
    image: Mapping[str, Any] = field(default_factory=dict)
    adapter: Mapping[str, Any] = field(default_factory=dict)
    classification: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Objective:
    """What a client minimizes.

    ``loss(parameters, inputs, labels, weights, *draws)`` is a scalar: parameters by name, inputs
    ``[B, ...]``, int64 labels ``[B]`` or ``[B, T]``, float32 weights ``[B]``. It is a weighted mean
    over examples: one of weight 0 counts as not there. ``draws`` are its random inputs with their
    ``random.*`` bindings, drawn anew for each ``index`` ("step", "round" or "client").
    """

    loss: Callable[..., Tensor]
    draws: tuple[TensorSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Method:
    """``paper`` cites it, ``config`` is its frozen dataclass, the rest are its stages.

    - ``prepare(model, config)``: another model to train instead;
    - ``init_state(model, config, seed)``: what the server starts from, a pack;
    - ``client_data(split, classes, config, seed)``: another local data set;
    - ``client_loss(model, config)``: what a client minimizes;
    - ``encode(config)``: the codec of a client's update;
    - ``aggregate(config)``: how updates become one;
    - ``export(model, config)``: the parts of a bundle.
    """

    paper: str
    config: type
    prepare: Callable[[Classifier, Any], Classifier] | None = None
    init_state: Callable[[Classifier, Any, int], Tensor] | None = None
    client_data: Callable[[Split, int, Any, int], Split] | None = None
    client_loss: Callable[[Classifier, Any], Objective] | None = None
    encode: Callable[[Any], Codec] | None = None
    aggregate: Callable[[Any], Aggregator] | None = None
    export: Callable[[Any, Any], MethodExport] | None = None


STAGES = tuple(
    entry.name for entry in dataclasses.fields(Method) if entry.name not in ("paper", "config")
)


@dataclass(frozen=True, slots=True)
class Composition:
    """Methods that act together, each with its config, by name."""

    methods: Mapping[str, Method]
    configs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The names joined by "+"; "fedavg" for no method at all."""
        return "+".join(self.methods) or PLAIN

    def stage(self, stage: str, *arguments: Any, seed: int | None = None) -> Any:
        """What the one method with this stage makes of ``arguments`` and its config, and ``seed``
        where the stage takes one; None when no method replaces the stage."""
        for name, method in self.methods.items():
            function = getattr(method, stage)
            if function is not None:
                last = () if seed is None else (seed,)
                return function(*arguments, self.configs[name], *last)
        return None

    def to_json(self) -> dict[str, Any]:
        """The configs by method."""
        return {name: config_to_json(config) for name, config in self.configs.items()}


def names() -> list[str]:
    """Names of all methods, sorted."""
    folder = Path(__file__).parent / "methods"
    return sorted(path.stem for path in folder.glob("[a-z]*.py"))


def get(name: str) -> Method:
    """The method of that name. Raises ConfigInvalid naming the valid ones."""
    if name not in names():
        raise ConfigInvalid("method", name, [PLAIN, *names()])
    method: Method = importlib.import_module(f"pockettune.methods.{name}").METHOD
    return method


def config_to_json(config: Any) -> dict[str, Any]:
    """A config's values, ready for JSON: tuples become lists."""
    values = dataclasses.asdict(config)
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }


def config_from_json(kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    """The config of ``kind`` with ``values`` and defaults for the rest; lists become tuples, and
    where a float is asked for an integer becomes one: 1 and 1.0 make the same config, to the byte.

    Raises ConfigInvalid for an unknown key, naming the valid ones, or a value out of range.
    """
    fields = {entry.name: entry for entry in dataclasses.fields(kind)}
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            raise ConfigInvalid(key, value, list(fields))
        plain[key] = tuple(value) if isinstance(value, list) else value
        # One beyond a float's range stays what it is, for the config to refuse.
        whole = type(value) is int and abs(value) <= sys.float_info.max
        if whole and fields[key].type in ("float", float):
            plain[key] = float(value)
    return kind(**plain)


def compose(text: str, settings: Mapping[str, Any]) -> Composition:
    """The methods that ``text`` names, joined by "+", with ``settings`` for their configs.

    A setting's key is that of a config, or ``method.key`` where several have one of that name.
    Raises ConfigInvalid for an unknown method or key, for a stage that two methods replace, and for
    a value out of range.
    """
    wanted = [name for name in text.split("+") if name != PLAIN]
    known = names()
    for name in wanted:
        if name not in known or wanted.count(name) > 1:
            raise ConfigInvalid("method", text, [PLAIN, *known, "or different ones joined by +"])
    methods = {name: get(name) for name in wanted}
    for stage in STAGES:
        owners = [name for name, method in methods.items() if getattr(method, stage) is not None]
        if len(owners) > 1:
            only = f"at most one method that replaces {stage}; {' and '.join(owners)} do"
            raise ConfigInvalid("method", text, only)
    values: dict[str, dict[str, Any]] = {name: {} for name in methods}
    keys = {
        name: [entry.name for entry in dataclasses.fields(method.config)]
        for name, method in methods.items()
    }
    for key, value in settings.items():
        owner, _, inner = key.rpartition(".")
        owners = [name for name in methods if inner in keys[name] and owner in ("", name)]
        if len(owners) != 1:
            raise ConfigInvalid(
                key,
                value,
                [f"{name}.{entry}" for name, entries in keys.items() for entry in entries]
                or f"nothing: {PLAIN} has no settings",
            )
        values[owners[0]][inner] = value
    configs: dict[str, Any] = {
        name: config_from_json(method.config, values[name]) for name, method in methods.items()
    }
    return Composition(methods, configs)
