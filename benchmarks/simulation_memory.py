"""``python -m benchmarks.simulation_memory``: does a simulation's memory grow with its clients?

Fashion-MNIST is shared out among ever more clients, all of whom train LeNet in the one round.
Memory is that of the whole process tree; both backends must end with the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.bundles import WORK
from benchmarks.process_tree import watch
from benchmarks.record import ROOT, machine, record

__all__ = ["main"]

COLUMNS = [
    ("clients", "clients, all in one round", "count"),
    ("backend", "backend", ""),
    ("peak", "memory, peak (PSS)", "bytes"),
    ("seconds", "time of the round", "seconds"),
    ("loss", "clients' loss", ""),
    ("digest", "SHA-256 of the parameters", ""),
]
CASES = [(100, "sequential"), (1000, "sequential"), (10000, "sequential"), (10000, "ray")]


def measure(clients: int, backend: str) -> dict[str, Any]:
    """One row."""
    out = WORK / "simulation-memory"
    out.mkdir(parents=True, exist_ok=True)
    (out / "checkpoint.safetensors").unlink(missing_ok=True)  # Else it would be gone on with.
    command = [sys.executable, "-m", "pockettune", "simulate", "--data", "fashion-mnist"]
    command += ["--partition", "iid", "--clients", str(clients), "--cohort", str(clients)]
    command += ["--rounds", "1", "--backend", backend, "--workers", "2", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    watched = watch(command, environment, out / "output.txt")
    (done,) = json.loads((out / "result.json").read_text())["rounds"]
    digest = hashlib.sha256((out / "parameters.safetensors").read_bytes()).hexdigest()
    return {
        "clients": clients,
        "backend": backend,
        "peak": watched.peak_bytes,
        "seconds": done["seconds"],
        "loss": f"{done['loss']:.4f}",
        "digest": digest[:12],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every case and write ``results/simulation_memory.json``."""
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    started = machine()
    rows = []
    for clients, backend in CASES:
        rows.append(measure(clients, backend))
        print(rows[-1], flush=True)
    path = record(
        "simulation_memory",
        "Does a simulation's memory grow with its clients?",
        COLUMNS,
        rows,
        conditions={"data": "fashion-mnist", "model": "lenet", "workers of ray": 2},
        started=started,
    )
    print(path)


if __name__ == "__main__":
    main()
