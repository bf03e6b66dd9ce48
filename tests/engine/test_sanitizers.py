"""The whole runner under AddressSanitizer and UndefinedBehaviorSanitizer: no report, same results.

Each scenario is a list of commands that both builds run in a folder of their own, with the same
relative names: their exit statuses, sentences and files must be equal. A sanitizer's report would
be another status and other words.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_bundle import inputs, manifest, write_toy

from pockettune import tensor_file

pytestmark = pytest.mark.e2e

FOUND = 99
ENVIRONMENT = {
    **os.environ,
    "ASAN_OPTIONS": f"exitcode={FOUND}:allocator_may_return_null=1:strict_string_checks=1"
    ":detect_stack_use_after_return=1:check_initialization_order=1:detect_leaks=1",
    "UBSAN_OPTIONS": f"exitcode={FOUND}:print_stacktrace=1",
}
TRAIN = ["personalize", "--bundle", "bundle", "--inputs", "in.safetensors", "--out", "out"]
DRAW = ["generate", "--bundle", "bundle", "--inputs", "in.safetensors", "--out", "pictures"]
PRIOR = ["--prior-weight", "0.5", "--class-pictures", "2", "--threads", "2"]
ONE = ["--bundle", "bundle", "--inputs", "ids.safetensors", "--out", "result.safetensors"]

SCENARIOS: dict[str, list[list[str]]] = {
    "verify": [["verify", "--bundle", "bundle"]],
    "train, draw with it, train again": [
        [*TRAIN, "--seed", "3"],
        [*DRAW, "--adapter", "out/adapter.safetensors", "--guidance", "3", "--steps", "5"],
        [*TRAIN, "--seed", "3"],
    ],
    "train with class pictures": [[*TRAIN, *PRIOR]],
    "draw without an adapter": [DRAW],
    "run a program": [["run", "--program", "encode_text", *ONE]],
    "other settings": [TRAIN, [*TRAIN, "--steps", "3"], [*TRAIN, "--seed", "9"]],
    "no change": [[*TRAIN, "--learning-rate", "0"]],
    "no finite loss": [["personalize", "--bundle", "hot", *TRAIN[3:]]],
    "no command": [["train"]],
    "no number": [[*TRAIN, "--steps", "1e3"]],
    "no bundle": [["verify", "--bundle", "nowhere"]],
    "no inputs": [[*TRAIN[:4], "nowhere", *TRAIN[5:]]],
    "no such tensor": [["run", "--program", "decode", *ONE]],
    "no such program": [["run", "--program", "evaluate", *ONE]],
    "a file that is no tensor file": [[*DRAW, "--adapter", "bundle/programs.pte"]],
    "an adapter with other tensors": [[*DRAW, "--adapter", "in.safetensors"]],
    "a bundle that was changed": [["verify", "--bundle", "changed"]],
    "a program that is none": [["bench", "--bundle", "junk", "--program", "decode"]],
    "another runtime": [["personalize", "--bundle", "older", *TRAIN[3:]]],
    "a number of steps beyond the timesteps": [["generate", "--bundle", "endless", *DRAW[3:]]],
    "a picture of 2^62 pixels": [["generate", "--bundle", "wide", *DRAW[3:]]],
}


@pytest.fixture(scope="module")
def prepared(toy_programs: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the scenarios find in their folder."""
    folder = tmp_path_factory.mktemp("prepared")
    write_toy(folder / "bundle", toy_programs)
    write_toy(folder / "older", toy_programs, tools={"executorch": "0.0.1"})
    training = {**manifest()["training"], "hyper": {"learning_rate": 1e12}}
    write_toy(folder / "hot", toy_programs, training=training)
    write_toy(folder / "junk", b"no program" * 100)
    generation = {**manifest()["generation"], "steps": 2**31 - 1}
    write_toy(folder / "endless", toy_programs, generation=generation)
    image = {"height": 2**31 - 1, "width": 2**31 - 1}
    write_toy(folder / "wide", toy_programs, image=image)
    write_toy(folder / "changed", toy_programs)
    with (folder / "changed/programs.pte").open("r+b") as file:
        file.write(b"\1")
    tensor_file.write(folder / "in.safetensors", inputs())
    ids = {"input_ids": np.array([[7, 0, 1, 1]], np.int64)}
    tensor_file.write(folder / "ids.safetensors", ids)
    return folder


def play(binary: Path, prepared: Path, folder: Path, commands: list[list[str]]) -> list[Any]:
    """Statuses, sentences and files, with what is measured left out."""
    shutil.copytree(prepared, folder)
    seen: list[Any] = []
    for command in commands:
        done = subprocess.run(
            [binary, *command],
            cwd=folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        seen.append((command, done.returncode, done.stderr))
    return [*seen, results(folder)]


def results(folder: Path) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.name == "result.json":
            files[str(path.relative_to(folder))] = json.loads(path.read_text())["losses"]
        elif path.is_file():
            files[str(path.relative_to(folder))] = path.read_bytes()
    return files


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_reported_and_nothing_differs(
    native: Path, sanitized: Path, prepared: Path, tmp_path: Path, name: str
) -> None:
    commands = SCENARIOS[name]
    expected = play(native / "pockettune-run", prepared, tmp_path / "plain", commands)
    found = play(sanitized / "pockettune-run", prepared, tmp_path / "sanitized", commands)
    assert found == expected
    refused = name.startswith(("no ", "a ", "an ", "other ", "another "))
    assert bool(expected[len(commands) - 1][1]) is refused


def test_a_killed_run_goes_on(
    native: Path, sanitized: Path, prepared: Path, tmp_path: Path
) -> None:
    command = [*TRAIN, "--steps", "60", "--checkpoint-every", "1"]
    (_, status, error), expected = play(
        native / "pockettune-run", prepared, tmp_path / "plain", [command]
    )
    assert (status, error) == (0, "")
    folder = tmp_path / "sanitized"
    shutil.copytree(prepared, folder)
    for number, step in ((signal.SIGKILL, 10), (signal.SIGTERM, 20)):
        with subprocess.Popen(
            [sanitized / "pockettune-run", *command],
            cwd=folder,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout
            for line in process.stdout:
                if json.loads(line).get("step", 0) >= step:
                    process.send_signal(number)
                    break
            _, error = process.communicate()
        assert process.returncode == (5 if number == signal.SIGTERM else -signal.SIGKILL)
        assert len(error.splitlines()) == (number == signal.SIGTERM), error
    again = subprocess.run(
        [sanitized / "pockettune-run", *command],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (again.returncode, again.stderr) == (0, "")
    assert '"event":"resume"' in again.stdout
    assert results(folder) == expected


def test_the_abi_answers_from_plain_c(sanitized: Path, prepared: Path) -> None:
    command = [sanitized / "pockettune-check-abi", prepared / "bundle/programs.pte", "encode_text"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def test_the_sanitizers_are_really_there(sanitized: Path) -> None:
    """Else the tests above would compare the normal build with itself."""
    for name in ("pockettune-run", "libpockettune_engine.so"):
        content = (sanitized / name).read_bytes()
        assert b"__asan_report_load" in content, name
        assert b"__ubsan_handle" in content, name
