"""pockettune-run train and evaluate on an exported bundle, beside simulated clients."""

from __future__ import annotations

import json
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pockettune import tensor_file
from pockettune.aggregate import ServerOptimizer
from pockettune.bundle import encode_manifest
from pockettune.evaluation import evaluate
from pockettune.federation import Federation, bind
from pockettune.local import Identity, LocalTraining, batch_plan, draw, hyper_values
from pockettune.method import compose
from pockettune.models.classifier import load_classifier
from pockettune.pack import unpack

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Arrays = dict[str, NDArray[Any]]

SHAPE, CLASSES, EXAMPLES = (3, 16), 5, 21
LOCAL = LocalTraining(epochs=4, batch_size=8, momentum=0.9, learning_rate=0.05)
IDENTITY = Identity(seed=5, round=2, client=7)
WHO = ("--seed", 5, "--round", 2, "--client", 7)


def refused(run: Run, code: str, *words: object) -> None:
    listed = json.loads((Path(__file__).parents[2] / "spec/errors.json").read_text())["errors"]
    status = next(entry["exit"] for entry in listed if entry["code"] == code)
    assert f": {code}: " in run(*words, status=status).stderr


def federation() -> Federation:
    model = load_classifier("har-conv", SHAPE, CLASSES)
    return bind(compose("quant_robust", {"variant": "mqat"}), model, LOCAL, ServerOptimizer())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from export.cli import main

    folder = tmp_path_factory.mktemp("client") / "bundle"
    command = f"--method quant_robust --set variant=mqat --model har-conv --out {folder}"
    command += " --input-shape 3x16 --classes 5 --batch-size 8 --momentum 0.9 --epochs 4"
    assert main(command.split()) == 0
    return folder


@pytest.fixture(scope="module")
def examples() -> Arrays:
    """Of each class a wave of its own, so that there is something to learn."""
    generator = np.random.default_rng(0)
    labels = np.arange(EXAMPLES, dtype=np.int64) % CLASSES
    time_axis = np.arange(SHAPE[1], dtype=np.float32)
    waves = np.sin(time_axis[None, None] * (1 + labels[:, None, None]) / 3)
    noise = generator.normal(size=(EXAMPLES, *SHAPE)) * 0.1
    return {"inputs": (waves + noise).astype(np.float32), "labels": labels}


@pytest.fixture
def inputs(tmp_path: Path, examples: Arrays) -> Path:
    path = tmp_path / "examples.safetensors"
    path.write_bytes(tensor_file.encode(examples))
    return path


def simulated(examples: Arrays) -> tuple[torch.Tensor, list[float]]:
    """Parameters and losses of the same client in PyTorch."""
    bound = federation()
    hyper = [torch.tensor([value]) for value in hyper_values(LOCAL)]
    start = torch.from_numpy(bound.initial())
    state = [start, torch.zeros_like(start), torch.zeros(1, dtype=torch.int64)]
    losses = []
    for step, rows in enumerate(batch_plan(EXAMPLES, LOCAL, IDENTITY)):
        chosen = np.maximum(rows, 0)
        batch = (examples["inputs"][chosen], examples["labels"][chosen], np.float32(rows >= 0))
        draws = [draw(spec, IDENTITY, step) for spec in bound.objective.draws]
        tensors = [torch.from_numpy(np.asarray(value)) for value in batch]
        loss, _, *state = bound.step(*tensors, *draws, *hyper, *state)
        losses.append(float(loss))
    return state[0], losses


def test_a_native_client_is_the_simulated_one(
    run: Run, bundle: Path, inputs: Path, examples: Arrays, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run("train", "--bundle", bundle, "--inputs", inputs, "--out", out, *WHO)
    assert done.returncode == 0, done.stderr
    expected, losses = simulated(examples)
    result = json.loads((out / "result.json").read_text())
    np.testing.assert_allclose(result["losses"], losses, rtol=1e-4, atol=1e-5)
    assert result["loss_last"] < result["losses"][0]
    found = tensor_file.read(out / "parameters.safetensors")
    model = federation().model
    named = unpack(model.views, expected)
    assert sorted(found) == sorted(named)
    for name, value in named.items():
        np.testing.assert_allclose(found[name], value.numpy(), rtol=1e-3, atol=1e-5, err_msg=name)

    for program, bits in (("evaluate", 32), ("predict", 32), ("predict_8", 8), ("predict_4", 4)):
        parameters = out / "parameters.safetensors"
        done = run(
            *("evaluate", "--bundle", bundle, "--inputs", inputs),
            *("--state", parameters, "--program", program),
        )
        assert done.returncode == 0, done.stderr
        score = json.loads(done.stdout)
        wanted = evaluate(model, expected, examples["inputs"], examples["labels"], bits=bits)
        assert score["examples"] == EXAMPLES
        assert score["loss"] == pytest.approx(wanted["loss"], rel=1e-3)
        assert score["accuracy"] == pytest.approx(wanted["accuracy"])


def test_a_killed_client_ends_with_the_same_bytes(
    native: Path, run: Run, bundle: Path, inputs: Path, tmp_path: Path
) -> None:
    options = ["--bundle", bundle, "--inputs", inputs, *WHO, "--steps", 400]
    whole = tmp_path / "whole"
    assert run("train", *options, "--out", whole).returncode == 0
    out = tmp_path / "out"
    command = [native / "pockettune-run", "train", *options, "--out", out]
    command += ["--checkpoint-every", 3]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE)
    while not list((out / "work").glob("state-*.safetensors")) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = run("train", *options, "--out", out, "--checkpoint-every", 3)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "result.json").read_text())["resumed_from"] >= 3
    name = "parameters.safetensors"
    assert (out / name).read_bytes() == (whole / name).read_bytes()

    refused(run, "state_mismatch", "train", *options[:-2], "--steps", 401, "--out", out)
    again = ["train", "--bundle", bundle, "--inputs", inputs, "--out", out, "--steps", 400]
    error = run(*again, "--state", whole / name, status=22).stderr
    assert "; go on with --client 7, --round 2, --seed 5, no --state, or begin anew" in error


