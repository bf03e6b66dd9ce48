"""Builds the native binaries once, and the toy bundle that runs on them."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Parallel test processes build one after the other."""
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _tool(name: str) -> str:
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else name


def _build(folder: Path, *options: str, targets: Sequence[str] = ("all",)) -> Path:
    """Configures and builds; what is up to date is not built again."""
    if shutil.which("c++") is None:
        pytest.skip("NOT TESTED: the engine needs a C++ compiler, and there is none")
    package = importlib.util.find_spec("executorch")
    if package is None or not package.submodule_search_locations:
        pytest.skip("NOT TESTED: the engine needs the executorch wheel, and there is none")
    cmake, ninja = _tool("cmake"), _tool("ninja")
    prefix = package.submodule_search_locations[0]
    configure = [cmake, "-S", ROOT / "sdk/engine", "-B", folder, "-G", "Ninja"]
    configure += [f"-DCMAKE_MAKE_PROGRAM={ninja}", f"-DCMAKE_PREFIX_PATH={prefix}", *options]
    with _alone(folder.name):
        if not (folder / "build.ninja").exists():
            _must_succeed(configure)
        _must_succeed([cmake, "--build", folder, "--target", *targets])
    return folder


def _must_succeed(command: list[Any]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.fixture(scope="session")
def native() -> Path:
    """The folder with the binaries: where `make native` puts them."""
    return _build(ROOT / "build/native")


@pytest.fixture(scope="session")
def sanitized() -> Path:
    """All of our code with AddressSanitizer and UndefinedBehaviorSanitizer.

    The runtime's libraries come from its wheel as they are: what they do with their own memory is
    not seen, what they do with memory that we allocated is.
    """
    options = ["-DPOCKETTUNE_SANITIZE=ON", "-DCMAKE_BUILD_TYPE=Debug"]
    targets = ["pockettune-run", "pockettune-check", "pockettune-fuzz", "pockettune-check-abi"]
    return _build(ROOT / "build/native-sanitized", *options, targets=targets)


@pytest.fixture(scope="session")
def fuzzers() -> Path:
    """The libFuzzer targets, which only clang builds."""
    if shutil.which("clang++") is None:
        pytest.skip("NOT TESTED: libFuzzer needs clang, and there is none (install clang)")
    options = ["-DPOCKETTUNE_LIBFUZZER=ON", "-DPOCKETTUNE_SANITIZE=ON"]
    options += ["-DCMAKE_C_COMPILER=clang", "-DCMAKE_CXX_COMPILER=clang++"]
    options += ["-DCMAKE_BUILD_TYPE=RelWithDebInfo"]
    targets = ["fuzz-manifest", "fuzz-safetensors"]
    return _build(ROOT / "build/native-fuzz", *options, targets=targets)


def _lowered(kind: str) -> bytes:
    """The toy's programs; kept in build/, since lowering takes longer than every test together."""
    source = b"".join((HERE / name).read_bytes() for name in ("toy_bundle.py", "toy_programs.py"))
    version = importlib.metadata.version("executorch").encode()
    digest = hashlib.sha256(source + version + kind.encode()).hexdigest()[:16]
    path = ROOT / "build" / f"toy-{digest}.pte"
    with _alone("toy"):
        if not path.exists():
            partial = path.with_suffix(".partial")
            environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{HERE}", "OMP_NUM_THREADS": "1"}
            script = [sys.executable, HERE / "toy_programs.py", partial, kind]
            done = subprocess.run(
                script, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr[-4000:]
            partial.rename(path)
    return path.read_bytes()


@pytest.fixture(scope="session", params=["unplanned", "planned"])
def programs(request: pytest.FixtureRequest) -> bytes:
    """With arguments in the caller's memory, and with arguments that are copied into the arena."""
    return _lowered(request.param)


@pytest.fixture(scope="session")
def toy_programs() -> bytes:
    return _lowered("unplanned")


@pytest.fixture(scope="session")
def toy(toy_programs: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy bundle's folder; read only."""
    from toy_bundle import write_toy

    return write_toy(tmp_path_factory.mktemp("toy") / "bundle", toy_programs)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An input file for personalize."""
    from toy_bundle import inputs

    from pockettune import tensor_file

    path = tmp_path_factory.mktemp("inputs") / "inputs.safetensors"
    tensor_file.write(path, inputs())
    return path


@pytest.fixture(scope="session")
def run(native: Path) -> Run:
    """Calls pockettune-run; checks that a failure is one sentence with a known code."""

    def call(*words: object, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [native / "pockettune-run", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == status, done.stderr
        lines = done.stderr.splitlines()
        assert len(lines) == (1 if status else 0), done.stderr
        if status:
            assert lines[0].startswith("pockettune-run: ")
        return done

    return call


@pytest.fixture(scope="session")
def check(native: Path) -> Callable[..., list[str]]:
    """Calls pockettune-check and gives its lines."""

    def call(*words: object) -> list[str]:
        command = [native / "pockettune-check", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        return done.stdout.splitlines()

    return call
