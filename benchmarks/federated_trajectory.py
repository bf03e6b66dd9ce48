"""``python -m benchmarks.federated_trajectory``: 200 steps of a client, native beside eager.

Every weight trained, on real examples, from the same parameters and with the same batches. Each
model once at a rate at which rounding stays rounding, and once at one at which training amplifies
it: how much, the third run tells, eager with inputs scaled by ``1 + 1e-7``. Writes
``results/federated_trajectory.json`` and the plot ``docs/images/federated_trajectory.png``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch

from benchmarks.bundles import WORK
from benchmarks.federated_step import BATCH, EXAMPLES, eager, run_native
from benchmarks.record import ROOT, machine, record
from export.federated import FederatedRequest, prepare_federated
from export.progress import StepClock
from export.steps import export_bundle
from pockettune import data, tensor_file
from pockettune.aggregate import ServerOptimizer
from pockettune.federation import bind
from pockettune.local import LocalTraining
from pockettune.method import compose
from pockettune.models.classifier import load_classifier
from pockettune.parameters_file import read_pack

__all__ = ["main"]

TOLERANCE = 1e-3
"""How far a loss may be from eager's in the stable setting."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a client trains, on what, how fast."""

    model: str
    data: str
    learning_rate: float
    momentum: float
    stable: bool


SETTINGS = (
    Setting("lenet", "fashion-mnist", 0.005, 0.0, stable=True),
    Setting("lenet", "fashion-mnist", 0.02, 0.9, stable=False),
    Setting("resnet-lite", "fashion-mnist", 0.003, 0.0, stable=True),
    Setting("resnet-lite", "fashion-mnist", 0.02, 0.9, stable=False),
    Setting("har-conv", "watch", 0.05, 0.0, stable=True),
    Setting("har-conv", "watch", 0.02, 0.9, stable=False),
)
COLUMNS = [
    ("model", "model", ""),
    ("data", "data", ""),
    ("learning_rate", "rate", ""),
    ("momentum", "momentum", ""),
    ("first", "first 20 losses, mean", ""),
    ("last", "last 20 losses, mean", ""),
    ("loss", "largest difference of a loss", "error"),
    ("perturbed", "eager's own, inputs off by 1e-7", "error"),
    ("change", "parameters' difference, of their change", "error"),
    ("within", f"within {TOLERANCE:g}", ""),
]


@dataclass(frozen=True, slots=True)
class Curves:
    """Losses by step."""

    setting: Setting
    native: list[float]
    eager: list[float]
    perturbed: list[float]


def compare(setting: Setting, steps: int) -> tuple[Curves, dict[str, Any]]:
    """The curves and the row of a setting."""
    dataset = data.load(setting.data)
    chosen = np.random.default_rng(0).permutation(len(dataset.train))[:EXAMPLES]
    part = dataset.train.take(chosen)
    how: dict[str, Any] = {"learning_rate": setting.learning_rate, "momentum": setting.momentum}
    local = LocalTraining(steps=steps, batch_size=BATCH, **how)
    model = load_classifier(setting.model, dataset.input_shape, dataset.classes)
    federation = bind(compose("fedavg", {}), model, local, ServerOptimizer())
    folder = WORK / "federated_trajectory" / f"{setting.model}-{setting.learning_rate}"
    shutil.rmtree(folder, ignore_errors=True)
    request = FederatedRequest(
        setting.model,
        "fedavg",
        dataset.input_shape,
        dataset.classes,
        {},
        {"steps": steps, "batch_size": BATCH, **how},
        bits=(),
    )
    export_bundle(partial(prepare_federated, request), folder / "bundle", StepClock())
    examples = folder / "examples.safetensors"
    examples.write_bytes(tensor_file.encode({"inputs": part.inputs, "labels": part.labels}))
    run_native(folder / "bundle", examples, folder / "out", steps)
    native = json.loads((folder / "out" / "result.json").read_text())["losses"]
    inputs, labels = torch.from_numpy(part.inputs), torch.from_numpy(part.labels)
    _, losses, expected = eager(federation, inputs, labels, steps)
    _, perturbed, _ = eager(federation, inputs * (1.0 + 1e-7), labels, steps)
    found = read_pack(folder / "out" / "parameters.safetensors", model.views)
    change = (expected - torch.from_numpy(federation.initial())).norm()
    difference = _largest(native, losses)
    row = asdict(setting) | {
        "first": f"{np.mean(native[:20]):.3f}",
        "last": f"{np.mean(native[-20:]):.3f}",
        "loss": difference,
        "perturbed": _largest(perturbed, losses),
        "change": float((found - expected).norm() / change),
        "within": "yes" if difference <= TOLERANCE else "no",
    }
    return Curves(setting, native, losses, perturbed), row


def _largest(left: list[float], right: list[float]) -> float:
    return float(np.abs(np.subtract(left, right)).max())


def plot(curves: list[Curves], path: Path) -> None:
    """For each model the losses, and below how far native and eager, and eager and eager, part."""
    mpl.use("Agg")
    from matplotlib import pyplot

    models = list(dict.fromkeys(one.setting.model for one in curves))
    figure, axes = pyplot.subplots(2, len(models), figsize=(12, 6), sharex=True)
    for one in curves:
        column = models.index(one.setting.model)
        color = "tab:blue" if one.setting.stable else "tab:orange"
        label = f"rate {one.setting.learning_rate:g}, momentum {one.setting.momentum:g}"
        above, below = axes[0, column], axes[1, column]
        above.set_title(one.setting.model)
        above.plot(one.eager, color=color, linewidth=4, alpha=0.3)
        above.plot(one.native, color=color, linewidth=1, label=label)
        for other, style in ((one.native, "-"), (one.perturbed, ":")):
            apart = np.abs(np.subtract(other, one.eager)) + 1e-9
            below.semilogy(apart, style, color=color, linewidth=1)
        above.legend()
        below.axhline(TOLERANCE, color="gray", linewidth=0.5)
        below.set_xlabel("step")
    axes[0, 0].set_ylabel("loss (wide: eager)")
    axes[1, 0].set_ylabel("from eager (dotted: eager, inputs off by 1e-7)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.federated_trajectory", description=__doc__
    )
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = machine()
    curves, rows = zip(*(compare(setting, options.steps) for setting in SETTINGS), strict=True)
    plot(list(curves), ROOT / "docs/images/federated_trajectory.png")
    path = record(
        "federated_trajectory",
        "Do 200 steps of a native client lead where eager's lead?",
        COLUMNS,
        rows,
        conditions={"batch": BATCH, "examples": EXAMPLES, "threads": 1, **vars(options)},
        started=started,
    )
    print(path)


if __name__ == "__main__":
    main()
