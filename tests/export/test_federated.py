"""The exporter's command for a model that a fleet trains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from export import cli
from pockettune import tensor_file
from pockettune.models.classifier import load_classifier
from pockettune.pack import unpack

COMMAND = [
    "--method",
    "fedavg",
    "--model",
    "har-conv",
    "--input-shape",
    "2x8",
    "--classes",
    "3",
    "--batch-size",
    "4",
]
MODEL = load_classifier("har-conv", (2, 8), 3)


@pytest.fixture(autouse=True)
def _calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command silences libraries for good; a test must not."""
    monkeypatch.setattr(cli, "_quiet_libraries", lambda: None)


@pytest.fixture
def parameters() -> dict[str, np.ndarray]:
    named = unpack(MODEL.views, MODEL.initial(9))
    return {name: value.numpy() for name, value in named.items()}


def test_a_bundle_starts_from_given_parameters_and_predicts_at_the_widths_asked_for(
    parameters: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path, out = tmp_path / "parameters.safetensors", tmp_path / "bundle"
    path.write_bytes(tensor_file.encode(parameters))
    options = ["--parameters", path, "--predict-bits", "3,2", "--out", out]
    assert cli.main([*COMMAND, *map(str, options)]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    widths = manifest["classification"]["predict_programs"]
    assert {name: entry["bits"] for name, entry in widths.items()} == {
        "predict": 32,
        "predict_3": 3,
        "predict_2": 2,
    }
    assert sorted(manifest["programs"]) == sorted([*widths, "train_step", "evaluate"])
    tensor = manifest["tensors"]["parameters"]
    pack = tensor_file.read(out / tensor["file"])["parameters"]
    for view in tensor["views"]:
        value = parameters[view["name"]]
        stored = pack[view["offset"] : view["offset"] + value.size].reshape(view["shape"])
        np.testing.assert_array_equal(stored, value)


@pytest.mark.parametrize(
    ("edit", "status", "part"),
    [
        ("missing", 21, "'head.bias' is missing"),
        ("more", 21, "'tail' is there"),
        ("shape", 21, "'head.bias' is float32 [4], not float32 [3]"),
        ("dtype", 21, "'head.bias' is float16 [3]"),
        ("nan", 53, "NaN or infinity in 'head.bias'"),
    ],
)
def test_other_parameters_are_refused(
    edit: str,
    status: int,
    part: str,
    parameters: dict[str, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "head.bias"
    if edit == "missing":
        del parameters[name]
    else:
        values = {
            "more": parameters[name],
            "shape": np.zeros(4, np.float32),
            "dtype": np.zeros(3, np.float16),
            "nan": np.array([0.0, np.nan, 0.0], np.float32),
        }
        parameters["tail" if edit == "more" else name] = values[edit]
    path = tmp_path / "parameters.safetensors"
    path.write_bytes(tensor_file.encode(parameters))
    out = str(tmp_path / "bundle")
    assert cli.main([*COMMAND, "--parameters", str(path), "--out", out]) == status
    assert part in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "status", "part"),
    [
        (["--predict-bits", "8,4.5"], 2, "--predict-bits '8,4.5' is not like 8,4"),
        (["--predict-bits", "1"], 55, "'predict_bits' cannot be '1'; valid: 2 to 8, or 32"),
        (["--input-shape", "2 by 8"], 2, "--input-shape '2 by 8' is not like 1x28x28"),
        (["--input-shape", "2x9"], 55, "'input_shape' cannot be"),
        (["--model", "vgg"], 55, "'model' cannot be 'vgg'; valid: char-conv, har-conv"),
    ],
)
def test_bad_options_are_one_sentence(
    options: list[str], status: int, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*COMMAND, *options, "--out", str(tmp_path / "bundle")]) == status
    assert part in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
