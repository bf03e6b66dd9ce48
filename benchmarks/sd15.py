"""``python -m benchmarks.sd15``: one run at Stable Diffusion 1.5's own size, not in CI.

Random weights, cut C, 64 x 64 latents (512 px), int8: exports, then trains natively on a random
photo, and times eager beside it. Needs 4 GB of disk and 6 GB of memory, for eager 9 GB.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from benchmarks.bundles import WORK, Exported, bench, eager, export
from benchmarks.record import machine, record
from pockettune.runner import find_runner

__all__ = ["EXPORT", "main"]

STEPS = ("prepare", "capture", "lower", "check", "pack")
EXPORT = ("--cut", "C", "--bits", "8")
COLUMNS = [("figure", "figure", ""), ("value", "value", "")]


def train(bundle: Path, steps: int, out: Path) -> dict[str, Any]:
    """``pockettune-run personalize`` on random photos; the content of its ``result.json``."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    edge, length = manifest["image"]["height"], manifest["text"]["max_length"]
    generator = np.random.default_rng(0)
    inputs = out.parent / "sd15-inputs.safetensors"
    shutil.rmtree(out, ignore_errors=True)  # what another bundle has begun is not continued
    pixels = generator.uniform(-1, 1, (1, 3, edge, edge)).astype(np.float32)
    ids = generator.integers(0, 1000, (1, length), dtype=np.int64)
    save_file({"pixels": pixels, "input_ids": ids}, inputs)
    command = [str(find_runner()), "personalize", "--bundle", str(bundle), "--inputs", str(inputs)]
    command += ["--out", str(out), "--steps", str(steps), "--samples", "1", "--threads", "1"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    return result


def main() -> None:
    """Export, train, time, and write ``results/sd15.json``; fails when the loss has risen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--no-eager", action="store_true", help="leave out the eager step (9 GB)")
    options = parser.parse_args()
    started = machine()
    exported = export("sd15", "sd15", *EXPORT)
    trained = train(exported.folder, options.steps, WORK / "sd15-out")
    losses = trained["losses"]
    if losses[-1] > losses[0]:
        raise SystemExit(f"the loss has risen: {losses}")
    step = bench(exported.folder, "train_step", repeats=2, threads=1)
    rows = [
        *of_export(exported),
        ("nodes of train_step", f"{exported.result['nodes']['train_step']:,}"),
        ("arena of train_step", megabytes(step["arena_bytes"])),
        ("training step, anonymous memory", megabytes(step["rss_anon_bytes"])),
        ("training step, peak PSS", megabytes(step["peak_pss_bytes"])),
        ("personalizing, peak PSS (the autoencoder's)", megabytes(trained["peak_pss_bytes"])),
        ("losses of consecutive steps", ", ".join(f"{loss:.5f}" for loss in losses)),
        ("native step", f"{step['median_seconds']:.1f} s"),
    ]
    if not options.no_eager:
        other = eager("sd15", {"cut": "C"}, repeats=2, threads=1)
        ratio = step["median_seconds"] / other["median_seconds"]
        rows += [
            ("eager fp32 step", f"{other['median_seconds']:.1f} s"),
            ("native / eager", f"{ratio:.2f}"),
            ("eager peak (RSS)", megabytes(other["peak_rss_bytes"])),
        ]
    path = record(
        "sd15",
        "Does Hollowed Net training of a net of Stable Diffusion 1.5's size fit?",
        COLUMNS,
        [{"figure": figure, "value": value} for figure, value in rows],
        conditions={"threads": 1, "bits": 8, "cut": "C", "latents": "64 x 64", "weights": "random"},
        started=started,
    )
    print(path)


def of_export(exported: Exported) -> list[tuple[str, str]]:
    """Figures of the export: seconds by step, memory and sizes."""
    seconds, result = exported.result["seconds"], exported.result
    return [
        ("export", f"{sum(seconds.values()):.0f} s"),
        ("export, processor time", f"{exported.cpu_seconds:.0f} s"),
        *((f"export: {name}", f"{seconds[name]:.0f} s") for name in STEPS),
        ("export, peak memory (RSS)", megabytes(exported.peak_bytes)),
        ("bundle, all programs", megabytes(result["bundle_bytes"])),
    ]


def megabytes(count: float) -> str:
    """Bytes as a person reads them."""
    return f"{count / 1e6:,.0f} MB"


if __name__ == "__main__":
    main()
