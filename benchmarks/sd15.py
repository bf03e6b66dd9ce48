"""``python -m benchmarks.sd15``: one run at Stable Diffusion 1.5's own size, not in CI.

Random weights, cut C, 64 x 64 latents (512 px), int8: exports, then trains 3 steps natively on
random photos, and times eager beside it. Needs about 6 GB of memory and 2 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from benchmarks.bundles import WORK, bench, eager, export
from benchmarks.record import machine, record
from pockettune.runner import find_runner

__all__ = ["main"]

COLUMNS = [("figure", "figure", ""), ("value", "value", ""), ("unit", "unit", "")]


def train(bundle: Path, steps: int, out: Path) -> dict[str, Any]:
    """``pockettune-run personalize`` on random photos; the content of its ``result.json``."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    edge, length = manifest["image"]["height"], manifest["text"]["max_length"]
    generator = np.random.default_rng(0)
    inputs = out.parent / "sd15-inputs.safetensors"
    pixels = generator.uniform(-1, 1, (1, 3, edge, edge)).astype(np.float32)
    ids = generator.integers(0, 1000, (1, length), dtype=np.int64)
    save_file({"pixels": pixels, "input_ids": ids}, inputs)
    command = [str(find_runner()), "personalize", "--bundle", str(bundle), "--inputs", str(inputs)]
    command += ["--out", str(out), "--steps", str(steps), "--samples", "1", "--threads", "1"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    return result


def main() -> None:
    """Export, train, time, and write ``results/sd15.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--no-eager", action="store_true", help="leave out the eager step (6 GB)")
    options = parser.parse_args()
    started = machine()
    exported = export("sd15", "sd15", "--cut", "C", "--bits", "8", "--steps", str(options.steps))
    result = train(exported.folder, options.steps, WORK / "sd15-out")
    step = bench(exported.folder, "train_step", repeats=2, threads=1)
    seconds = exported.result["seconds"]
    rows: list[dict[str, Any]] = [
        {"figure": "export, all steps", "value": round(sum(seconds.values()), 1), "unit": "s"},
        {
            "figure": "export, peak memory",
            "value": round(exported.peak_bytes / 1e9, 2),
            "unit": "GB",
        },
        {"figure": "program file", "value": round(step_file(exported.result), 1), "unit": "MB"},
        {
            "figure": "nodes of train_step",
            "value": exported.result["nodes"]["train_step"],
            "unit": "",
        },
        {
            "figure": "arena of train_step",
            "value": round(step["arena_bytes"] / 1e6, 1),
            "unit": "MB",
        },
        {
            "figure": "peak PSS of a step",
            "value": round(step["peak_pss_bytes"] / 1e6, 1),
            "unit": "MB",
        },
        {
            "figure": "anonymous memory",
            "value": round(step["rss_anon_bytes"] / 1e6, 1),
            "unit": "MB",
        },
        {"figure": "native step", "value": round(step["median_seconds"], 2), "unit": "s"},
        {"figure": "losses", "value": ", ".join(f"{x:.4f}" for x in result["losses"]), "unit": ""},
    ]
    if not options.no_eager:
        other = eager("sd15", {"cut": "C"}, repeats=1, threads=1)
        rows += [
            {"figure": "eager fp32 step", "value": round(other["median_seconds"], 2), "unit": "s"},
            {
                "figure": "eager peak (RSS)",
                "value": round(other["peak_rss_bytes"] / 1e6, 1),
                "unit": "MB",
            },
        ]
    path = record(
        "sd15",
        "Does Hollowed Net training of a net of Stable Diffusion 1.5's size fit?",
        COLUMNS,
        rows,
        conditions={"threads": 1, "bits": 8, "cut": "C", "latents": "64 x 64", "weights": "random"},
        started=started,
    )
    print(path)


def step_file(result: dict[str, Any]) -> float:
    """Megabytes of the program file, which all programs share."""
    return float(result["program_file_bytes"]) / 1e6


if __name__ == "__main__":
    main()
