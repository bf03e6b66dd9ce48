"""The guide's method, taken from the guide, does what the guide says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pockettune import method
from pockettune.aggregate import ServerOptimizer
from pockettune.data.dataset import Split
from pockettune.federation import bind
from pockettune.local import LocalTraining
from pockettune.models.classifier import load_classifier
from pockettune.round import initial_state, run_round

GUIDE = Path(__file__).parent.parent / "docs/adding-a-method.md"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    path = tmp_path / "smooth_labels.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("smooth_labels", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "smooth_labels", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(method, "names", lambda: ["smooth_labels"])
    monkeypatch.setattr(method, "get", lambda _: module.METHOD)
    return module


def trained(text: str, **settings: float) -> np.ndarray:
    model = load_classifier("har-conv", (3, 8), 4)
    random = np.random.default_rng(0)
    data = Split(
        inputs=random.normal(size=(20, 3, 8)).astype(np.float32),
        labels=random.integers(0, 4, 20),
        users=np.full(20, -1, np.int64),
    )
    local = LocalTraining(batch_size=8, learning_rate=0.1)
    federation = bind(method.compose(text, settings), model, local, ServerOptimizer())
    state, _ = run_round(federation, initial_state(federation), [0], lambda _: data)
    return state.parameters


@pytest.mark.usefixtures("toy")
def test_strength_zero_is_federated_averaging_and_more_is_not() -> None:
    plain = trained("fedavg")
    assert np.array_equal(trained("smooth_labels", strength=0.0), plain)
    assert not np.array_equal(trained("smooth_labels", strength=0.2), plain)


def test_the_table_of_stages_is_complete() -> None:
    rows = re.findall(r"^\| `(\w+)\(", GUIDE.read_text(), re.MULTILINE)
    assert tuple(rows) == method.STAGES
