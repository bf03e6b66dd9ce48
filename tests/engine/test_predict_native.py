"""A fleet's model in the runtime, beside the simulated quantizer, on digits that it never saw."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pockettune import data, tensor_file
from pockettune.evaluation import evaluate
from pockettune.local import LocalTraining
from pockettune.models.classifier import load_classifier
from pockettune.parameters_file import read_pack
from pockettune.simulate.run import simulate
from pockettune.simulate.settings import Simulation

Run = Callable[..., "subprocess.CompletedProcess[str]"]

POINTS = 0.5
"""How far the accuracies may be apart."""


def test_a_simulated_fleets_model_predicts_as_its_quantizer_does(run: Run, tmp_path: Path) -> None:
    from export.cli import main

    local = LocalTraining(batch_size=32, learning_rate=0.05, momentum=0.9)
    simulate(
        Simulation(clients=2, cohort=2, partition="iid", rounds=3, evaluate_every=3, local=local),
        tmp_path / "simulated",
        lambda _: None,
    )
    parameters = tmp_path / "simulated/parameters.safetensors"
    command = ["--method", "fedavg", "--model", "lenet", "--input-shape", "1x8x8", "--classes", 10]
    command += ["--parameters", parameters, "--predict-bits", "8,4", "--out", tmp_path / "bundle"]
    assert main([str(word) for word in command]) == 0
    digits = data.load("digits")
    test = tmp_path / "test.safetensors"
    tensor_file.write(test, {"inputs": digits.test.inputs, "labels": digits.test.labels})
    model = load_classifier("lenet", digits.input_shape, digits.classes)
    pack = read_pack(parameters, model.views)
    for program, bits in (("predict", 32), ("predict_8", 8), ("predict_4", 4)):
        done = run(
            *("evaluate", "--bundle", tmp_path / "bundle", "--inputs", test, "--program", program)
        )
        found = json.loads(done.stdout)
        expected = evaluate(model, pack, digits.test.inputs, digits.test.labels, bits=bits)
        assert found["examples"] == len(digits.test) > 300
        assert expected["accuracy"] > 0.8
        assert 100 * found["accuracy"] == pytest.approx(100 * expected["accuracy"], abs=POINTS)
