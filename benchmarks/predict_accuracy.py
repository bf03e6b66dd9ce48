"""``python -m benchmarks.predict_accuracy``: predict programs beside the simulated quantizer.

A fleet's model is trained by simulation, exported with the parameters that this gave, and asked in
the runtime for every test example; the simulated quantizer is asked for the same. Writes
``results/predict_accuracy.json``. Stopped, the command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.bundles import WORK
from benchmarks.record import machine, record
from export.federated import FederatedRequest, prepare_federated
from export.progress import StepClock
from export.steps import export_bundle
from pockettune import tensor_file
from pockettune.evaluation import evaluate
from pockettune.local import LocalTraining
from pockettune.models.classifier import load_classifier
from pockettune.parameters_file import read_pack
from pockettune.runner import find_runner
from pockettune.simulate.run import simulate
from pockettune.simulate.settings import Simulation, build

__all__ = ["main"]

BITS = (32, 8, 4)
LOCAL = LocalTraining(batch_size=32, learning_rate=0.02, momentum=0.9)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who trains what; all clients take part in each round."""

    model: str
    data: str
    partition: str
    clients: int
    rounds: int


FLEETS = (
    Fleet("lenet", "fashion-mnist", "iid", 10, 6),
    Fleet("har-conv", "watch", "natural", 10, 40),
)
COLUMNS = [
    ("model", "model", ""),
    ("data", "data", ""),
    ("examples", "test examples", "count"),
    ("bits", "bits", ""),
    ("native", "in the runtime, %", ""),
    ("simulated", "simulated, %", ""),
    ("difference", "difference, points", ""),
    ("loss", "difference of the losses", "error"),
]


def compare(fleet: Fleet) -> list[dict[str, Any]]:
    """The rows of one model."""
    simulation = Simulation(
        model=fleet.model,
        data=fleet.data,
        partition=fleet.partition,
        clients=fleet.clients,
        cohort=fleet.clients,
        rounds=fleet.rounds,
        local=LOCAL,
        evaluate_every=1,
    )
    scene = build(simulation)
    folder = WORK / "predict_accuracy" / fleet.model
    trained = folder / f"trained-{fleet.rounds}"
    simulate(simulation, trained, lambda event: print(f"{fleet.model}: {event}"), scene=scene)
    parameters = trained / "parameters.safetensors"
    dataset = scene.dataset
    request = FederatedRequest(
        fleet.model,
        "fedavg",
        dataset.input_shape,
        dataset.classes,
        {},
        {"batch_size": LOCAL.batch_size},
        bits=[bits for bits in BITS if bits != 32],
        parameters=parameters,
    )
    bundle = folder / "bundle"
    export_bundle(partial(prepare_federated, request), bundle, StepClock())
    examples = folder / "test.safetensors"
    tensor_file.write(examples, {"inputs": dataset.test.inputs, "labels": dataset.test.labels})
    model = load_classifier(fleet.model, dataset.input_shape, dataset.classes)
    pack = read_pack(parameters, model.views)
    rows = []
    for bits in BITS:
        program = "predict" if bits == 32 else f"predict_{bits}"
        native = run_native(bundle, examples, program)
        simulated = evaluate(model, pack, dataset.test.inputs, dataset.test.labels, bits=bits)
        rows.append(
            {
                "model": fleet.model,
                "data": fleet.data,
                "examples": native["examples"],
                "bits": bits,
                "native": f"{100 * native['accuracy']:.2f}",
                "simulated": f"{100 * simulated['accuracy']:.2f}",
                "difference": f"{100 * (native['accuracy'] - simulated['accuracy']):+.2f}",
                "loss": abs(native["loss"] - simulated["loss"]),
            }
        )
    return rows


def run_native(bundle: Path, examples: Path, program: str) -> dict[str, Any]:
    """What ``pockettune-run evaluate`` says of a program."""
    command = [find_runner(), "evaluate", "--bundle", bundle, "--inputs", examples]
    command += ["--program", program]
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE)
    score: dict[str, Any] = json.loads(done.stdout)
    return score


def main() -> None:
    """The command."""
    argparse.ArgumentParser(
        prog="python -m benchmarks.predict_accuracy", description=__doc__
    ).parse_args()
    torch.set_num_threads(1)
    started = machine()
    rows = [row for fleet in FLEETS for row in compare(fleet)]
    conditions = {
        "training": "; ".join(
            f"{fleet.model} {fleet.rounds} rounds of {fleet.clients} clients, {fleet.partition}"
            for fleet in FLEETS
        ),
        "local": f"1 epoch, batch {LOCAL.batch_size}, SGD {LOCAL.learning_rate}, "
        f"momentum {LOCAL.momentum}",
        "weights": "all layers, one scale a tensor, of its largest weight",
    }
    path = record(
        "predict_accuracy",
        "Do the exported programs predict at few bits as the simulated quantizer does?",
        COLUMNS,
        rows,
        conditions=conditions,
        started=started,
    )
    print(path)


if __name__ == "__main__":
    main()
