"""pockettune-run personalize on the toy bundle: a NumPy reference, stopping and resuming."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from toy_bundle import (
    BETA1,
    BETA2,
    EMBEDDING,
    EPSILON,
    FROZEN,
    GUIDANCE,
    INITIAL,
    inputs,
    manifest,
    write_toy,
)

from pockettune import random, tensor_file

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Array = NDArray[np.float32]

SEED = 3
KILLS = int(os.environ.get("POCKETTUNE_KILLS", "10"))


def events(done: subprocess.CompletedProcess[str], name: str) -> list[dict[str, Any]]:
    return [e for e in map(json.loads, done.stdout.splitlines()) if e.get("event") == name]


def text(ids: list[int]) -> float:
    return float(EMBEDDING[ids].mean())


def latents_of(photo: Array) -> Array:
    means = photo.reshape(3, 2, 4, 2, 4).mean((2, 4)).reshape(3, 4)
    return np.concatenate([means, means.mean(0, keepdims=True)]).astype(np.float32)


def reference(
    steps: int, samples: int, learning_rate: float, items: list[tuple[Array, float, float]]
) -> tuple[list[float], Array]:
    """Losses and adapter; ``items`` has latents, the prompt's mean and the weight per sample."""
    adapter, m1, m2 = INITIAL.astype(np.float64), np.zeros(16), np.zeros(16)
    losses = []
    for step in range(steps):
        sample = step % samples
        latents, prompt, weight = items[sample]
        noise = random.normal(SEED, 2, sample, (4, 4)).astype(np.float64)
        level = random.integer(SEED, 1, sample, (1,), 0, 1000)[0] / 1000
        x = latents * (1 - level) + noise * level
        hidden = (0.25 * x + prompt * 0.5).astype(np.float16).astype(np.float64)
        a, b = adapter[:8].reshape(2, 4), adapter[8:].reshape(4, 2)
        error = FROZEN @ x + b @ a @ x + hidden + prompt - noise
        losses.append(weight * (error**2).mean())
        slope = weight * error / 8
        gradient = np.concatenate([(b.T @ slope @ x.T).ravel(), (slope @ (a @ x).T).ravel()])
        m1, m2 = BETA1 * m1 + (1 - BETA1) * gradient, BETA2 * m2 + (1 - BETA2) * gradient**2
        scaled = np.sqrt(m2 / (1 - BETA2 ** (step + 1))) + EPSILON
        adapter = adapter - learning_rate * m1 / (1 - BETA1 ** (step + 1)) / scaled
    return losses, adapter.astype(np.float32)


def pack_of(path: Path) -> Array:
    tensors = tensor_file.read(path)
    names = ["unet.mid.lora_A.weight", "unet.mid.lora_B.weight"]
    assert sorted(tensors) == names
    return np.concatenate([tensors[name].ravel() for name in names])


def test_training_is_the_reference_s(
    run: Run, programs: bytes, photos: Path, tmp_path: Path
) -> None:
    bundle = write_toy(tmp_path / "bundle", programs)
    options = ["--bundle", bundle, "--inputs", photos, "--seed", SEED]
    done = run("personalize", *options, "--out", tmp_path / "out")
    subject = text([1, 2, 3, 9])
    items = [(latents_of(photo), subject, 1.0) for photo in inputs()["pixels"]]
    losses, adapter = reference(12, 5, 0.05, [items[i % 3] for i in range(5)])
    result = json.loads((tmp_path / "out/result.json").read_text())
    np.testing.assert_allclose(result["losses"], losses, rtol=2e-4)
    np.testing.assert_allclose(pack_of(tmp_path / "out/adapter.safetensors"), adapter, atol=2e-4)
    assert [e["loss"] for e in events(done, "step")] == result["losses"]
    assert result["adapter_change"] == pytest.approx(float(np.linalg.norm(adapter - INITIAL)), 1e-3)
    assert result["loss_first"] == pytest.approx(np.mean(result["losses"]))
    assert result["resumed_from"] is None
    assert 2**20 < result["peak_pss_bytes"] <= result["peak_rss_bytes"]
    assert events(done, "done") == [
        {"event": "done", "adapter": str(tmp_path / "out/adapter.safetensors")}
    ]


