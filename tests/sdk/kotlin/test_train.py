"""The Kotlin trainer on a desktop JVM beside the native runner: the same bytes, nothing lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pockettune import tensor_file

Call = Callable[..., "subprocess.CompletedProcess[str]"]

WHO = ("--seed", 5, "--round", 2, "--client", 7)
STATE = "work/state-{:08d}.safetensors"


def options(prepared: Path) -> tuple[object, ...]:
    return ("--bundle", prepared / "bundle", "--inputs", prepared / "train.safetensors", *WHO)


@pytest.fixture(scope="module")
def undisturbed(run_native: Call, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A native run of 100 steps."""
    out = tmp_path_factory.mktemp("native")
    run_native("train", *options(prepared), "--steps", 100, "--out", out)
    return out


def test_100_steps_give_the_native_runner_s_bytes(
    desktop: Call, run_native: Call, undisturbed: Path, prepared: Path, tmp_path: Path
) -> None:
    desktop("train", *options(prepared), "--steps", 100, "--out", tmp_path)
    state = STATE.format(100)
    run = tmp_path / "runs/run"
    assert (run / state).read_bytes() == (undisturbed / state).read_bytes()
    wanted = json.loads((undisturbed / "result.json").read_text())
    found = json.loads((run / "result.json").read_text())
    added = {"accepted", "evaluation_after", "evaluation_before"}
    assert set(found) == set(wanted) | added
    same = ("change", "examples", "loss_first", "loss_last", "losses", "resumed_from", "steps")
    assert {name: found[name] for name in same} == {name: wanted[name] for name in same}

    kept = tmp_path / "adapters/run.safetensors"
    assert kept.read_bytes() == (undisturbed / "parameters.safetensors").read_bytes()


def test_a_model_of_others_learns_its_user(
    desktop: Call, run_native: Call, prepared: Path, tmp_path: Path
) -> None:
    """Learned from the one series of each exercise, measured on the other, which is held out.

    This person was chosen: the shares of right answers of all ten, after the model of the nine
    others, are on average as high as before.
    """
    bundle = ("--bundle", prepared / "bundle")
    base = tmp_path / "base"
    others = (*bundle, "--inputs", prepared / "others.safetensors", "--steps", 600)
    run_native("train", *others, "--out", base, "--checkpoint-every", 600)
    store = tmp_path / "store"
    (store / "adapters").mkdir(parents=True)
    start = store / "adapters/base.safetensors"
    start.write_bytes((base / "parameters.safetensors").read_bytes())

    same = (*options(prepared), "--steps", 100, "--learning-rate", 0.002)
    native = tmp_path / "native"
    run_native("train", *same, "--state", start, "--out", native)
    desktop("train", *same, "--parameters", "base", "--out", store)
    state = STATE.format(100)
    assert (store / "runs/run" / state).read_bytes() == (native / state).read_bytes()

    held_out = (*bundle, "--inputs", prepared / "test.safetensors")
    before, after = (
        json.loads(desktop("evaluate", *held_out, "--out", store, "--parameters", name).stdout)
        for name in ("base", "run")
    )
    done = run_native("evaluate", *held_out, "--state", store / "adapters/run.safetensors")
    wanted = json.loads(done.stdout)
    assert (after["loss"], after["accuracy"]) == (wanted["loss"], wanted["accuracy"])
    assert after["accuracy"] > before["accuracy"] + 0.05


def test_a_run_goes_on_in_another_language(
    desktop: Call, run_native: Call, undisturbed: Path, prepared: Path, tmp_path: Path
) -> None:
    same = (*options(prepared), "--steps", 100, "--checkpoint-every", 10)
    state = STATE.format(100)
    place = f"renamed:{Path(STATE.format(30)).name}"
    desktop("train", *same, "--out", tmp_path, "--kill-at", place, status=-signal.SIGKILL)
    run = tmp_path / "runs/run"
    run_native("train", *same, "--out", run)
    assert '"resumed_from":30' in (run / "result.json").read_text()
    assert (run / state).read_bytes() == (undisturbed / state).read_bytes()


