"""Every config refuses what is not of a setting's type, however much it resembles it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import pytest

from pockettune import method
from pockettune.aggregate import ServerOptimizer
from pockettune.errors import ConfigInvalid
from pockettune.local import LocalTraining
from pockettune.simulate.settings import Simulation

CONFIGS: dict[str, Any] = {name: method.get(name).config for name in method.names()}
CONFIGS |= {"local": LocalTraining, "server": ServerOptimizer}
SIMULATION = ("clients", "cohort", "rounds", "evaluate_every", "scale")


def wrong_values(kind: str, default: Any) -> list[Any]:
    if kind == "int":
        return [float(default), str(default), True, None, 2**70, -1]
    if kind == "bool":
        return [int(default), float(default), str(default).lower(), None]
    if kind == "float":
        return [str(default), True, None, math.nan, math.inf, -math.inf, 10**400, [default]]
    if kind == "str":
        return [1, None, [default]]
    # A tuple: a list in JSON.
    return [default[0], [], [float(item) if isinstance(item, int) else 1 for item in default]]


def cases() -> Iterator[Any]:
    for name, kind in (*CONFIGS.items(), ("simulation", Simulation)):
        for entry in dataclasses.fields(kind):
            if kind is Simulation and entry.name not in SIMULATION:
                continue  # names of other things, and configs of their own
            values = wrong_values(str(entry.type).partition("[")[0], entry.default)
            for value in values:
                yield pytest.param(kind, entry.name, value, id=f"{name}-{entry.name}-{value!r:.20}")


@pytest.mark.parametrize(("kind", "name", "value"), list(cases()))
def test_values_of_another_type_are_refused(kind: Any, name: str, value: Any) -> None:
    with pytest.raises(ConfigInvalid, match=rf"'(server_)?({name}|optimizer)' cannot be"):
        method.config_from_json(kind, {name: value})


@pytest.mark.parametrize("kind", CONFIGS.values(), ids=CONFIGS)
def test_one_and_one_point_zero_make_the_same_config(kind: Any) -> None:
    """JSON's readers in other languages do not tell them apart, and configs are hashed."""
    names = [entry.name for entry in dataclasses.fields(kind) if entry.type == "float"]
    for name in names:
        configs = []
        for value in (0, 0.0, 1, 1.0):
            try:
                config = method.config_from_json(kind, {name: value})
            except ConfigInvalid:
                continue
            configs.append(repr(method.config_to_json(config)))
        assert len(configs) == 2 * len(set(configs)) > 0