def test_prior_preservation_is_the_reference_s(
    run: Run, toy: Path, photos: Path, tmp_path: Path
) -> None:
    options = ["--bundle", toy, "--inputs", photos, "--seed", SEED, "--out", tmp_path / "out"]
    options += ["--prior-weight", 0.5, "--class-pictures", 2, "--samples", 6, "--steps", 9]
    options += ["--learning-rate", 0.01]
    run("personalize", *options)
    subject, kind, nothing = text([1, 2, 3, 9]), text([4, 5, 9, 9]), text([9] * 4)
    class_latents = []
    for picture in range(2):
        x = random.normal(SEED, 4, picture, (4, 4)).astype(np.float64)
        b, a = INITIAL[8:].reshape(4, 2), INITIAL[:8].reshape(2, 4)
        for _ in range(4):
            base = FROZEN @ x + b @ a @ x
            x = x - 0.25 * (base + nothing + GUIDANCE * (kind - nothing))
        class_latents.append(x.astype(np.float32))
    items = []
    for sample in range(6):
        photo = inputs()["pixels"][sample // 2 % 3]
        prior = (class_latents[sample // 2 % 2], kind, 0.5)
        items.append(prior if sample % 2 else (latents_of(photo), subject, 1.0))
    losses, _ = reference(9, 6, 0.01, items)
    result = json.loads((tmp_path / "out/result.json").read_text())
    np.testing.assert_allclose(result["losses"], losses, rtol=5e-4)


LONG = ["--seed", SEED, "--steps", 400, "--samples", 40, "--checkpoint-every", 7]


@pytest.fixture(scope="module")
def undisturbed(
    run: Run, toy: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    run("personalize", "--bundle", toy, "--inputs", photos, "--out", out, *LONG)
    return out


def assert_same_end(out: Path, undisturbed: Path) -> None:
    for name in ("adapter.safetensors", "work/cache.bin", "work/state-00000400.safetensors"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes(), name
    found, wanted = (json.loads((o / "result.json").read_text()) for o in (out, undisturbed))
    assert found["losses"] == wanted["losses"]
    assert sorted(p.name for p in (out / "work").iterdir()) == [
        "cache.bin",
        "lock",
        "state-00000400.safetensors",
    ]


def test_a_run_killed_anywhere_ends_with_the_same_bytes(
    run: Run, native: Path, toy: Path, photos: Path, undisturbed: Path, tmp_path: Path
) -> None:
    command = ["personalize", "--bundle", toy, "--inputs", photos, "--out", tmp_path / "out", *LONG]
    start = time.monotonic()
    run(*command[:6], tmp_path / "timing", *LONG)
    whole = time.monotonic() - start
    rng = np.random.default_rng(0)
    killed = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [native / "pockettune-run", *map(str, command)], stdout=subprocess.DEVNULL
        )
        time.sleep(float(rng.uniform(0, whole)))
        killed += process.poll() is None
        process.kill()
        process.wait()
        if rng.uniform() < 0.3:  # also from the beginning, now and then
            for path in (tmp_path / "out/work").glob("*"):
                path.unlink()
    assert killed
    run(*command)
    assert_same_end(tmp_path / "out", undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_and_saves_it(
    run: Run,
    native: Path,
    toy: Path,
    photos: Path,
    undisturbed: Path,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    command = ["personalize", "--bundle", toy, "--inputs", photos, "--out", tmp_path, *LONG]
    # A checkpoint at every step makes the run long enough to be hit.
    slow = [*command[:-1], 1]
    with subprocess.Popen(
        [native / "pockettune-run", *map(str, slow)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if json.loads(line).get("step") == 20:
                process.send_signal(number)
                break
        rest, error = process.communicate()
    assert process.returncode == 5
    assert error.startswith("pockettune-run: interrupted: ")
    last = json.loads(rest.splitlines()[-1])
    assert last["event"] == "checkpoint"
    (state,) = (tmp_path / "work").glob("state-*")
    assert state.name == f"state-{last['step']:08d}.safetensors"
    assert not (tmp_path / "adapter.safetensors").exists()
    done = run(*command)
    assert events(done, "resume") == [{"event": "resume", "step": last["step"]}]
    assert_same_end(tmp_path, undisturbed)


def test_a_full_disk_loses_nothing(
    run: Run, native: Path, toy: Path, photos: Path, undisturbed: Path, tmp_path: Path
) -> None:
    command = ["personalize", "--bundle", toy, "--inputs", photos, "--out", tmp_path, *LONG]

    def limit() -> None:
        # No file may grow beyond this: the caches fit, the states do not.
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = subprocess.run(
        [native / "pockettune-run", *map(str, command)],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("pockettune-run: disk_full: ")
    assert not list(tmp_path.rglob("*.partial"))
    run(*command)
    assert_same_end(tmp_path, undisturbed)


def test_a_damaged_state_is_passed_over(
    run: Run, toy: Path, photos: Path, undisturbed: Path, tmp_path: Path
) -> None:
    command = ["personalize", "--bundle", toy, "--inputs", photos, "--out", tmp_path, *LONG]
    run(*command)
    state = tmp_path / "work/state-00000400.safetensors"
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    cache = tmp_path / "work/cache.bin"
    cache.write_bytes(cache.read_bytes()[:-1])
    done = run(*command)
    assert events(done, "damaged") == [{"event": "damaged", "path": str(state)}]
    assert not events(done, "resume")
    assert_same_end(tmp_path, undisturbed)


@pytest.mark.parametrize(
    "change", [["--seed", 4], ["--steps", 401], ["--samples", 41], ["--learning-rate", 0.01]]
)
def test_a_state_of_other_settings_is_refused(
    run: Run, toy: Path, photos: Path, undisturbed: Path, change: list[Any]
) -> None:
    options = dict(zip(LONG[::2], LONG[1::2], strict=True)) | {change[0]: change[1]}
    words = [word for pair in options.items() for word in pair]
    command = ["personalize", "--bundle", toy, "--inputs", photos, "--out", undisturbed, *words]
    before = {p: p.read_bytes() for p in undisturbed.rglob("*") if p.is_file()}
    done = run(*command, status=22)
    assert change[0].removeprefix("--").replace("-", "_") in done.stderr
    assert before == {p: p.read_bytes() for p in undisturbed.rglob("*") if p.is_file()}


def test_a_state_with_other_shapes_is_refused(
    run: Run, toy: Path, photos: Path, undisturbed: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    source = undisturbed / "work/state-00000400.safetensors"
    tensors = dict(tensor_file.read(source))
    tensors["moment1"] = np.zeros(15, np.float32)
    metadata = dict(tensor_file.read_header(source).metadata)
    state = work / "state-00000400.safetensors"
    tensor_file.write(state, tensors, metadata)
    data = state.read_bytes()[tensor_file.read_header(state).data :]
    tensor_file.write(state, tensors, metadata | {"sha256": hashlib.sha256(data).hexdigest()})
    done = run(
        "personalize", "--bundle", toy, "--inputs", photos, "--out", tmp_path, *LONG, status=21
    )
    assert "moment1" in done.stderr


def test_a_loss_that_is_not_finite_keeps_the_last_state(
    run: Run, toy_programs: bytes, photos: Path, tmp_path: Path
) -> None:
    training = {**manifest()["training"], "hyper": {"learning_rate": 1e12}}
    bundle = write_toy(tmp_path / "bundle", toy_programs, training=training)
    out = tmp_path / "out"
    options = ["--out", out, "--checkpoint-every", 1]
    run("personalize", "--bundle", bundle, "--inputs", photos, *options, status=32)
    (state,) = (out / "work").glob("state-*")
    step = int(state.stem.removeprefix("state-"))
    losses = tensor_file.read(state)["losses"]
    assert 1 <= step < 12
    assert np.isfinite(losses[:step]).all()
    assert not (out / "adapter.safetensors").exists()


def test_training_without_effect_is_an_error(
    run: Run, toy: Path, photos: Path, tmp_path: Path
) -> None:
    command = ["personalize", "--bundle", toy, "--inputs", photos, "--out", tmp_path]
    done = run(*command, "--learning-rate", 0, status=33)
    assert "adapter_unchanged" in done.stderr
    assert not (tmp_path / "adapter.safetensors").exists()
    assert not (tmp_path / "result.json").exists()


def test_a_folder_takes_one_run_at_a_time(
    run: Run, toy: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    with (tmp_path / "work/lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        command = ["personalize", "--bundle", toy, "--inputs", photos, "--out", tmp_path]
        assert "another run" in run(*command, status=3).stderr


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("pixels", None, 21),
        ("pixels", np.zeros((2, 3, 8, 7), np.float32), 21),
        ("pixels", np.zeros((2, 3, 8, 8), np.int64), 21),
        ("pixels", np.full((1, 3, 8, 8), 1.5, np.float32), 21),
        ("pixels", np.full((1, 3, 8, 8), np.nan, np.float32), 21),
        ("pixels", np.zeros((0, 3, 8, 8), np.float32), 20),
        ("input_ids", None, 21),
        ("input_ids", np.zeros((1, 5), np.int64), 21),
        ("input_ids", np.zeros((2, 4), np.int64), 21),
    ],
)
def test_wrong_inputs_are_refused(
    run: Run, toy: Path, tmp_path: Path, name: str, value: NDArray[Any] | None, status: int
) -> None:
    tensors = inputs() | {name: value}
    path = tmp_path / "inputs.safetensors"
    tensor_file.write(path, {k: v for k, v in tensors.items() if v is not None})
    out = tmp_path / "out"
    run("personalize", "--bundle", toy, "--inputs", path, "--out", out, status=status)
    assert not out.exists()