def test_a_run_of_the_native_runner_goes_on(
    desktop: Call, native: Path, undisturbed: Path, prepared: Path, tmp_path: Path
) -> None:
    run = tmp_path / "runs/run"
    same = (*options(prepared), "--steps", 100, "--checkpoint-every", 1)
    command = [str(word) for word in (native, "train", *same, "--out", run)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while '"step":20' not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = desktop("train", *same, "--out", tmp_path)
    assert int(json.loads(done.stdout.splitlines()[0])["step"]) >= 19
    state = STATE.format(100)
    assert (run / state).read_bytes() == (undisturbed / state).read_bytes()


def test_a_folder_takes_one_run_at_a_time_in_any_language(
    desktop: Call,
    run_native: Call,
    native: Path,
    class_path: str,
    natives: Path,
    prepared: Path,
    tmp_path: Path,
) -> None:
    """The JVM's locks and the native runner's are of two kinds, which have to see each other."""
    run = tmp_path / "runs/run"
    same = (*options(prepared), "--steps", 100_000, "--checkpoint-every", 100_000)
    java = ("java", "-cp", class_path, "org.pockettune.desktop.MainKt", natives)
    first = ((native, "train", *same, "--out", run), (*java, "train", *same, "--out", tmp_path))
    for command in first:
        words = [str(word) for word in command]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert "step" in process.stdout.readline()
                process.send_signal(signal.SIGSTOP)
                done = run_native("train", *same, "--out", run, status=3)
                assert "io_failed: another run uses" in done.stderr
                done = desktop("train", *same, "--out", tmp_path, status=1)
                assert "io_failed: another run works in" in done.stderr
            finally:
                process.kill()


MOMENTS = ["appended", "written", "synced", "renamed"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_process_that_dies_while_it_saves_loses_nothing(
    desktop: Call, undisturbed: Path, prepared: Path, tmp_path: Path, moment: str
) -> None:
    same = (*options(prepared), "--steps", 100, "--checkpoint-every", 20, "--out", tmp_path)
    name = Path(STATE.format(60)).name
    desktop("train", *same, "--kill-at", f"{moment}:{name}", status=-signal.SIGKILL)
    done = desktop("train", *same)
    step = 60 if moment == "renamed" else 40
    assert done.stdout.splitlines()[0] == f'{{"event":"resume","step":{step}}}'
    state = STATE.format(100)
    assert (tmp_path / "runs/run" / state).read_bytes() == (undisturbed / state).read_bytes()
    assert sorted(path.name for path in (tmp_path / "runs/run/work").iterdir()) == [
        "lock",
        Path(state).name,
    ]


def test_a_restart_behind_the_last_step_leaves_one_state(
    desktop: Call, undisturbed: Path, prepared: Path, tmp_path: Path
) -> None:
    same = (*options(prepared), "--steps", 100, "--checkpoint-every", 50, "--out", tmp_path)
    state = Path(STATE.format(100)).name
    desktop("train", *same, "--kill-at", f"renamed:{state}", status=-signal.SIGKILL)
    work = tmp_path / "runs/run/work"
    assert len(list(work.glob("state-*"))) == 2
    desktop("train", *same)
    assert sorted(path.name for path in work.iterdir()) == ["lock", state]


def test_a_process_that_is_killed_at_random_ends_with_the_same_bytes(
    class_path: str, natives: Path, undisturbed: Path, prepared: Path, tmp_path: Path
) -> None:
    """``POCKETTUNE_KILLS=200 pytest tests/sdk/kotlin -k random`` is the long form."""
    wanted = int(os.environ.get("POCKETTUNE_KILLS", "6"))
    generator = random.Random(wanted)
    words = (*options(prepared), "--steps", 100, "--checkpoint-every", 1)
    expected = (undisturbed / STATE.format(100)).read_bytes()
    java = ("java", "-XX:TieredStopAtLevel=1", "-cp", class_path, "org.pockettune.desktop.MainKt")
    kills = runs = 0
    seen = set()
    while kills < wanted:
        out = tmp_path / str(runs)
        command = [str(word) for word in (*java, natives, "train", *words, "--out", out)]
        while True:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            # Once it trains, it takes a fraction of a second: that is where the kills have to fall.
            first = process.stdout.readline()
            time.sleep(generator.uniform(0, 0.25))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            if process.returncode == 0:
                break
            kills += 1
            seen.add(first)
        runs += 1
        assert (out / "runs/run" / STATE.format(100)).read_bytes() == expected
    assert len(seen) > 1  # some went on from states that others had left


def test_programs_that_take_other_tensors_are_refused(
    desktop: Call, prepared: Path, tmp_path: Path
) -> None:
    folder = altered(prepared / "bundle", tmp_path / "bundle")
    inputs = tmp_path / "inputs.safetensors"
    tensors = {"inputs": np.zeros((4, 6, 50), np.float32), "labels": np.zeros(4, np.int64)}
    inputs.write_bytes(tensor_file.encode(tensors))
    words = ("--bundle", folder, "--inputs", inputs, "--out", tmp_path / "store")
    done = desktop("train", *words, "--steps", 2, status=1)
    assert done.stderr.startswith("pockettune-desktop: tensor_mismatch: program 'train_step'")
    assert len(done.stderr.splitlines()) == 1


def altered(bundle: Path, folder: Path) -> Path:
    """The bundle with a manifest that says that windows have 50 readings."""
    import hashlib
    import shutil

    shutil.copytree(bundle, folder)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text().replace("[32,6,100]", "[32,6,50]"))
    manifest["classification"]["input_shape"] = [6, 50]
    del manifest["bundle_id"], manifest["signature"]
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":")) + "\n"
    identity = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(f'{{"bundle_id":"{identity}","signature":"",' + text[1:])
    return folder
