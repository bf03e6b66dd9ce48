"""``python -m benchmarks.latency.simulation``: simulated clients a second, beside Flower and pfl.

Every framework trains the same model from the same first parameters on the same clients' data, with
the same batches' size, steps and cores, and is judged on the same test set. Flower and pfl have
environments of their own, which the first run makes in ``build/peers`` (4.9 GB each, nearly all of
it PyTorch) from ``benchmarks/latency/peers/*.txt``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bundles import WORK
from benchmarks.latency.peers.load import Log
from benchmarks.process_tree import watch
from benchmarks.record import ROOT, machine, record
from pockettune.local import LocalTraining
from pockettune.simulate.settings import Simulation, build

__all__ = ["LOADS", "Contender", "main", "write_load"]

PEERS = Path(__file__).parent / "peers"
ENVIRONMENTS = ROOT / "build" / "peers"

COLUMNS = [
    ("load", "load", ""),
    ("framework", "framework", ""),
    ("cores", "cores", "count"),
    ("rate", "clients / s", "ratio"),
    ("behind", "PocketTune's clients / s over its", "ratio"),
    ("processor", "processor time a client", "seconds"),
    ("start", "to the end of round 1", "seconds"),
    ("peak", "memory, peak (PSS)", "bytes"),
    ("accuracy", "accuracy by rounds", ""),
    ("packages", "packages", "count"),
    ("installed", "installed", "bytes"),
]

LOADS = {
    "LeNet, 20 steps": Simulation(
        data="fashion-mnist",
        model="lenet",
        partition="iid",
        clients=90,  # 666 examples each: pfl takes no second pass to fill its 20 steps.
        cohort=10,
        rounds=12,
        local=LocalTraining(steps=20),
        evaluate_every=4,
    ),
    "small, 1 step": Simulation(
        data="digits",
        model="lenet",
        partition="iid",
        clients=100,
        cohort=50,
        rounds=60,
        local=LocalTraining(steps=1, learning_rate=0.2),
        evaluate_every=30,
    ),
}


@dataclass(frozen=True, slots=True)
class Contender:
    """A framework: its program, its environment's name ("" is ours), what it is installed by."""

    name: str
    program: str
    environment: str
    roots: tuple[str, ...]
    channels_last: bool = False

    def python(self) -> str:
        """Its interpreter; its environment is made when it is not there."""
        if not self.environment:
            return sys.executable
        folder = ENVIRONMENTS / self.environment
        wanted = (PEERS / f"{self.environment}.txt").read_text()
        made, python = folder / "made-from.txt", folder / "bin" / "python"
        if not made.exists() or made.read_text() != wanted:
            uv = str(Path(sys.executable).with_name("uv"))
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            subprocess.run([uv, "venv", "--clear", "--python", version, str(folder)], check=True)
            requirements = str(PEERS / f"{self.environment}.txt")
            install = [uv, "pip", "install", "--python", str(python), "-r", requirements]
            subprocess.run(install, check=True)
            made.write_text(wanted)
        return str(python)

    def needs(self) -> dict[str, int]:
        """Number of packages that it needs, and their bytes."""
        command = [self.python(), str(PEERS / "installed.py"), *self.roots]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found: dict[str, int] = json.loads(output)
        return found


_PEERS = "benchmarks.latency.peers"
OURS = Contender(
    "PocketTune", "benchmarks.latency.pockettune_app", "", ("pockettune", "torch", "ray")
)
ALONE = Contender("PocketTune", OURS.program, "", ("pockettune", "torch"))
FLOWER = Contender("Flower", f"{_PEERS}.flower_server", "flower", ("flwr[simulation]", "torch"))
PFL = Contender("pfl", f"{_PEERS}.pfl_app", "pfl", ("pfl[pytorch]", "torch"))
# What PocketTune does by itself, done by hand.
FLOWER_LAST = Contender(
    "Flower, channels last", FLOWER.program, "flower", FLOWER.roots, channels_last=True
)
PFL_LAST = Contender("pfl, channels last", PFL.program, "pfl", PFL.roots, channels_last=True)
# With how many cores who runs.
RUNS = {
    2: (OURS, FLOWER, FLOWER_LAST, PFL, PFL_LAST),
    1: (ALONE, PFL, PFL_LAST),
}


