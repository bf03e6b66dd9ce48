"""Builds the SDK for a desktop JVM once, and what its tests read."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
KOTLIN = ROOT / "sdk/kotlin"
PREPARED = ROOT / "build/kotlin-prepared"
PERSON = 3

Desktop = Callable[..., "subprocess.CompletedProcess[str]"]


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Parallel test processes build one after the other."""
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _must_succeed(command: Sequence[Any], timeout: float = 600) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def _tool(name: str) -> str:
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else name


def _cmake(source: str, folder: Path, *options: str) -> None:
    """Configures and builds; what is up to date is not built again."""
    with _alone(folder.name):
        if not (folder / "build.ninja").exists():
            ninja = f"-DCMAKE_MAKE_PROGRAM={_tool('ninja')}"
            _must_succeed(
                [_tool("cmake"), "-S", ROOT / source, "-B", folder, "-G", "Ninja", ninja, *options]
            )
        _must_succeed([_tool("cmake"), "--build", folder])


@pytest.fixture(scope="session")
def native() -> Path:
    """The native runner, which the SDK has to equal."""
    package = importlib.util.find_spec("executorch")
    if shutil.which("c++") is None or package is None or not package.submodule_search_locations:
        pytest.skip("NOT TESTED: the engine needs a C++ compiler and the executorch wheel")
    folder = ROOT / "build/native"
    _cmake("sdk/engine", folder, f"-DCMAKE_PREFIX_PATH={package.submodule_search_locations[0]}")
    return folder / "pockettune-run"


@pytest.fixture(scope="session")
def natives(native: Path) -> Path:
    """The natives of the ExecuTorch Java classes."""
    for tool in ("java", "javac", "mvn", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"NOT TESTED: the Kotlin SDK needs {tool}, and there is none")
    folder = ROOT / "build/native-jni"
    option = f"-DPOCKETTUNE_NATIVE={native.parent}"
    _cmake("sdk/kotlin/host-jni/src/main/cpp", folder, option)
    return folder / "libpockettune_jni.so"


@pytest.fixture(scope="session")
def class_path(natives: Path) -> str:
    """The SDK's classes and all that they need; Maven builds what is older than its sources."""
    assert natives.exists()
    target = KOTLIN / "desktop/target"
    made = target / "pockettune-desktop-0.1.0.jar"
    sources = [
        path
        for path in KOTLIN.rglob("*")
        if path.suffix in {".kt", ".xml"} and "target" not in path.parts
    ]
    with _alone("kotlin"):
        newest = max(path.stat().st_mtime for path in sources)
        if not made.exists() or made.stat().st_mtime < newest:
            _must_succeed([KOTLIN / "tools/install_executorch_classes.sh"])
            modules = ["-f", KOTLIN / "pom.xml", "-pl", "desktop", "-am"]
            _must_succeed(["mvn", "-q", "-B", "-DskipTests", *modules, "package"])
            made.touch()
    return f"{made}:{target / 'lib'}/*"


@pytest.fixture(scope="session")
def desktop(class_path: str, natives: Path) -> Desktop:
    """Calls the SDK in a JVM of its own; ``status`` is what it must end with, None: any."""

    def call(*words: object, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        command = ["java", "-cp", class_path, "org.pockettune.desktop.MainKt", natives, *words]
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert status in (None, done.returncode), done.stderr
        return done

    return call


@pytest.fixture(scope="session")
def prepared() -> Path:
    """A har-conv bundle for both engines; windows of the watch data: one person's, both series
    apart, and all others'.

    Kept in build/, since the export takes longer than the tests.
    """
    from pockettune import tensor_file
    from pockettune.data.sets import watch

    if importlib.util.find_spec("seglearn") is None:
        pytest.skip("NOT TESTED: the watch data come with seglearn, which is not installed")
    with _alone("kotlin-prepared"):
        wanted = ("test.safetensors", "bundle/train_step.onnx")
        if not all((PREPARED / name).exists() for name in wanted):
            shutil.rmtree(PREPARED, ignore_errors=True)
            PREPARED.mkdir(parents=True)
            options = "--method fedavg --model har-conv --input-shape 6x100 --classes 7"
            command = [sys.executable, "-m", "export", *options.split(), "--momentum", "0.9"]
            both = ("--target", "executorch,onnxruntime")
            _must_succeed([*command, *both, "--out", PREPARED / "bundle"])
            data = watch.load()
            sides = (data.train, data.test)
            person = [side.take(np.flatnonzero(side.users == PERSON)) for side in sides]
            others = [side.take(np.flatnonzero(side.users != PERSON)) for side in sides]
            files = {"others": others, "train": person[:1], "test": person[1:]}
            for name, parts in files.items():
                tensors = {
                    "inputs": np.concatenate([part.inputs for part in parts]),
                    "labels": np.concatenate([part.labels for part in parts]),
                }
                path = PREPARED / f"{name}.safetensors"
                path.write_bytes(tensor_file.encode(tensors))
    return PREPARED


@pytest.fixture(scope="session")
def run_native(native: Path) -> Desktop:
    """Calls the native runner."""

    def call(*words: object, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(word) for word in (native, *words)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert status in (None, done.returncode), done.stderr
        return done

    return call


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine's toy bundle, with words: "a" to "f" are tokens 1 to 6."""
    engine = ROOT / "tests/engine"
    sys.path.insert(0, str(engine))
    from toy_bundle import INITIAL, manifest

    from pockettune import tensor_file
    from pockettune.bundle import write_bundle

    programs = ROOT / "build/toy-kotlin.pte"
    with _alone("toy"):
        newest = max(
            (engine / name).stat().st_mtime for name in ("toy_bundle.py", "toy_programs.py")
        )
        if not programs.exists() or programs.stat().st_mtime < newest:
            partial = programs.with_suffix(".partial")
            environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{engine}"}
            command = [sys.executable, engine / "toy_programs.py", partial, "unplanned"]
            subprocess.run(list(map(str, command)), env=environment, check=True)
            partial.rename(programs)
    marks = {"<|startoftext|>": 0, "<|endoftext|>": 9}
    words = {f"{letter}</w>": 1 + index for index, letter in enumerate("abcdef")}
    files: dict[str, Path | bytes] = {
        "programs.pte": programs,
        "state/adapter.safetensors": tensor_file.encode({"adapter": INITIAL}),
        "tokenizer/vocab.json": json.dumps({**words, **marks}).encode(),
        "tokenizer/merges.txt": b"#version: 0.2\n",
    }
    folder = tmp_path_factory.mktemp("toy") / "bundle"
    write_bundle(folder, manifest(), files)
    return folder
