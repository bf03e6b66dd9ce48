"""A person's two commands on a tiny model's bundle, with the real native runner."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from benchmarks.synthetic import SIZES, write_model
from pockettune import random, tensor_file
from pockettune.bundle import open_bundle
from pockettune.cli import main

ROOT = Path(__file__).parents[2]
STEPS = 8
WORDS = ["--subject", "sks", "--class", "frog"]
PREVIEW = ["--preview", "a sks frog", "--preview", "a frog"]
pytestmark = pytest.mark.e2e


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run of the command ended."""

    status: int
    out: str
    errors: str


def pockettune(*arguments: object) -> Ended:
    """The command in this process, which has loaded its libraries; the runner has its own."""
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        status = main([str(argument) for argument in arguments])
    return Ended(status, out.getvalue(), errors.getvalue())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_model(folder, SIZES["tiny"], dtype=torch.float32)
    return folder


@pytest.fixture(scope="module")
def bundle(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "bundle"
    command = [sys.executable, "-m", "export", "--model", model, "--out", folder, "--cut", "A"]
    subprocess.run([*command, "--bits", "32"], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0).integers(0, 256, (3, 50, 70, 3), dtype=np.uint8)
    for index, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def personalize(bundle: Path, photos: Path, out: Path, *more: object) -> Ended:
    arguments = ["personalize", "--bundle", bundle, "--photos", photos, *WORDS, "--out", out]
    return pockettune(*arguments, "--threads", 1, *more)


@pytest.fixture(scope="module")
def learnt(
    bundle: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A finished personalization: its folder, and what ``--json`` printed."""
    out = tmp_path_factory.mktemp("learnt")
    prior = ["--prior-preservation", "--class-pictures", 2]
    ended = personalize(bundle, photos, out, "--steps", STEPS, *prior, *PREVIEW, "--json")
    assert ended.status == 0, ended.errors
    return out, json.loads(ended.out)


def test_an_adapter_a_result_and_a_sheet_come_out(learnt: tuple[Path, dict[str, Any]]) -> None:
    out, result = learnt
    assert result["steps"] == STEPS
    assert len(result["losses"]) == STEPS
    assert np.isfinite(result["losses"]).all()
    assert result["adapter_change"] > 0
    assert result["prompt"] == "a sks frog"
    assert Path(result["adapter"]) == out / "adapter.safetensors"
    with Image.open(result["sheet"]) as sheet:
        assert sheet.size[0] > 3 * 160
    assert len(list((out / "before").glob("*.png"))) == 2


def test_progress_is_said_in_plain_lines_where_no_terminal_is(
    bundle: Path, photos: Path, tmp_path: Path
) -> None:
    ended = personalize(bundle, photos, tmp_path, "--steps", 2, "--no-preview")
    assert ended.status == 0, ended.errors
    assert "train 2/2, loss " in ended.errors
    assert "\x1b" not in ended.errors
    assert f"--adapter {tmp_path / 'adapter.safetensors'}" in ended.out
    assert not (tmp_path / "sheet.png").exists()


def test_diffusers_draws_the_same_picture_with_the_adapter(
    bundle: Path, model: Path, learnt: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """``load_lora_weights`` of the file as it is, the same first noise, 8-bit pictures."""
    from diffusers import StableDiffusionPipeline

    adapter = learnt[0] / "adapter.safetensors"
    picture = tmp_path / "picture.png"
    arguments = ["generate", "--bundle", bundle, "--adapter", adapter, "--prompt", "a sks frog"]
    arguments += ["--seed", 5, "--steps", 4, "--guidance", 3, "-o", picture]
    ended = pockettune(*arguments)
    assert ended.status == 0, ended.errors
    with Image.open(picture) as opened:
        native = np.asarray(opened).astype(int)

    torch.set_num_threads(1)
    pipe = StableDiffusionPipeline.from_pretrained(model, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(adapter.parent, weight_name=adapter.name)
    shape = (1, 4, 8, 8)
    drawn = pipe(
        "a sks frog",
        num_inference_steps=4,
        guidance_scale=3.0,
        latents=torch.from_numpy(random.normal(5, 4, 0, shape)),
        output_type="np",
    ).images[0]
    np.testing.assert_allclose(native, drawn * 255, atol=1.0)


def test_the_adapter_matters_and_seeds_repeat(
    bundle: Path, learnt: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    def draw(name: str, *more: object) -> bytes:
        common = ["--bundle", bundle, "--prompt", "a frog", "--steps", 2, "-o", tmp_path / name]
        ended = pockettune("generate", *common, *more)
        assert ended.status == 0, ended.errors
        return (tmp_path / name).read_bytes()

    adapter = ["--adapter", learnt[0] / "adapter.safetensors"]
    plain = draw("a.png", "--seed", 1)
    assert draw("b.png", "--seed", 1) == plain
    assert draw("c.png", "--seed", 2) != plain
    assert draw("d.png", "--seed", 1, *adapter) != plain
    common = ["--bundle", bundle, "--prompt", "a frog", "--steps", 2, "--seed", 1, "--count", 2]
    assert pockettune("generate", *common, "-o", tmp_path / "n.png").status == 0
    assert (tmp_path / "n-1.png").read_bytes() == plain
    assert (tmp_path / "n-2.png").exists()
    assert {path.name for path in tmp_path.iterdir()} == {
        *("a.png", "b.png", "c.png", "d.png", "n-1.png", "n-2.png")
    }


def test_stopped_by_control_c_it_goes_on_and_ends_the_same(
    bundle: Path, photos: Path, tmp_path: Path
) -> None:
    steps = ["--steps", 800, "--no-preview"]
    arguments = ["personalize", "--bundle", bundle, "--photos", photos, *WORDS, "--threads", 1]
    command = [sys.executable, "-m", "pockettune", *arguments, *steps, "--out", tmp_path / "a"]
    with subprocess.Popen(
        [str(part) for part in command], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if line.startswith("train "):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 5, rest
    assert "interrupted" in rest
    assert not (tmp_path / "a/adapter.safetensors").exists()

    resumed = personalize(bundle, photos, tmp_path / "a", *steps)
    assert resumed.status == 0, resumed.errors
    assert "going on from step" in resumed.errors
    undisturbed = personalize(bundle, photos, tmp_path / "b", *steps)
    assert undisturbed.status == 0, undisturbed.errors
    assert "going on" not in undisturbed.errors
    files = [(tmp_path / name / "adapter.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (["--steps", "7"], 22, "samples"),
        (["--seed", "9"], 22, "seed"),
        (["--subject", "other"], 22, "inputs"),
    ],
)
def test_another_run_does_not_go_on_from_these_states(
    bundle: Path,
    photos: Path,
    learnt: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    change: list[str],
    status: int,
    words: str,
) -> None:
    shutil.copytree(learnt[0], tmp_path / "out")
    prior = ["--prior-preservation", "--class-pictures", 2]
    given = ["--steps", STEPS, *prior, *change]
    ended = personalize(bundle, photos, tmp_path / "out", *given)
    assert ended.status == status, ended.errors
    assert words in ended.errors
    before = load_file(learnt[0] / "adapter.safetensors")
    after = load_file(tmp_path / "out/adapter.safetensors")
    assert all((before[name] == after[name]).all() for name in before)


def test_what_cannot_be_used_is_said_in_one_sentence(
    bundle: Path, photos: Path, tmp_path: Path
) -> None:
    few, broken, damaged = tmp_path / "few", tmp_path / "broken", tmp_path / "damaged"
    few.mkdir()
    shutil.copy(photos / "0.png", few)
    shutil.copytree(photos, broken)
    (broken / "1.png").write_bytes(b"no image")
    shutil.copytree(bundle, damaged)
    manifest = open_bundle(bundle).manifest
    largest = max(manifest["files"], key=lambda name: manifest["files"][name]["bytes"])
    content = bytearray((damaged / largest).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / largest).write_bytes(content)
    words = "and so on " * 20
    long = ["--template", "{subject} {class} " + words]
    cases: list[tuple[Ended, int, str]] = [
        (personalize(bundle, few, tmp_path / "o"), 41, "1 photos, and at least 3"),
        (personalize(bundle, tmp_path / "none", tmp_path / "o"), 40, "No such file"),
        (personalize(bundle, broken, tmp_path / "o"), 40, "1.png"),
        (personalize(damaged, photos, tmp_path / "o"), 13, largest),
        (personalize(bundle, photos, tmp_path / "o", *long), 42, "tokens"),
        (personalize(bundle, photos, tmp_path / "o", "--preview", words), 42, "tokens"),
        (pockettune("verify", "--bundle", damaged), 13, largest),
    ]
    for ended, status, sentence in cases:
        assert ended.status == status, ended.errors
        assert sentence in ended.errors
        assert "Traceback" not in ended.errors
        assert len(ended.errors.splitlines()) == 1, ended.errors
    assert not (tmp_path / "o").exists()
    whole = pockettune("verify", "--bundle", bundle, "--json")
    assert whole.status == 0
    assert json.loads(whole.out)["bundle_id"] == manifest["bundle_id"]


def test_a_lora_from_elsewhere_is_made_to_fit(
    bundle: Path, learnt: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Half of B with twice the alpha is the same adapter, bit for bit."""
    own = learnt[0] / "adapter.safetensors"
    metadata = dict(tensor_file.read_header(own).metadata)
    config = json.loads(metadata["lora_adapter_metadata"])
    config["unet.lora_alpha"] *= 2
    metadata["lora_adapter_metadata"] = json.dumps(config)
    halved = {
        name: np.asarray(values / 2 if "lora_B" in name else values, np.float32)
        for name, values in load_file(own).items()
    }
    tensor_file.write(tmp_path / "other.safetensors", halved, metadata)
    pictures = []
    for name, file in (("own", own), ("other", tmp_path / "other.safetensors")):
        arguments = ["--bundle", bundle, "--adapter", file, "--prompt", "a frog", "--steps", 2]
        ended = pockettune("generate", *arguments, "-o", tmp_path / f"{name}.png")
        assert ended.status == 0, ended.errors
        pictures.append((tmp_path / f"{name}.png").read_bytes())
    assert pictures[0] == pictures[1]

    foreign = {"unet.mid_block.lora_A.weight": np.zeros((1, 1), np.float32)}
    tensor_file.write(tmp_path / "foreign.safetensors", foreign)
    arguments[3] = tmp_path / "foreign.safetensors"
    ended = pockettune("generate", *arguments, "-o", tmp_path / "foreign.png")
    assert ended.status == 21, ended.errors
    assert "mid_block" in ended.errors
    assert not (tmp_path / "foreign.png").exists()