def write_load(simulation: Simulation, folder: Path, channels_last: bool) -> None:
    """The files that `peers/load.py` describes."""
    scene = build(simulation)
    shares = [scene.partition.split(client) for client in range(simulation.clients)]
    model = scene.federation.model
    initial = folder / "initial"
    initial.mkdir(parents=True, exist_ok=True)
    arrays = {
        "inputs": np.concatenate([share.inputs for share in shares]),
        "labels": np.concatenate([share.labels for share in shares]),
        "offsets": np.cumsum([0, *(len(share) for share in shares)]),
        "test_inputs": scene.dataset.test.inputs,
        "test_labels": scene.dataset.test.labels,
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    pack = scene.federation.initial()
    for view in model.views:
        size = int(np.prod(view.shape))
        np.save(initial / f"{view.name}.npy", pack[view.offset :][:size].reshape(view.shape))
    settings = {
        "model": model.name,
        "input_shape": list(model.input_shape),
        "classes": model.classes,
        "channels_last": channels_last,
        "cohort": simulation.cohort,
        "rounds": simulation.rounds,
        "evaluate_every": simulation.evaluate_every,
        "steps": simulation.local.steps,
        "batch_size": simulation.local.batch_size,
        "learning_rate": simulation.local.learning_rate,
        "seed": simulation.seed,
        "simulation": simulation.to_json(),
    }
    (folder / "settings.json").write_text(json.dumps(settings, indent=1))


def run_once(contender: Contender, folder: Path, cores: int, cohort: int) -> dict[str, Any]:
    """Figures of one run."""
    report, log = folder / "report.json", folder / f"{contender.environment or 'ours'}.log"
    report.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [contender.python(), "-m", contender.program, str(folder), str(report), str(cores)]
    watched = watch(command, environment, log)
    said = Log.read(report)
    # The first round starts workers, imports and plans.
    steady = said["rounds"][1:]
    seconds = [end - begin for begin, end in steady]
    used = sum(watched.processor_seconds(begin, end) for begin, end in steady)
    return {
        "rate": cohort / statistics.median(seconds),
        "processor": used / (len(steady) * cohort),
        "start": said["rounds"][0][1] - watched.started,
        "peak": watched.peak_bytes,
        "accuracy": said["accuracy"],
        "versions": said["versions"],
    }


def compare(
    name: str, simulation: Simulation, repeats: int
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Rows of one load, all contenders in turns, and the versions of all."""
    folders = {}
    for last in (False, True):
        folders[last] = WORK / "loads" / f"{name.replace(' ', '-').replace(',', '')}-{int(last)}"
        write_load(simulation, folders[last], last)
    order = [(cores, contender) for cores, some in RUNS.items() for contender in some]
    runs: dict[tuple[int, Contender], list[dict[str, Any]]] = {key: [] for key in order}
    for repeat in range(repeats):
        for cores, contender in order:
            folder = folders[contender.channels_last]
            once = run_once(contender, folder, cores, simulation.cohort)
            runs[cores, contender].append(once)
            print(f"{name}, {contender.name}, {cores} cores, run {repeat + 1}: {once}", flush=True)
    versions: dict[str, str] = {}
    rows = []
    for (cores, contender), measured in runs.items():
        ours = runs[cores, OURS if cores > 1 else ALONE]
        needs = contender.needs()
        versions |= measured[-1]["versions"]
        own = contender.name == OURS.name
        rows.append(
            {
                "load": name,
                "framework": contender.name,
                "cores": cores,
                "rate": _median(measured, "rate"),
                "behind": None
                if own
                else statistics.median(
                    mine["rate"] / its["rate"] for mine, its in zip(ours, measured, strict=True)
                ),
                "processor": _median(measured, "processor"),
                "start": _median(measured, "start"),
                "peak": max(run["peak"] for run in measured),
                "accuracy": ", ".join(
                    f"{done}: {value:.1%}" for done, value in measured[0]["accuracy"].items()
                ),
                "packages": needs["packages"],
                "installed": needs["bytes"],
                "rates": [run["rate"] for run in measured],
            }
        )
    return rows, versions


def _median(runs: Sequence[dict[str, Any]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every load with every framework and write ``results/simulation.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--load", action="append", choices=LOADS, help="only these")
    options = parser.parse_args(arguments)
    started = machine()
    rows: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    for name in options.load or LOADS:
        more, named = compare(name, LOADS[name], options.repeats)
        rows += more
        versions |= named
    priority = Path("/proc/self/autogroup")
    path = record(
        "simulation",
        "How many clients a second does a simulation train?",
        COLUMNS,
        rows,
        conditions={
            "repeats": options.repeats,
            "rate": "median round after the first, median of the repeats",
            "batch": 32,
            "scheduling": priority.read_text().split(" ", 1)[1].strip()
            if priority.exists()
            else "",
            "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        },
        started=started,
    )
    print(path)


if __name__ == "__main__":
    main()
