"""The Kotlin personalizer on a desktop JVM beside the native runner, on the engine's toy bundle."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pockettune import tensor_file

Call = Callable[..., "subprocess.CompletedProcess[str]"]

SIZE = 8
STEPS = ("--steps", 12, "--samples", 5, "--seed", 3)
PRIOR = ("--class-pictures", 2, "--prior-weight", 0.5)
STATE = "state-00000012.safetensors"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos and the prompts "b c" and "d" as both sides take them."""
    folder = tmp_path_factory.mktemp("photos")
    pixels = np.sin(np.arange(3 * 3 * SIZE * SIZE, dtype=np.float32)).reshape(3, 3, SIZE, SIZE)
    pixels.astype("<f4").tofile(folder / "pixels")
    one = {"pixels": pixels, "input_ids": np.array([[9, 2, 3, 9]], np.int64)}
    (folder / "one.safetensors").write_bytes(tensor_file.encode(one))
    two = {**one, "class_input_ids": np.array([[9, 4, 9, 9]], np.int64)}
    (folder / "two.safetensors").write_bytes(tensor_file.encode(two))
    return folder


@pytest.mark.parametrize("prior", [False, True])
def test_caches_states_adapter_and_picture_are_the_native_runner_s(
    desktop: Call, run_native: Call, toy: Path, photos: Path, tmp_path: Path, prior: bool
) -> None:
    same = ("--bundle", toy, *STEPS, *(PRIOR if prior else ()))
    inputs = photos / ("two.safetensors" if prior else "one.safetensors")
    native = tmp_path / "native"
    run_native("personalize", *same, "--inputs", inputs, "--out", native)
    words = ("--pixels", photos / "pixels", "--prompt", "b c", "--out", tmp_path)
    desktop("personalize", *same, *words, *(("--class-prompt", "d") if prior else ()))
    run = tmp_path / "runs/run"
    for name in ("cache.bin", STATE):
        assert (run / "work" / name).read_bytes() == (native / "work" / name).read_bytes()
    wanted = json.loads((native / "result.json").read_text())
    found = json.loads((run / "result.json").read_text())
    assert set(found) == set(wanted) | {"accepted", "evaluation_after", "evaluation_before"}
    same_figures = ("adapter_change", "loss_first", "loss_last", "losses", "steps")
    assert {name: found[name] for name in same_figures} == {
        name: wanted[name] for name in same_figures
    }
    # The gate: the first samples' losses with the state of before are those of the first round.
    assert found["accepted"] is (found["evaluation_after"] <= found["evaluation_before"])
    kept = tmp_path / "adapters/run.safetensors"
    if found["accepted"]:
        assert kept.read_bytes() == (native / "adapter.safetensors").read_bytes()
    else:
        assert not kept.exists()

    drawn = tmp_path / "drawn"
    prompt = {"input_ids": np.array([[9, 2, 3, 9]], np.int64)}
    (tmp_path / "prompt.safetensors").write_bytes(tensor_file.encode(prompt))
    how = ("--bundle", toy, "--seed", 4, "--steps", 3, "--guidance", 1.5)
    adapter = ("--adapter", native / "adapter.safetensors")
    words = ("--inputs", tmp_path / "prompt.safetensors", "--out", drawn)
    run_native("generate", *how, *words, *(adapter if kept.exists() else ()))
    mine = ("--prompt", "b c", "--out", tmp_path, "--picture", tmp_path / "picture")
    desktop("generate", *how, *mine, *(("--adapter", "run") if kept.exists() else ()))
    picture = np.asarray(Image.open(drawn / "picture-0000.png"))
    assert (tmp_path / "picture").read_bytes() == picture.tobytes()


@pytest.mark.parametrize("place", ["appended:cache.bin", "synced:cache.bin", "renamed:cache.bin"])
def test_dying_while_the_cache_is_written_loses_nothing(
    desktop: Call, run_native: Call, toy: Path, photos: Path, tmp_path: Path, place: str
) -> None:
    same = ("--bundle", toy, *STEPS)
    native = tmp_path / "native"
    run_native("personalize", *same, "--inputs", photos / "one.safetensors", "--out", native)
    words = (*same, "--pixels", photos / "pixels", "--prompt", "b c", "--out", tmp_path)
    desktop("personalize", *words, "--kill-at", place, status=-signal.SIGKILL)
    done = desktop("personalize", *words)
    assert ('"event":"prepare"' in done.stdout) is (not place.startswith("renamed"))
    work = tmp_path / "runs/run/work"
    assert (work / STATE).read_bytes() == (native / "work" / STATE).read_bytes()
    assert sorted(path.name for path in work.iterdir()) == ["cache.bin", "lock", STATE]


def test_what_cannot_be_personalized_is_refused(
    desktop: Call, toy: Path, prepared: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "none").write_bytes(b"")
    words = ("--bundle", toy, *STEPS, "--out", tmp_path / "store")
    cases = {
        "photos_too_few": ("--pixels", tmp_path / "none", "--prompt", "b"),
        "prompt_too_long": ("--pixels", photos / "pixels", "--prompt", "a b c"),
    }
    for code, more in cases.items():
        done = desktop("personalize", *words, *more, status=1)
        assert done.stderr.startswith(f"pockettune-desktop: {code}: "), done.stderr
    other = ("--inputs", photos / "one.safetensors", "--out", tmp_path / "store")
    done = desktop("evaluate", "--bundle", prepared / "bundle", *other, status=1)
    assert done.stderr.startswith("pockettune-desktop: tensor_mismatch: "), done.stderr
    assert not (tmp_path / "store/adapters").exists()
