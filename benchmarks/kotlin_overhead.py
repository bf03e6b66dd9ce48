"""``python -m benchmarks.kotlin_overhead``: what the Kotlin SDK adds to the engine on a JVM.

The SDK's loop is measured from the inside, step by step, in processor time of the run's thread, so
that other work on the machine does not count. The share is that of the loop's mean: short steps are
told to the collector in bunches, so a median would leave the telling out. Build the SDK beforehand:
``make native-jni`` and ``mvn -DskipTests package`` in ``sdk/kotlin``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmarks.bundles import WORK, export
from benchmarks.record import ROOT, machine, record
from pockettune import tensor_file
from pockettune.bundle import open_bundle
from pockettune.images import read_photos
from pockettune.models import starter
from pockettune.prompts import Tokenizer

__all__ = ["main"]

COLUMNS = [
    ("run", "run", "count"),
    ("step", "a step in the engine", "seconds"),
    ("loop", "the SDK's loop, a step, ms", ""),
    ("session", "a session beside `Module.execute`", "ratio"),
    ("share", "loop of step, %", ""),
    ("heap", "heap of the SDK, bytes a step", "count"),
    ("classes", "heap of the official classes", "count"),
    ("jvm", "JVM peak (RSS)", "bytes"),
    ("native", "native peak (RSS)", "bytes"),
]
PROMPT = "a sks bear"


def jvm(*words: object) -> str:
    """What the SDK's command prints."""
    target = ROOT / "sdk/kotlin/desktop/target"
    jars = f"{target / 'pockettune-desktop-0.1.0.jar'}:{target / 'lib'}/*"
    natives = ROOT / "build/native-jni/libpockettune_jni.so"
    command = ["java", "-cp", jars, "org.pockettune.desktop.MainKt", natives, *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return done.stdout


def peak_of(result: Path) -> int:
    """The peak that a run noted."""
    return int(json.loads(result.read_text())["peak_rss_bytes"])


def row_of(run: int, bundle: Path, pixels: Path, inputs: Path, steps: int) -> dict[str, Any]:
    """One JVM and one native process."""
    out = WORK / "kotlin-overhead"
    shutil.rmtree(out, ignore_errors=True)
    common = ("--bundle", bundle, "--steps", steps)
    words = ("--pixels", pixels, "--prompt", PROMPT, "--out", out / "store")
    found = json.loads(jvm("overhead", *common, *words))
    # A process of its own: the measured one compares more than it runs.
    jvm("personalize", *common, *words, "--run", "plain")
    native = [ROOT / "build/native/pockettune-run", "personalize", *common, "--inputs", inputs]
    command = list(map(str, [*native, "--out", out / "native"]))
    subprocess.run(command, capture_output=True, check=True)
    step, loop = found["step_nanoseconds"], found["loop_mean_nanoseconds"]
    heap = found["heap_bytes_per_step"] + found["session_heap_bytes"] - found["module_heap_bytes"]
    return {
        "run": run,
        "step": step / 1e9,
        "loop": f"{loop / 1e6:.3f}",
        "session": found["session_nanoseconds"] / found["module_nanoseconds"],
        "share": f"{100 * loop / step:.2f}",
        "heap": heap,
        "classes": found["module_heap_bytes"],
        "jvm": peak_of(out / "store/runs/plain/result.json"),
        "native": peak_of(out / "native/result.json"),
    }


def main() -> None:
    """Measure several times and write ``results/kotlin_overhead.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    started = machine()
    folder = export("starter-C-8-block", "starter", "--cut", "C", "--bits", "8").folder
    manifest = open_bundle(folder).manifest
    text, image = manifest["text"], manifest["image"]
    names = text["tokenizer"]
    tokenizer = Tokenizer(folder / names["vocab"], folder / names["merges"], text)
    photos = read_photos(starter.PATH.parent / "subject", image["height"], image["width"])[:4]
    pixels, inputs = WORK / "kotlin-overhead.f32", WORK / "kotlin-overhead.safetensors"
    photos.astype("<f4").tofile(pixels)
    tensors: dict[str, NDArray[Any]] = {"pixels": photos, "input_ids": tokenizer.encode([PROMPT])}
    inputs.write_bytes(tensor_file.encode(tensors))
    rows = [
        row_of(run + 1, folder, pixels, inputs, options.steps) for run in range(options.repeats)
    ]
    path = record(
        "kotlin_overhead",
        "What does the Kotlin SDK add to the engine on a desktop JVM?",
        COLUMNS,
        rows,
        conditions={"model": "starter", "cut": "C", "threads": 1, "steps": options.steps},
        started=started,
    )
    print(path)


if __name__ == "__main__":
    main()
