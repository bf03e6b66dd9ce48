"""The same bundle trained by ONNX Runtime and by ExecuTorch, on a desktop JVM."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pockettune import tensor_file

Call = Callable[..., "subprocess.CompletedProcess[str]"]

WHO = ("--seed", 5, "--round", 2, "--client", 7)
ONNX = ("--engine", "onnxruntime")
STATE = "work/state-{:08d}.safetensors"


def options(prepared: Path) -> tuple[object, ...]:
    return ("--bundle", prepared / "bundle", "--inputs", prepared / "train.safetensors", *WHO)


def losses(done: subprocess.CompletedProcess[str]) -> np.ndarray:
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return np.array([event["loss"] for event in events if event["event"] == "step"])


def test_a_person_s_model_is_the_same_by_either_engine(
    desktop: Call, run_native: Call, prepared: Path, tmp_path: Path
) -> None:
    """100 steps from the model of nine others, as in test_train.py. Rounding differs and grows with
    the steps: losses stay within 1e-5 of one another, parameters within 1e-5 of their length, and
    as many held-out answers are right."""
    bundle = ("--bundle", prepared / "bundle")
    others = (*bundle, "--inputs", prepared / "others.safetensors", "--steps", 600)
    run_native("train", *others, "--out", tmp_path / "base", "--checkpoint-every", 600)
    store = tmp_path / "store"
    (store / "adapters").mkdir(parents=True)
    base = (tmp_path / "base/parameters.safetensors").read_bytes()
    (store / "adapters/base.safetensors").write_bytes(base)

    same = (*options(prepared), "--steps", 100, "--learning-rate", 0.002)
    same = (*same, "--parameters", "base", "--out", store)
    wanted = losses(desktop("train", *same, "--run", "executorch"))
    found = losses(desktop("train", *same, "--run", "onnxruntime", *ONNX))
    assert len(found) == len(wanted) == 100
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    one, other = (
        tensor_file.read(store / f"adapters/{name}.safetensors")
        for name in ("onnxruntime", "executorch")
    )
    assert set(one) == set(other)
    for name, value in other.items():
        assert np.linalg.norm(one[name] - value) <= 1e-5 * np.linalg.norm(value), name

    held_out = (*bundle, "--inputs", prepared / "test.safetensors", "--out", store)

    def accuracy(name: str, *engine: object) -> float:
        done = desktop("evaluate", *held_out, "--parameters", name, *engine)
        return float(json.loads(done.stdout)["accuracy"])

    before, after = accuracy("base", *ONNX), accuracy("onnxruntime", *ONNX)
    assert (before, after) == (accuracy("base"), accuracy("executorch"))
    assert after > before + 0.05


def test_a_killed_run_goes_on_to_the_same_bytes(
    desktop: Call, prepared: Path, tmp_path: Path
) -> None:
    """At the bundle's own rate, where a difference in the last bit would grow to a tenth."""
    same = (*options(prepared), "--steps", 100, "--checkpoint-every", 20, *ONNX)
    desktop("train", *same, "--out", tmp_path / "one")
    name = Path(STATE.format(60)).name
    for moment, step in (("written", 40), ("renamed", 60)):
        out = (*same, "--out", tmp_path / moment)
        desktop("train", *out, "--kill-at", f"{moment}:{name}", status=-signal.SIGKILL)
        done = desktop("train", *out)
        assert done.stdout.splitlines()[0] == f'{{"event":"resume","step":{step}}}'
        state = Path("runs/run") / STATE.format(100)
        assert (tmp_path / moment / state).read_bytes() == (tmp_path / "one" / state).read_bytes()


def test_a_run_goes_on_by_its_own_engine_only(
    desktop: Call, run_native: Call, prepared: Path, tmp_path: Path
) -> None:
    """Whoever began it: rounding differs, and a run must end with the bytes that it would have."""
    same = (*options(prepared), "--steps", 40, "--checkpoint-every", 20)
    state = Path("runs/run") / STATE.format(20)
    kill = ("--kill-at", f"renamed:{state.name}")
    for began, other in ((ONNX, ()), ((), ONNX)):
        out = (*same, "--out", tmp_path / f"{len(began)}")
        desktop("train", *out, *began, *kill, status=-signal.SIGKILL)
        before = (tmp_path / f"{len(began)}" / state).read_bytes()
        done = desktop("train", *out, *other, status=1)
        assert done.stderr.startswith("pockettune-desktop: state_mismatch: ")
        names = ["onnxruntime", "executorch"][:: 1 if began else -1]
        assert (
            f"engine was {names[0]} and is {names[1]}; go on with engine {names[0]}" in done.stderr
        )
        assert (tmp_path / f"{len(began)}" / state).read_bytes() == before
        assert json.loads(desktop("train", *out, *began).stdout.splitlines()[0])["step"] == 20
    native = run_native("train", *same, "--out", tmp_path / "2/runs/run", status=None)
    assert "engine was onnxruntime and is executorch" in native.stderr


def altered(bundle: Path, folder: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a bundle with another manifest."""
    shutil.copytree(bundle, folder)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    del manifest["bundle_id"], manifest["signature"]
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":")) + "\n"
    identity = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(f'{{"bundle_id":"{identity}","signature":"",' + text[1:])
    return folder


def test_what_the_engine_cannot_run_is_refused(
    desktop: Call, run_native: Call, prepared: Path, tmp_path: Path
) -> None:
    def keep(engine: str) -> Callable[[dict[str, Any]], None]:
        def edit(manifest: dict[str, Any]) -> None:
            for program in manifest["programs"].values():
                program["engines"] = {engine: program["engines"][engine]}

        return edit

    def rename(manifest: dict[str, Any]) -> None:
        (argument,) = (
            entry
            for entry in manifest["programs"]["evaluate"]["outputs"]
            if entry["binding"] == "metric.right"
        )
        argument["name"] = "other"

    def misplace(manifest: dict[str, Any]) -> None:
        place = manifest["programs"]["evaluate"]["engines"]["onnxruntime"]
        place["file"] = "state.safetensors"

    cases = {
        "program_missing": keep("executorch"),
        "tensor_mismatch": rename,
        "engine_failed": misplace,
    }
    words = ("--inputs", prepared / "test.safetensors", "--out", tmp_path / "store")
    for code, edit in cases.items():
        folder = altered(prepared / "bundle", tmp_path / code, edit)
        done = desktop("evaluate", "--bundle", folder, *words, *ONNX, status=1)
        assert done.stderr.startswith(f"pockettune-desktop: {code}: "), done.stderr
        assert len(done.stderr.splitlines()) == 1
    alone = altered(prepared / "bundle", tmp_path / "alone", keep("onnxruntime"))
    done = run_native("evaluate", "--bundle", alone, *words[:2], status=None)
    assert done.returncode != 0
    assert "export it for executorch" in done.stderr
    (alone / "evaluate.onnx").write_bytes(b"x" * (alone / "evaluate.onnx").stat().st_size)
    done = desktop("evaluate", "--bundle", alone, *words, *ONNX, status=1)
    assert done.stderr.startswith("pockettune-desktop: bundle_corrupt: "), done.stderr