def test_a_restart_behind_the_last_step_leaves_one_state(
    run: Run, bundle: Path, inputs: Path, tmp_path: Path
) -> None:
    """A kill between the renaming of a state and the removal of the one before leaves both."""
    options = ["--bundle", bundle, "--inputs", inputs, *WHO, "--checkpoint-every", 2]
    run("train", *options, "--steps", 4, "--out", tmp_path / "out")
    work = tmp_path / "out/work"
    last = work / "state-00000004.safetensors"
    before = last.read_bytes()
    (work / "state-00000002.safetensors").write_bytes(before)
    (work / "state-00000006.safetensors").write_bytes(before)  # newer, and of no use
    done = run("train", *options, "--steps", 4, "--out", tmp_path / "out")
    assert '{"event":"resume","step":4}' in done.stdout
    # What is damaged stays, to be looked at; what is older is not needed.
    names = ["lock", last.name, "state-00000006.safetensors"]
    assert sorted(path.name for path in work.iterdir()) == names
    assert last.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("label", "data_invalid"),
        ("negative", "data_invalid"),
        ("nan", "data_invalid"),
        ("shape", "tensor_mismatch"),
        ("count", "tensor_mismatch"),
        ("empty", "safetensors_invalid"),
        ("missing", "tensor_mismatch"),
    ],
)
def test_bad_examples_are_refused(
    run: Run, bundle: Path, examples: Arrays, tmp_path: Path, name: str, code: str
) -> None:
    bad = {key: value.copy() for key, value in examples.items()}
    if name == "label":
        bad["labels"][3] = CLASSES
    elif name == "negative":
        bad["labels"][3] = -1
    elif name == "nan":
        bad["inputs"][4, 1, 2] = np.nan
    elif name == "shape":
        bad["inputs"] = bad["inputs"][:, :2].copy()
    elif name == "count":
        bad["labels"] = bad["labels"][:-1].copy()
    elif name == "missing":
        del bad["labels"]
    path = tmp_path / "bad.safetensors"
    if name == "empty":
        header = json.dumps(
            {
                "inputs": {"dtype": "F32", "shape": [0, *SHAPE], "data_offsets": [0, 0]},
                "labels": {"dtype": "I64", "shape": [0], "data_offsets": [0, 0]},
            }
        ).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header)
    else:
        path.write_bytes(tensor_file.encode(bad))
    out = tmp_path / "out"
    refused(run, code, "train", "--bundle", bundle, "--inputs", path, "--out", out)
    assert not (tmp_path / "out" / "parameters.safetensors").exists()


def test_logits_of_other_classes_than_the_task_s_are_refused(
    run: Run, bundle: Path, inputs: Path, tmp_path: Path
) -> None:
    """They would be read beyond their end."""
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["classification"]["classes"] = 10**6
    (other / "manifest.json").write_bytes(encode_manifest(manifest))
    command = ["evaluate", "--bundle", other, "--inputs", inputs, "--program"]
    refused(run, "bundle_manifest_invalid", *command, "predict_8")


def test_a_bit_width_that_no_program_has_names_those_there_are(
    run: Run, bundle: Path, inputs: Path
) -> None:
    command = ["evaluate", "--bundle", bundle, "--inputs", inputs, "--program", "predict_3"]
    assert "use one of evaluate, predict, predict_4, predict_8" in run(*command, status=30).stderr


def test_a_client_that_diverges_is_refused(
    run: Run, bundle: Path, inputs: Path, tmp_path: Path
) -> None:
    options = ["--bundle", bundle, "--inputs", inputs, "--out", tmp_path / "out"]
    refused(run, "loss_not_finite", "train", *options, "--learning-rate", 1e6, "--steps", 40)
    assert not (tmp_path / "out" / "parameters.safetensors").exists()
