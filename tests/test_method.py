"""The record of a method, its discovery and its configuration."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pockettune import method
from pockettune.errors import ConfigInvalid


def test_methods_are_the_files_of_the_folder() -> None:
    folder = Path(method.__file__).parent / "methods"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert method.names() == sorted(files)


def test_listing_imports_no_method() -> None:
    code = (
        "import sys; from pockettune import method; assert method.names()\n"
        "assert not [name for name in sys.modules if name.startswith('pockettune.methods')]\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(
        ConfigInvalid, match="'method' cannot be 'nothing'; valid: fedavg, hollowed_net"
    ):
        method.get("nothing")


@pytest.mark.parametrize("name", method.names())
def test_configs_are_frozen_flat_and_survive_json(name: str) -> None:
    kind = method.get(name).config
    config = kind()
    field = dataclasses.fields(kind)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, field, None)
    assert not hasattr(config, "__dict__")
    stored = json.loads(json.dumps(method.config_to_json(config)))
    assert method.config_from_json(kind, stored) == config
    with pytest.raises(ConfigInvalid, match=f"'colour' cannot be 'red'; valid: {field}, "):
        method.config_from_json(kind, {"colour": "red"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rank", 0),
        ("rank", 2.5),
        ("rank", True),
        ("alpha", -1),
        ("alpha", float("inf")),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("optimizer", "adam"),
        ("schedule", "linear"),
        ("recompute", "all"),
        ("accumulation", 0),
        ("steps", "many"),
        ("seed", -1),
        ("seed", 2**64),
        ("targets", []),
        ("targets", "to_q"),
        ("cut", 3),
    ],
)
def test_values_out_of_range_are_refused(key: str, value: Any) -> None:
    kind = method.get("hollowed_net").config
    with pytest.raises(ConfigInvalid, match=f"'{key}' cannot be"):
        method.config_from_json(kind, {key: value})


@dataclasses.dataclass(frozen=True, slots=True)
class _Strength:
    strength: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Sizes:
    strength: float = 2.0
    size: int = 3


@pytest.fixture
def two_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of two methods that replace different stages."""
    found = {
        "one": method.Method("", _Strength, encode=lambda config: ("codec", config.strength)),
        "two": method.Method("", _Sizes, aggregate=lambda config: ("aggregator", config.size)),
        "rival": method.Method("", _Sizes, encode=lambda config: config),
    }
    monkeypatch.setattr(method, "names", lambda: sorted(found))
    monkeypatch.setattr(method, "get", found.__getitem__)


@pytest.mark.usefixtures("two_methods")
def test_methods_of_different_stages_compose() -> None:
    both = method.compose("one+two", {"size": 5, "one.strength": 0.5})
    assert both.name == "one+two"
    assert both.stage("encode") == ("codec", 0.5)
    assert both.stage("aggregate") == ("aggregator", 5)
    assert both.stage("client_loss", None) is None
    assert both.to_json() == {"one": {"strength": 0.5}, "two": {"strength": 2.0, "size": 5}}


def test_no_method_is_federated_averaging() -> None:
    plain = method.compose("fedavg", {})
    assert plain.name == "fedavg"
    assert all(plain.stage(stage) is None for stage in method.STAGES)


@pytest.mark.usefixtures("two_methods")
@pytest.mark.parametrize(
    ("text", "settings", "said"),
    [
        ("one+rival", {}, "at most one method that replaces encode; one and rival do"),
        ("one+one", {}, "'method' cannot be 'one[+]one'"),
        ("three", {}, "'method' cannot be 'three'; valid: fedavg, one, rival, two"),
        ("one+two", {"strength": 1.0}, "valid: one.strength, two.strength, two.size"),
        ("one", {"size": 1}, "'size' cannot be '1'; valid: one.strength"),
        ("fedavg", {"size": 1}, "fedavg has no settings"),
    ],
)
def test_what_does_not_compose_is_refused(text: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigInvalid, match=said):
        method.compose(text, settings)
