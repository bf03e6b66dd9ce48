"""``python -m benchmarks.trajectory``: 200 losses, native beside eager, at 32 and 8 bits.

The same samples, noise and timesteps on both sides; eager runs the same (dequantized) net. Writes
``results/trajectory.json`` and the plot ``docs/images/trajectory.png``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from safetensors.numpy import save_file

from benchmarks.bundles import METHOD, WORK, export
from benchmarks.eager import Personalization
from benchmarks.record import ROOT, machine, record
from export.prepare import Request, prepare
from pockettune.bundle import open_bundle
from pockettune.images import read_photos
from pockettune.models import starter
from pockettune.prompts import Tokenizer
from pockettune.runner import find_runner

__all__ = ["main"]

COLUMNS = [
    ("bits", "bits", ""),
    ("steps", "steps", "count"),
    ("first", "first 20 losses, mean", ""),
    ("last", "last 20 losses, mean", ""),
    ("difference", "largest difference", "error"),
    ("relative", "largest difference / loss", "error"),
]


def native_losses(bundle: Path, inputs: Path, out: Path, steps: int) -> list[float]:
    """Losses of ``pockettune-run personalize``."""
    command = [str(find_runner()), "personalize", "--bundle", str(bundle), "--inputs", str(inputs)]
    command += ["--out", str(out), "--steps", str(steps), "--samples", str(steps)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return [float(loss) for loss in json.loads((out / "result.json").read_text())["losses"]]


def eager_losses(
    bits: int, pixels: torch.Tensor, input_ids: torch.Tensor, steps: int
) -> list[float]:
    """Losses of the same programs as Python functions."""
    request = Request("starter", METHOD, {"cut": "C", "steps": steps}, bits)
    parts = prepare(request, lambda *_: None).parts
    return Personalization(parts, pixels, input_ids).run(steps)


def plot(curves: dict[int, tuple[list[float], list[float]]], path: Path) -> None:
    """Both sides of each precision, smoothed over 10 steps, one above the other."""
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 1, figsize=(8, 6), sharex=True, height_ratios=(3, 1))
    for (bits, (native, eager)), color in zip(
        curves.items(), ("tab:blue", "tab:orange"), strict=True
    ):
        smooth = [np.convolve(losses, np.ones(10) / 10, "valid") for losses in (native, eager)]
        axes[0].plot(smooth[1], color=color, linewidth=4, alpha=0.35, label=f"eager, {bits} bits")
        axes[0].plot(smooth[0], color=color, linewidth=1, label=f"native, {bits} bits")
        axes[1].semilogy(np.abs(np.subtract(native, eager)) + 1e-12, color=color, linewidth=1)
    axes[0].set_ylabel("loss (mean of 10 steps)")
    axes[0].legend()
    axes[1].set_ylabel("|native - eager|")
    axes[1].set_xlabel("step")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train four times, compare, plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = machine()
    curves, rows = {}, []
    for bits in (32, 8):
        exported = export(f"trajectory-{bits}", "starter", "--bits", str(bits), "--cut", "C")
        bundle = open_bundle(exported.folder)
        text, image = bundle.manifest["text"], bundle.manifest["image"]
        names = text["tokenizer"]
        tokenizer = Tokenizer(bundle.path(names["vocab"]), bundle.path(names["merges"]), text)
        ids = tokenizer.encode(["a sks bear"])
        pixels = read_photos(starter.PATH.parent / "subject", image["height"], image["width"])
        inputs = WORK / f"trajectory-{bits}-inputs.safetensors"
        save_file({"pixels": pixels, "input_ids": ids}, inputs)
        out = WORK / f"trajectory-{bits}-out"
        shutil.rmtree(out, ignore_errors=True)
        native = native_losses(exported.folder, inputs, out, options.steps)
        eager = eager_losses(bits, torch.from_numpy(pixels), torch.from_numpy(ids), options.steps)
        difference = np.abs(np.subtract(native, eager))
        curves[bits] = (native, eager)
        rows.append(
            {
                "bits": bits,
                "steps": options.steps,
                "first": f"{np.mean(native[:20]):.4f}",
                "last": f"{np.mean(native[-20:]):.4f}",
                "difference": float(difference.max()),
                "relative": float((difference / np.abs(eager)).max()),
            }
        )
    plot(curves, ROOT / "docs/images/trajectory.png")
    path = record(
        "trajectory",
        "Does native training follow eager training of the same net?",
        COLUMNS,
        rows,
        conditions={"threads": 1, "model": "starter", "cut": "C", "samples": options.steps},
        started=started,
    )
    print(path)


if __name__ == "__main__":
    main()
