"""``python -m benchmarks.accuracy.quant_robust``: accuracy at few bits, by variant.

Fashion-MNIST, 100 clients with Dirichlet(0.3) label skew, 10 a round. Each run has a folder of its
own under ``build/benchmarks``: stopped, the command goes on where it was; ``--seeds`` adds more.
The table has every run that is there, those of earlier calls too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.bundles import WORK
from benchmarks.record import machine, mean_and_spread, record
from pockettune import data, tensor_file
from pockettune.evaluation import evaluate
from pockettune.local import LocalTraining
from pockettune.models.classifier import load_classifier
from pockettune.pack import concatenate
from pockettune.simulate.run import simulate
from pockettune.simulate.settings import Simulation

BITS = (32, 8, 6, 4, 3, 2)
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "FedAvg": ("fedavg", {}),
    "KURE": ("quant_robust", {"variant": "kure"}),
    "APQN(4)": ("quant_robust", {"variant": "apqn", "bits": 4}),
    "QAT(8)": ("quant_robust", {"variant": "qat", "bits": 8}),
    "QAT(4)": ("quant_robust", {"variant": "qat", "bits": 4}),
    "MQAT": ("quant_robust", {"variant": "mqat"}),
    "RQ(4)": ("relaxed_quant", {"bits": 4, "activations": False}),
}
_MOST_SEEDS = 10
COLUMNS = [
    ("variant", "variant", ""),
    ("scale", "scale", ""),
    ("seeds", "seeds", ""),
    *((f"bits_{bits}", f"{bits} bits, %", "") for bits in BITS),
]


def run(variant: str, seed: int, rounds: int, dataset: data.FederatedDataset) -> None:
    """Train one run and keep its accuracies by scale and width, unless they are there."""
    method, settings = VARIANTS[variant]
    simulation = Simulation(
        method=method,
        settings=settings,
        model="lenet",
        data="fashion-mnist",
        partition="dirichlet:0.3",
        clients=100,
        cohort=10,
        rounds=rounds,
        local=LocalTraining(batch_size=32, learning_rate=0.05),
        evaluate_every=10,
        seed=seed,
    )
    kept = accuracies_file(variant, seed, rounds)
    if not kept.exists():
        simulate(simulation, kept.parent, lambda event: _told(variant, seed, event))
        kept.write_text(json.dumps(_accuracies(kept.parent, dataset)))


def accuracies_file(variant: str, seed: int, rounds: int) -> Path:
    """Where a run's accuracies are kept."""
    name = "".join(character if character.isalnum() else "-" for character in variant.lower())
    return WORK / "quant_robust" / f"{name}-{seed}-{rounds}" / "accuracies.json"


def kept_runs(rounds: int) -> dict[str, list[list[dict[str, Any]]]]:
    """The accuracies of all runs that are there, by variant."""
    files = {
        variant: [accuracies_file(variant, seed, rounds) for seed in range(_MOST_SEEDS)]
        for variant in VARIANTS
    }
    return {
        variant: [json.loads(path.read_text()) for path in paths if path.exists()]
        for variant, paths in files.items()
    }


def _told(variant: str, seed: int, event: dict[str, Any]) -> None:
    if "evaluation" in event:
        accuracy = event["evaluation"]["32"]["accuracy"]
        print(f"{variant}, seed {seed}: round {event['round'] + 1}, {accuracy:.3f}", flush=True)


def _accuracies(folder: Path, dataset: data.FederatedDataset) -> list[dict[str, Any]]:
    model = load_classifier("lenet", dataset.input_shape, dataset.classes)
    tensors = tensor_file.read(folder / "parameters.safetensors")
    pack = concatenate([torch.from_numpy(tensors[view.name].copy()) for view in model.views])
    rows = []
    for scale in ("max", "mse"):
        row: dict[str, Any] = {"scale": scale}
        for bits in BITS:
            found = evaluate(
                model, pack, dataset.test.inputs, dataset.test.labels, bits=bits, scale=scale
            )
            row[f"bits_{bits}"] = 100 * found["accuracy"]
        rows.append(row)
    return rows


def table(runs: dict[str, list[list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Mean and, from two seeds on, half the spread between the best and the worst seed."""
    rows = []
    for variant, by_seed in runs.items():
        if not by_seed:
            continue
        for index, scale in enumerate(("max", "mse")):
            row: dict[str, Any] = {"variant": variant, "scale": scale, "seeds": len(by_seed)}
            for bits in BITS:
                values = [seed[index][f"bits_{bits}"] for seed in by_seed]
                row[f"bits_{bits}"] = mean_and_spread(values)
            rows.append(row)
    return rows


def main() -> None:
    """Train every variant with every seed, and write the table after each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, choices=range(1, _MOST_SEEDS + 1))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="only these")
    options = parser.parse_args()
    started = machine()
    dataset = data.load("fashion-mnist")
    for seed in range(options.seeds):
        for variant in options.variant or VARIANTS:
            run(variant, seed, options.rounds, dataset)
            path = record(
                "quant_robust",
                "How accurate is a model that a fleet has trained, at few bits a weight?",
                COLUMNS,
                table(kept_runs(options.rounds)),
                conditions={
                    "data": "Fashion-MNIST, 10,000 test pictures",
                    "model": "lenet",
                    "clients": "10 of 100 a round, Dirichlet 0.3",
                    "rounds": options.rounds,
                    "local": "1 epoch, batch 32, SGD 0.05",
                    "weights": "all layers, one scale a tensor",
                },
                started=started,
            )
            print(path)


if __name__ == "__main__":
    main()
