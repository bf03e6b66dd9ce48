"""The other commands of pockettune-run on the toy bundle, its ABI, and its refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from toy_bundle import EMBEDDING, FROZEN, GUIDANCE, INITIAL, PROGRAMS, manifest, write_toy

from pockettune import random, tensor_file

Run = Callable[..., "subprocess.CompletedProcess[str]"]

ROOT = Path(__file__).parents[2]
IDS = np.array([[1, 2, 3, 9], [4, 5, 9, 9]], np.int64)


def expected_picture(picture: int, adapter: NDArray[Any], guidance: float, steps: int) -> Any:
    """Bytes [8, 8, 3] by the toy's definition, in float64."""
    kind, nothing = EMBEDDING[IDS[picture]].mean(), EMBEDDING[9].mean()
    x = random.normal(5, 4, picture, (4, 4)).astype(np.float64)
    a, b = adapter[:8].reshape(2, 4), adapter[8:].reshape(4, 2)
    for _ in range(steps):
        x = x - (1000 // steps) / 1000 * (
            FROZEN @ x + b @ a @ x + nothing + guidance * (kind - nothing)
        )
    image = x[:3].reshape(3, 2, 2).repeat(4, 1).repeat(4, 2)
    return np.clip(np.floor((image + 1) * 127.5 + 0.5), 0, 255).transpose(1, 2, 0)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.safetensors"
    tensor_file.write(path, {"input_ids": IDS})
    return path


@pytest.mark.parametrize("dtype", [None, np.float32, np.float16])
def test_pictures_are_the_reference_s(
    run: Run, toy: Path, prompts: Path, tmp_path: Path, dtype: Any
) -> None:
    pack = INITIAL if dtype is None else np.linspace(-1, 1, 16).astype(np.float16)
    options: list[Any] = ["--bundle", toy, "--inputs", prompts, "--out", tmp_path / "out"]
    if dtype is not None:
        tensors = {"lora_A": pack[:8].reshape(2, 4), "lora_B": pack[8:].reshape(4, 2)}
        named = {f"unet.mid.{k}.weight": v.astype(dtype) for k, v in tensors.items()}
        tensor_file.write(tmp_path / "adapter.safetensors", named)
        options += ["--adapter", tmp_path / "adapter.safetensors", "--guidance", 3, "--steps", 5]
    done = run("generate", *options, "--seed", 5)
    for picture in range(2):
        image = np.asarray(Image.open(tmp_path / f"out/picture-{picture:04d}.png"))
        guidance, steps = (GUIDANCE, 4) if dtype is None else (3, 5)
        expected = expected_picture(picture, pack.astype(np.float64), guidance, steps)
        assert np.abs(image - expected).max() <= 1
        assert image.std() > 1
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["event"] == "done"
    assert last["peak_pss_bytes"] > 2**20


def test_an_adapter_of_another_rank_is_refused(
    run: Run, toy: Path, prompts: Path, tmp_path: Path
) -> None:
    path = tmp_path / "adapter.safetensors"
    tensor_file.write(path, {"unet.mid.lora_A.weight": np.zeros((4, 4), np.float32)})
    command = ["generate", "--bundle", toy, "--inputs", prompts, "--out", tmp_path / "out"]
    done = run(*command, "--adapter", path, status=21)
    assert "unet.mid.lora_A.weight" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("program", list(PROGRAMS))
def test_bench_measures_every_program(run: Run, toy: Path, program: str) -> None:
    done = run("bench", "--bundle", toy, "--program", program, "--repeats", 3)
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert result["program"] == program
    assert len(result["seconds"]) == result["repeats"] == 3
    assert result["median_seconds"] == sorted(result["seconds"])[1]
    for key in ("rss_anon_bytes", "rss_file_bytes", "peak_rss_bytes", "peak_pss_bytes"):
        assert result[key] > 2**16
    assert result["engine"].startswith("executorch ")


