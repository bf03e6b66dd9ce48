"""``python -m benchmarks.federated_step``: a client's step, native beside eager, 200 of them.

Every weight trained, one thread. Native and eager runs alternate, so that both meet the same
machine; each is the median of its steps. Eager is the function that simulation runs; stock is the
same function lowered by the runtime's own flow. Writes ``results/federated_step.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.bundles import WORK
from benchmarks.record import machine, record
from benchmarks.stock_step import stock_step
from export.federated import FederatedRequest, prepare_federated
from export.progress import StepClock
from export.steps import export_bundle
from pockettune import tensor_file
from pockettune.aggregate import ServerOptimizer
from pockettune.federation import Federation, bind
from pockettune.local import Identity, LocalTraining, batch_plan, draw, hyper_values
from pockettune.method import compose
from pockettune.models.classifier import load_classifier
from pockettune.runner import find_runner

__all__ = ["main"]

CLASSES, EXAMPLES, BATCH = 10, 640, 32
ROWS: tuple[tuple[str, tuple[int, ...], str], ...] = (
    ("lenet", (1, 28, 28), "fedavg"),
    ("lenet", (1, 28, 28), "quant_robust"),
    ("resnet-lite", (1, 28, 28), "fedavg"),
    ("har-conv", (6, 100), "fedavg"),
)
COLUMNS = [
    ("model", "model", ""),
    ("method", "method", ""),
    ("native", "native step", "seconds"),
    ("eager", "eager step", "seconds"),
    ("ratio", "native / eager", "ratio"),
    ("stock", "stock flow's step", "seconds"),
    ("stock_ratio", "native / stock", "ratio"),
    ("stock_error", "stock flow's error, 1 step", "error"),
    ("loss", "largest loss difference, 200 steps", "error"),
    ("perturbed", "eager's own, inputs off by 1e-7", "error"),
    ("parameters", "parameters' difference", "error"),
    ("change", "of their change", "error"),
]


def eager(
    federation: Federation, inputs: torch.Tensor, labels: torch.Tensor, steps: int
) -> tuple[list[float], list[float], torch.Tensor]:
    """Seconds and losses of each step, and the parameters after them."""
    identity = Identity(0, 0, 0)
    hyper = [torch.tensor([value]) for value in hyper_values(federation.local)]
    start = torch.from_numpy(federation.initial())
    state = [start, torch.zeros_like(start), torch.zeros(1, dtype=torch.int64)]
    seconds, losses = [], []
    plan = batch_plan(EXAMPLES, federation.local, identity)[:steps]
    for step, rows in enumerate(plan):
        begin = time.perf_counter()
        batch = (inputs[rows], labels[rows], torch.ones(BATCH))
        draws = [draw(spec, identity, step) for spec in federation.objective.draws]
        loss, _, *state = federation.step(*batch, *draws, *hyper, *state)
        losses.append(float(loss))
        seconds.append(time.perf_counter() - begin)
    return seconds, losses, state[0]


def compare(
    name: str, shape: tuple[int, ...], method: str, steps: int, repeats: int
) -> dict[str, object]:
    """A row of the table."""
    local = LocalTraining(steps=steps, batch_size=BATCH, momentum=0.9, learning_rate=0.02)
    model = load_classifier(name, shape, CLASSES)
    federation = bind(compose(method, {}), model, local, ServerOptimizer())
    folder = WORK / "federated_step" / name / method
    shutil.rmtree(folder, ignore_errors=True)
    options = {"steps": steps, "batch_size": BATCH, "momentum": 0.9, "learning_rate": 0.02}
    request = FederatedRequest(name, method, shape, CLASSES, {}, options, bits=())
    exported = export_bundle(partial(prepare_federated, request), folder / "bundle", StepClock())
    programs = exported.prepared.parts.programs
    stock = stock_step(next(one for one in programs if one.name == "train_step"))
    generator = np.random.default_rng(0)
    labels = np.arange(EXAMPLES, dtype=np.int64) % CLASSES
    shapes = generator.random((CLASSES, *shape), dtype=np.float32)
    inputs = 0.5 * shapes[labels] + 0.5 * generator.random((EXAMPLES, *shape), dtype=np.float32)
    examples = folder / "examples.safetensors"
    examples.write_bytes(tensor_file.encode({"inputs": inputs, "labels": labels}))
    native, plain = [], []
    for repeat in range(repeats):
        out = folder / f"out-{repeat}"
        native.append(run_native(folder / "bundle", examples, out, steps))
        plain.append(eager(federation, torch.from_numpy(inputs), torch.from_numpy(labels), steps))
    result = json.loads((out / "result.json").read_text())
    _, losses, expected = plain[-1]
    # How far rounding alone leads: training of a whole net amplifies it.
    nearby = torch.from_numpy(inputs) * (1.0 + 1e-7)
    _, perturbed, _ = eager(federation, nearby, torch.from_numpy(labels), steps)
    named = tensor_file.read(out / "parameters.safetensors")
    found = torch.cat([torch.from_numpy(named[view.name]).reshape(-1) for view in model.views])
    start = torch.from_numpy(federation.initial())
    difference = float((found - expected).norm())
    ratios = [one / statistics.median(other[0]) for one, other in zip(native, plain, strict=True)]
    row: dict[str, object] = {}
    if stock is not None:
        ratio = statistics.median(native) / stock.seconds
        row = {"stock": stock.seconds, "stock_ratio": ratio, "stock_error": stock.error}
    return row | {
        "model": name,
        "method": method,
        "native": statistics.median(native),
        "eager": statistics.median(statistics.median(times) for times, *_ in plain),
        "ratio": statistics.median(ratios),
        "loss": float(np.abs(np.array(result["losses"]) - np.array(losses)).max()),
        "perturbed": float(np.abs(np.array(perturbed) - np.array(losses)).max()),
        "parameters": difference / float(expected.norm()),
        "change": difference / float((expected - start).norm()),
    }


def run_native(bundle: Path, examples: Path, out: Path, steps: int) -> float:
    """Median seconds of a step."""
    command = [find_runner(), "train", "--bundle", bundle, "--inputs", examples, "--out", out]
    command += ["--steps", steps, "--checkpoint-every", steps]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return float(json.loads((out / "result.json").read_text())["seconds_per_step"])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.federated_step", description=__doc__
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = machine()
    rows = [compare(*row, options.steps, options.repeats) for row in ROWS]
    record(
        "federated_step",
        "How long is a step of a client that trains every weight, and where do 200 lead?",
        COLUMNS,
        rows,
        conditions={"batch": BATCH, "threads": 1, **vars(options)},
        started=started,
    )


if __name__ == "__main__":
    main()
