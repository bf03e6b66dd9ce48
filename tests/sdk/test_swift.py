"""The Swift SDK's own tests, beside what the native runner makes of the same bundles.

They need Swift (``sdk/swift/tools/toolchain.sh setup``, which ``make test-swift`` calls) and are
skipped without it.
"""

from __future__ import annotations

import json
import os
import plistlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sdk" / "swift"
TOOLCHAIN = PACKAGE / "tools" / "toolchain.sh"
BUILD = ROOT / "build"
MODULES = ("PocketTune", "PocketTuneExecuTorch")
# Numbers that make the tests longer, by the names that they read.
LONGER = ("POCKETTUNE_KILLS", "POCKETTUNE_MUTATIONS")

needs_swift = pytest.mark.skipif(
    subprocess.run([TOOLCHAIN, "ready"], check=False).returncode != 0,
    reason="Swift is not set up: make test-swift sets it up (2.7 GB)",
)


def swift(*words: str, variables: dict[str, Path | str] | None = None) -> str:
    """What a command of the toolchain prints; both streams, and all of it when it fails."""
    named = {"POCKETTUNE_ENGINE_STAGE": BUILD / "swift-stage", **(variables or {})}
    environment = os.environ | {
        "POCKETTUNE_SWIFT_ENV": " ".join(f"{name}={value}" for name, value in named.items())
    }
    done = subprocess.run(
        [str(TOOLCHAIN), "run", *words],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-20_000:]
    return output


# Tests see internals; without optimization, hashing a bundle alone would take minutes.
OPTIONS = ("-c", "release", "-Xswiftc", "-enable-testing", "--scratch-path", str(BUILD / "swift"))


@needs_swift
def test_format_is_clean() -> None:
    swift("swift", "format", "lint", "--strict", "-r", "Sources", "Tests", "Package.swift")


def test_files_have_one_reason() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.swift")}
    assert not {path: lines for path, lines in lengths.items() if lines > 300}


@needs_swift
def test_the_apple_code_fits_what_apple_documents() -> None:
    """Its types, against declarations transcribed from Apple's documentation: not a Mac's word."""
    check = str(ROOT / "tests/sdk/apple/check.sh")
    command = [check, str(BUILD / "swift-apple")]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-20_000:]
    assert (BUILD / "swift-apple" / "PocketTuneCoreML.swiftmodule").exists()


def test_apps_declare_what_apple_wants_a_reason_for() -> None:
    """Apple's "required reason" calls in the sources are those of the privacy manifest."""
    calls = {
        "FileTimestamp": r"\b[fl]?stat\(|modificationDate|creationDate|st_mtime|getattrlist",
        "DiskSpace": r"volumeAvailableCapacity|\bf?statv?fs\(|systemFreeSize",
        "SystemBootTime": r"systemUptime|mach_absolute_time",
        "UserDefaults": r"UserDefaults|AppStorage",
        "ActiveKeyboards": r"activeInputModes",
    }
    text = "".join(path.read_text() for path in (PACKAGE / "Sources/PocketTune").rglob("*.swift"))
    used = {name for name, pattern in calls.items() if re.search(pattern, text)}
    manifest = plistlib.loads((PACKAGE / "Sources/PocketTune/PrivacyInfo.xcprivacy").read_bytes())
    prefix = "NSPrivacyAccessedAPICategory"
    declared = manifest["NSPrivacyAccessedAPITypes"]
    assert {one["NSPrivacyAccessedAPIType"].removeprefix(prefix) for one in declared} == used
    assert all(one["NSPrivacyAccessedAPITypeReasons"] for one in declared)
    assert not manifest["NSPrivacyCollectedDataTypes"]


