"""``python -m benchmarks.three_languages``: one bundle trained in three languages.

A bundle of ``har-conv`` and parameters that eight people of the watch data taught; one more
person's first series is trained for 100 steps by the native runner, by the Kotlin SDK on a JVM and
by the Swift SDK on Linux, and judged by that person's later series. Build what it runs beforehand:
``make native-jni test-kotlin test-swift``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.bundles import WORK
from benchmarks.kotlin_overhead import jvm
from benchmarks.record import ROOT, machine, record

__all__ = ["main"]

COLUMNS = [
    ("language", "trained by", ""),
    ("losses", "loss, first and last 20 steps", ""),
    ("before", "right on held-out series before, %", ""),
    ("after", "after, %", ""),
    ("step", "a step", "seconds"),
    ("state", "final state, SHA-256", ""),
]
STEPS, SEED, EVERY = 100, 7, 10
CLIENT = ROOT / "build/swift-fixtures/client"
RUNNER = ROOT / "build/native/pockettune-run"
STATE = f"work/state-{STEPS:08d}.safetensors"


def by_native(out: Path) -> Path:
    """Trains in the native runner; the run's folder and the parameters."""
    command = [RUNNER, "train", "--out", out, "--state", start(), *common()]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return out


def by_jvm(out: Path) -> Path:
    """Trains in the Kotlin SDK on a JVM."""
    adapters = out / "adapters"
    adapters.mkdir(parents=True)
    shutil.copy(start(), adapters / "fleet.safetensors")
    jvm("train", "--out", out, "--run", "watch", "--parameters", "fleet", *common())
    return out / "runs/watch"


def by_swift(out: Path) -> Path:
    """Trains in the Swift SDK on Linux."""
    command = [
        *(ROOT / "sdk/swift/tools/toolchain.sh", "run", ROOT / "build/swift/release/KillSubject"),
        *(CLIENT / "bundle", CLIENT / "examples.safetensors", start(), out, STEPS, EVERY),
    ]
    stage = {"POCKETTUNE_SWIFT_ENV": f"POCKETTUNE_ENGINE_STAGE={ROOT / 'build/swift-stage'}"}
    subprocess.run(
        list(map(str, command)), check=True, capture_output=True, env={**os.environ, **stage}
    )
    return out / "runs/watch"


def common() -> tuple[object, ...]:
    """What all are told."""
    inputs = ("--bundle", CLIENT / "bundle", "--inputs", CLIENT / "examples.safetensors")
    return (*inputs, "--steps", STEPS, "--seed", SEED, "--checkpoint-every", EVERY)


def start() -> Path:
    """What the other people taught."""
    return CLIENT / "fleet/parameters.safetensors"


def right(parameters: Path) -> float:
    """Percent of the held-out examples."""
    held = ("--inputs", CLIENT / "held.safetensors", "--state", parameters)
    command = [RUNNER, "evaluate", "--bundle", CLIENT / "bundle", *held]
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return 100 * float(json.loads(done.stdout.splitlines()[-1])["accuracy"])


def parameters_of(run: Path) -> Path:
    """Where a run's parameters lie: the native runner's folder, or the SDK's store."""
    native = run / "parameters.safetensors"
    return native if native.exists() else run.parents[1] / "adapters/watch.safetensors"


def row_of(language: str, run: Path) -> dict[str, Any]:
    """What one language made of it."""
    result = json.loads((run / "result.json").read_text())
    return {
        "language": language,
        "losses": f"{result['loss_first']:.6f}, {result['loss_last']:.6f}",
        "before": f"{right(start()):.1f}",
        "after": f"{right(parameters_of(run)):.1f}",
        "step": result["seconds_per_step"],
        "state": hashlib.sha256((run / STATE).read_bytes()).hexdigest()[:16],
    }


def main() -> None:
    """Train by all three; write ``results/three_languages.json``. Exits 1 when states differ."""
    started = machine()
    swift = ROOT / "sdk/swift/tools"
    subprocess.run([swift / "toolchain.sh", "stage", ROOT / "build/swift-stage"], check=True)
    fixtures = [sys.executable, swift / "fixtures.py", CLIENT.parent]
    subprocess.run(
        list(map(str, fixtures)), check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    work = WORK / "three-languages"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    rows = [
        row_of("native runner", by_native(work / "native")),
        row_of("Kotlin, JVM", by_jvm(work / "kotlin")),
        row_of("Swift, Linux", by_swift(work / "swift")),
    ]
    path = record(
        "three_languages",
        "Do three languages train the same from one bundle?",
        COLUMNS,
        rows,
        conditions={
            "model": "har-conv, 32 bits, begun from what eight people taught",
            "data": "watch, one person: first series, judged by the later ones",
            "steps": STEPS,
            "threads": 1,
        },
        started=started,
    )
    print(path)
    sys.exit(len({row["state"] for row in rows}) != 1)


if __name__ == "__main__":
    main()