def test_run_is_one_program_from_file_to_file(run: Run, toy: Path, tmp_path: Path) -> None:
    ids = np.array([[7, 0, 1, 1]], np.int64)
    tensor_file.write(tmp_path / "in.safetensors", {"input_ids": ids})
    options = ["--inputs", tmp_path / "in.safetensors", "--out", tmp_path / "out.safetensors"]
    run("run", "--bundle", toy, "--program", "encode_text", *options)
    found = tensor_file.read(tmp_path / "out.safetensors")
    np.testing.assert_array_equal(found["text_states"], EMBEDDING[ids])


def test_the_abi_answers_from_plain_c(native: Path, toy: Path) -> None:
    command = [native / "pockettune-check-abi", toy / "programs.pte", "encode_text"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("ok\n", "")


def test_verify_names_the_bundle(run: Run, toy: Path) -> None:
    found = json.loads(run("verify", "--bundle", toy).stdout)
    assert found["bundle_id"] == json.loads((toy / "manifest.json").read_text())["bundle_id"]


def test_another_runtime_version_is_refused(run: Run, toy_programs: bytes, tmp_path: Path) -> None:
    bundle = write_toy(tmp_path / "bundle", toy_programs, tools={"executorch": "0.0.1+cpu"})
    done = run("bench", "--bundle", bundle, "--program", "prepare", status=15)
    assert "0.0.1+cpu" in done.stderr
    run("verify", "--bundle", bundle)


def test_programs_that_differ_from_their_description_are_refused(
    run: Run, toy_programs: bytes, tmp_path: Path
) -> None:
    described = manifest()["programs"]
    inputs = [{**described["encode_text"]["inputs"][0], "shape": [1, 5]}]
    changed = described | {"encode_text": described["encode_text"] | {"inputs": inputs}}
    bundle = write_toy(tmp_path / "shape", toy_programs, programs=changed)
    done = run("bench", "--bundle", bundle, "--program", "encode_text", status=21)
    assert "[1,4]" in done.stderr
    assert "[1,5]" in done.stderr
    fewer = described | {"decode": described["decode"] | {"outputs": []}}
    bundle = write_toy(tmp_path / "count", toy_programs, programs=fewer)
    run("bench", "--bundle", bundle, "--program", "decode", status=21)


def test_a_file_that_is_no_program_is_refused(run: Run, tmp_path: Path) -> None:
    bundle = write_toy(tmp_path / "bundle", b"no program" * 100)
    done = run("bench", "--bundle", bundle, "--program", "decode", status=31)
    assert "engine_failed" in done.stderr


def test_a_changed_bundle_is_refused(run: Run, toy: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(toy, bundle)
    content = bytearray((bundle / "programs.pte").read_bytes())
    content[len(content) // 2] ^= 4
    (bundle / "programs.pte").write_bytes(content)
    run("verify", "--bundle", bundle, status=13)
    run("verify", "--bundle", tmp_path / "nowhere", status=10)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["train"],
        ["verify"],
        ["verify", "--bundle"],
        ["verify", "bundle"],
        ["verify", "--bundle", "a", "--bundle", "b"],
        ["verify", "--bundle", "a", "--steps", "3"],
        ["bench", "--bundle", "a", "--program", "p", "--repeats", "0"],
        ["bench", "--bundle", "a", "--program", "p", "--repeats", "3x"],
        ["personalize", "--bundle", "TOY", "--inputs", "a", "--out", "b", "--prior-weight", "1"],
        ["personalize", "--bundle", "TOY", "--inputs", "a", "--out", "b", "--steps", "-1"],
        ["personalize", "--bundle", "TOY", "--inputs", "a", "--out", "b", "--seed", "-1"],
        ["personalize", "--bundle", "TOY", "--inputs", "a", "--out", "b", "--learning-rate", "nan"],
        ["generate", "--bundle", "TOY", "--inputs", "a", "--out", "b", "--steps", "1001"],
    ],
)
def test_a_wrong_command_line_is_a_usage_error(run: Run, toy: Path, words: list[str]) -> None:
    run(*(str(toy) if word == "TOY" else word for word in words), status=2)


def test_a_program_that_is_not_there_is_named(run: Run, toy: Path) -> None:
    done = run("bench", "--bundle", toy, "--program", "evaluate", status=30)
    assert "train_step" in done.stderr


def test_help_and_version(run: Run) -> None:
    assert "personalize" in run("--help").stdout
    assert "executorch" in run("--version").stdout
