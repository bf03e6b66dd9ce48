"""Fleets' models of real examples in the runtime, beside simulation: 200 steps, and predictions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pockettune import data, tensor_file
from pockettune.aggregate import ServerOptimizer
from pockettune.data import Split
from pockettune.evaluation import evaluate
from pockettune.federation import Federation, bind
from pockettune.local import Identity, LocalTraining, batch_plan, hyper_values
from pockettune.method import compose
from pockettune.models.classifier import load_classifier
from pockettune.parameters_file import read_pack

Run = Callable[..., "subprocess.CompletedProcess[str]"]

STEPS = 200
TOLERANCE = 1e-3
"""Of each loss, at a rate at which rounding stays rounding."""
POINTS = 0.5
"""How far accuracies may be apart."""


def export(model: str, shape: str, classes: int, out: Path) -> None:
    from export.cli import main

    options = f"--method fedavg --model {model} --input-shape {shape} --classes {classes}"
    assert main([*options.split(), "--out", str(out)]) == 0


def write(split: Split, path: Path) -> Path:
    tensor_file.write(path, {"inputs": split.inputs, "labels": split.labels})
    return path


def eager_losses(federation: Federation, split: Split) -> list[float]:
    hyper = [torch.tensor([value]) for value in hyper_values(federation.local)]
    state = [torch.from_numpy(federation.initial()), torch.zeros(1, dtype=torch.int64)]
    losses = []
    for rows in batch_plan(len(split), federation.local, Identity(0, 0, 0)):
        chosen = np.maximum(rows, 0)
        batch = (split.inputs[chosen], split.labels[chosen], np.float32(rows >= 0))
        loss, _, *state = federation.step(*map(torch.from_numpy, batch), *hyper, *state)
        losses.append(float(loss))
    return losses


def test_200_steps_lead_where_pytorchs_lead(run: Run, tmp_path: Path) -> None:
    watch = data.load("watch")
    local = LocalTraining(steps=STEPS, learning_rate=0.05)
    model = load_classifier("har-conv", watch.input_shape, watch.classes)
    federation = bind(compose("fedavg", {}), model, local, ServerOptimizer())
    bundle, out = tmp_path / "bundle", tmp_path / "out"
    export("har-conv", "6x100", watch.classes, bundle)
    split = watch.train.take(np.random.default_rng(0).permutation(len(watch.train))[:640])
    given = ("--bundle", bundle, "--inputs", write(split, tmp_path / "train.safetensors"))
    how = ("--steps", STEPS, "--learning-rate", local.learning_rate)
    run("train", *given, *how, "--out", out)
    losses = json.loads((out / "result.json").read_text())["losses"]
    assert np.mean(losses[-20:]) < 0.6 * np.mean(losses[:20])
    np.testing.assert_allclose(losses, eager_losses(federation, split), rtol=0, atol=TOLERANCE)


def test_predictions_at_few_bits_are_the_simulated_quantizers(run: Run, tmp_path: Path) -> None:
    digits = data.load("digits")
    bundle, out = tmp_path / "bundle", tmp_path / "out"
    export("lenet", "1x8x8", digits.classes, bundle)
    given = ("--bundle", bundle, "--inputs", write(digits.train, tmp_path / "train.safetensors"))
    run("train", *given, "--steps", STEPS, "--learning-rate", 0.2, "--out", out)
    parameters = out / "parameters.safetensors"
    model = load_classifier("lenet", digits.input_shape, digits.classes)
    pack = read_pack(parameters, model.views)
    test = write(digits.test, tmp_path / "test.safetensors")
    for program, bits in (("predict", 32), ("predict_8", 8), ("predict_4", 4)):
        given = ("--bundle", bundle, "--inputs", test, "--state", parameters)
        done = run("evaluate", *given, "--program", program)
        found = json.loads(done.stdout)
        expected = evaluate(model, pack, digits.test.inputs, digits.test.labels, bits=bits)
        assert found["examples"] == len(digits.test) > 300
        assert expected["accuracy"] > 0.8
        assert 100 * found["accuracy"] == pytest.approx(100 * expected["accuracy"], abs=POINTS)
