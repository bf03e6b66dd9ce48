"""``python -m benchmarks.accuracy.relaxed_quant``: weights and activations of 8, 4 and 2 bits.

LeNet-5's shape on Fashion-MNIST, trained centrally: some steps in float32, then from there as many
of each kind. Each run keeps its result under ``build/benchmarks``: stopped, the command goes on
with the next run; ``--seeds`` adds more.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.bundles import WORK
from benchmarks.record import machine, mean_and_spread, record
from pockettune import data
from pockettune.evaluation import quantized_parameters
from pockettune.federation import cross_entropy_objective
from pockettune.local import Identity, LocalTraining, batch_plan, draw, hyper_values, local_step
from pockettune.method import Objective
from pockettune.methods import quant_robust, relaxed_quant
from pockettune.models.classifier import Classifier, load_classifier
from pockettune.nn.quantizers import FULL, fake_quantized_activation, levels

BITS = (8, 4, 2)
PLAIN, STRAIGHT = "float32, rounded afterwards", "straight-through rounding"
RELAXED, RELAXED_STRAIGHT = "RQ", "RQ-ST"
LOCAL = LocalTraining(batch_size=32, optimizer="adamw", learning_rate=1e-3)
COLUMNS = [
    ("training", "training", ""),
    ("seeds", "seeds", ""),
    (f"bits_{FULL}", "float32, %", ""),
    *((f"bits_{bits}", f"{bits}/{bits} bits, %", "") for bits in BITS),
]
Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Run:
    """What one seed's runs share; ``steps`` before and after the quantizers come in."""

    model: Classifier
    dataset: data.FederatedDataset
    seed: int
    steps: int

    @property
    def folder(self) -> Path:
        """Where results are kept."""
        return WORK / "relaxed_quant" / f"{self.seed}-{self.steps}"


def train(run: Run, model: Classifier, objective: Objective, start: Tensor, part: int) -> Tensor:
    """The pack after ``run.steps`` steps of Adam; ``part`` 0 or 1 has batches of its own."""
    optimizer = LOCAL.make_optimizer()
    step = local_step(model, objective, optimizer)
    identity = Identity(run.seed, part, 0)
    hyper = [torch.tensor([value]) for value in hyper_values(LOCAL)]
    state = [start, torch.zeros_like(start), torch.zeros_like(start)]
    state.append(torch.zeros(1, dtype=torch.int64))
    train_split = run.dataset.train
    for index, rows in enumerate(batch_plan(len(train_split.labels), LOCAL, identity)[: run.steps]):
        batch = (
            torch.from_numpy(train_split.inputs[rows]),
            torch.from_numpy(train_split.labels[rows]),
            torch.ones(len(rows)),
        )
        draws = [draw(spec, identity, index) for spec in objective.draws]
        loss, _, *state = step(*batch, *draws, *hyper, *state)
        if not math.isfinite(float(loss)):
            raise RuntimeError(f"the loss is {float(loss)} at step {index}")
    return state[0]


def plain(run: Run, part: int) -> Tensor:
    """The float32 model after its first steps (``part`` 0), from which every run goes on, or after
    as many again (1); kept."""
    path = run.folder / f"float32-{part}.npy"
    if not path.exists():
        start = plain(run, 0) if part else run.model.initial(run.seed)
        pack = train(run, run.model, cross_entropy_objective(run.model), start, part)
        run.folder.mkdir(parents=True, exist_ok=True)
        np.save(path, pack.numpy())
    return torch.from_numpy(np.load(path))


def logits_of(run: Run, training: str, bits: int) -> Logits:
    """Trains, and gives the function from pictures to logits at ``bits`` a weight and activation;
    32 is float32."""
    start, model = plain(run, 0), run.model
    if training == PLAIN:
        return on_grid(model, plain(run, 1), bits)
    if training == STRAIGHT:
        config = quant_robust.Config(variant="qat", bits=bits, activations=True)
        objective = quant_robust.client_loss(model, config)
        return on_grid(model, train(run, model, objective, start, 1), bits)
    relaxed = relaxed_quant.Config(
        bits=bits, straight_through=training == RELAXED_STRAIGHT, batch_size=LOCAL.batch_size
    )
    prepared = relaxed_quant.prepare(model, relaxed)
    start = relaxed_quant.with_scales(prepared, relaxed, start, ranges(run, start))
    pack = train(run, prepared, relaxed_quant.client_loss(prepared, relaxed), start, 1)
    return lambda inputs: relaxed_quant.quantized_logits(prepared, relaxed, pack, inputs)


def ranges(run: Run, pack: Tensor) -> dict[str, float]:
    """The largest activation behind each tap over the first 500 pictures."""
    found: dict[str, float] = {}

    def note(name: str, value: Tensor) -> Tensor:
        found[name] = float(value.max())
        return value

    run.model.apply(pack, torch.from_numpy(run.dataset.train.inputs[:500]), note)
    return found


def on_grid(model: Classifier, pack: Tensor, bits: int) -> Logits:
    """Weights on the grid of the largest weight, activations on that of the batch's largest."""
    if bits == FULL:
        return lambda inputs: model.apply(pack, inputs)
    tensors, top = quantized_parameters(model, pack, bits), levels(bits)
    return lambda inputs: model.apply_named(
        tensors, inputs, lambda _, value: fake_quantized_activation(value, top, 1.0)
    )


@torch.no_grad()
def accuracy(run: Run, logits: Logits) -> float:
    """The share of right labels of the test pictures, in percent."""
    test, right = run.dataset.test, 0
    for first in range(0, len(test.labels), 500):
        found = logits(torch.from_numpy(test.inputs[first : first + 500])).argmax(1).numpy()
        right += int((found == test.labels[first : first + 500]).sum())
    return 100 * right / len(test.labels)


def result(run: Run, training: str, bits: int) -> float:
    """The accuracy of one run, trained unless it is kept."""
    name = "".join(letter if letter.isalnum() else "-" for letter in training.lower())
    kept = run.folder / f"{name}-{bits}.json"
    if not kept.exists():
        value = accuracy(run, logits_of(run, training, bits))
        print(f"seed {run.seed}, {training}, {bits} bits: {value:.2f} %", flush=True)
        kept.write_text(json.dumps(value))
    return float(json.loads(kept.read_text()))


def table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Means and, from two seeds on, half the difference between the best and the worst."""
    rows = []
    for training in (PLAIN, STRAIGHT, RELAXED, RELAXED_STRAIGHT):
        row: dict[str, Any] = {"training": training, "seeds": len(runs)}
        for bits in (FULL, *BITS) if training == PLAIN else BITS:
            values = [result(run, training, bits) for run in runs]
            row[f"bits_{bits}"] = mean_and_spread(values)
        rows.append(row)
    return rows


def main() -> None:
    """Train every kind with every seed, and write the table after each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    started = machine()
    dataset = data.load("fashion-mnist")
    model = load_classifier("lenet", dataset.input_shape, dataset.classes)
    runs: list[Run] = []
    for seed in range(options.seeds):
        runs.append(Run(model, dataset, seed, options.steps))
        path = record(
            "relaxed_quant",
            "How accurate is a network whose weights and activations have few bits?",
            COLUMNS,
            table(runs),
            conditions={
                "data": "Fashion-MNIST, 10,000 test pictures",
                "model": "lenet",
                "steps": f"{options.steps} in float32, then {options.steps} of each kind",
                "batch": LOCAL.batch_size,
                "optimizer": f"Adam {LOCAL.learning_rate}",
                "quantized": "all layers' weights, all activations but pictures and logits",
            },
            started=started,
        )
        print(path)


if __name__ == "__main__":
    main()