@needs_swift
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_swift_agrees_with_the_native_runner() -> None:
    """Formats, vectors, training, personalization, kills, downloads: ``swift test``."""
    fixtures = BUILD / "swift-fixtures"
    subprocess.run([str(TOOLCHAIN), "stage", str(BUILD / "swift-stage")], check=True)
    subprocess.run(
        [sys.executable, str(PACKAGE / "tools" / "fixtures.py"), str(fixtures)],
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    variables: dict[str, Path | str] = {"POCKETTUNE_FIXTURES": fixtures}
    variables |= {name: os.environ[name] for name in LONGER if name in os.environ}
    output = swift("swift", "test", *OPTIONS, variables=variables)
    for line in output.splitlines():
        if line.startswith(("figure:", "✔ Test run")):
            print(line)
    assert "✔ Test run" in output
    assert " skipped" not in output


@needs_swift
@pytest.mark.slow
def test_the_native_runner_ends_what_swift_began() -> None:
    """A killed Swift run goes on natively, in the same folder, to the same bytes."""
    products, client = BUILD / "swift" / "release", BUILD / "swift-fixtures" / "client"
    store = BUILD / "swift-killed"
    shutil.rmtree(store, ignore_errors=True)
    state = client / "fleet" / "parameters.safetensors"
    inputs = (client / "bundle", client / "examples.safetensors")
    preload = {"LD_PRELOAD": products / "libKillAt.so", "POCKETTUNE_KILL_AT": '"rename 4 after"'}
    words = [str(word) for word in (products / "KillSubject", *inputs, state, store, 100, 10)]
    named = [f"{name}={value}" for name, value in preload.items()]
    swift("sh", "-c", f"env {' '.join(named)} {' '.join(words)}; test $? = 137")
    out = store / "runs" / "watch"
    # Killed right behind the rename: the state before was not removed yet.
    saved = sorted(path.name for path in out.glob("work/state-*"))
    assert saved == ["state-00000030.safetensors", "state-00000040.safetensors"]
    runner = [str(BUILD / "native" / "pockettune-run"), "train"]
    options = ("--bundle", inputs[0], "--inputs", inputs[1], "--state", state, "--out", out)
    settings = ("--steps", "100", "--seed", "7", "--checkpoint-every", "10")
    command = [*runner, *map(str, options), *settings]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert '{"event":"resume","step":40}' in done.stdout
    last = "work/state-00000100.safetensors"
    assert (out / last).read_bytes() == (client / "whole" / last).read_bytes()


@needs_swift
@pytest.mark.slow
def test_what_apps_see_is_recorded(tmp_path: Path) -> None:
    """``api.txt``: every public declaration. Write it anew when a change is meant."""
    swift("swift", "build", "--build-tests", *OPTIONS)
    out = BUILD / "swift-api"
    out.mkdir(exist_ok=True)
    for module in MODULES:
        swift(
            *("swift", "symbolgraph-extract", "-module-name", module),
            *("-I", str(BUILD / "swift" / "release" / "Modules")),
            *("-I", str(PACKAGE / "Sources" / "CPocketTuneEngine")),
            *("-target", "x86_64-pc-linux-gnu", "-minimum-access-level", "public"),
            *("-skip-synthesized-members", "-output-dir", str(out)),
        )
    graphs = [str(out / f"{module}.symbols.json") for module in MODULES]
    command = [sys.executable, str(PACKAGE / "tools" / "api.py"), *graphs]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (tmp_path / "api.txt").write_text(found)
    recorded = (PACKAGE / "api.txt").read_text()
    assert found == recorded, f"compare {tmp_path / 'api.txt'} with sdk/swift/api.txt"


@needs_swift
@pytest.mark.timeout(1200)
def test_the_reference_is_whole() -> None:
    """DocC makes its pages without a warning; every public declaration has a sentence."""
    out = BUILD / "docs" / "swift"
    command = [str(PACKAGE / "tools" / "docs.sh"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    symbols = {}
    for module in MODULES:
        graph = json.loads((BUILD / "swift-symbols" / f"{module}.symbols.json").read_text())
        symbols[module] = {".".join(one["pathComponents"]): one for one in graph["symbols"]}
        unsaid = [name for name, one in symbols[module].items() if "docComment" not in one]
        assert not unsaid, f"{module}: say what these are: {unsaid}"
        assert (out / "documentation" / module.lower() / "index.html").exists()
    # What an app meets first is reached from the first page by topics that people wrote.
    page = json.loads((out / "data" / "documentation" / "pockettune.json").read_text())
    curated = [link for section in page["topicSections"] for link in section["identifiers"]]
    top = [name for name in symbols["PocketTune"] if "." not in name]
    missing = [name for name in top if not any(link.endswith(f"/{name}") for link in curated)]
    assert not missing, f"give these a topic in PocketTune.md: {missing}"


@needs_swift
@pytest.mark.timeout(1200)
def test_what_the_ios_demo_shows() -> None:
    """The demo's model is compiled and tested; its pages, which need SwiftUI, are parsed."""
    demo = ROOT / "ios_demo"
    build = ("--scratch-path", str(BUILD / "swift-ios-demo"))
    output = swift("swift", "test", "--package-path", str(demo / "Model"), *build)
    assert "Test run with" in output
    pages = sorted(str(path) for path in (demo / "App").glob("*.swift"))
    assert len(pages) >= 4
    swift("swiftc", "-frontend", "-parse", *pages)


def test_the_ios_demo_declares_its_task_and_links_the_kernels() -> None:
    """A task that the property list lacks is refused; kernels that nothing names are left out."""
    pages = "".join(path.read_text() for path in (ROOT / "ios_demo/App").glob("*.swift"))
    (task,) = re.findall(r'task = "([^"]+)"', pages)
    project = (ROOT / "ios_demo/project.yml").read_text()
    assert f"BGTaskSchedulerPermittedIdentifiers: [{task}]" in project
    assert "UIBackgroundModes: [processing]" in project
    assert "products: [kernels_optimized, kernels_quantized, backend_xnnpack]" in project
    assert "OTHER_LDFLAGS: $(inherited) -all_load" in project
    (branch,) = re.findall(r"branch: (swiftpm-\S+)", project)
    assert f'branch: "{branch}"' in (PACKAGE / "Package.swift").read_text()
    assert f'ExecuTorchEngine(version: "{branch.removeprefix("swiftpm-")}")' in pages


@needs_swift
def test_the_ios_demo_is_formatted() -> None:
    parts = [str(ROOT / "ios_demo" / name) for name in ("App", "Model/Sources", "Model/Tests")]
    swift("swift", "format", "lint", "--strict", "-r", *parts)
