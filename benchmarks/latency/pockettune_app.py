"""The same load in PocketTune: ``-m benchmarks.latency.pockettune_app LOAD REPORT WORKERS``.

It runs what ``pockettune simulate`` runs, with the sequential backend for one worker.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from benchmarks.latency.peers.load import Load, Log
from pockettune import __version__
from pockettune.aggregate import ServerOptimizer
from pockettune.local import LocalTraining
from pockettune.simulate.ray_runner import ray_runner
from pockettune.simulate.run import simulate
from pockettune.simulate.settings import Simulation, build

__all__ = ["simulation_of"]


def simulation_of(values: dict[str, Any]) -> Simulation:
    """A simulation from what its ``to_json`` gave."""
    parts = {
        "local": LocalTraining(**values["local"]),
        "server": ServerOptimizer(**values["server"]),
        "evaluate_bits": tuple(values["evaluate_bits"]),
    }
    return Simulation(**values | parts)


def main(folder: Path, report: Path, workers: int) -> None:
    """Train, and write the report."""
    load = Load(folder)
    log = Log(load)
    simulation = simulation_of(load.settings["simulation"])
    scene = build(simulation)

    def on_event(event: dict[str, Any]) -> None:
        log.end(event["seconds"])
        if "evaluation" in event:
            log.note(event["evaluation"]["32"]["accuracy"])
        log.begin()

    with ExitStack() as stack:
        out = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        runner = None
        if workers > 1:
            runner = stack.enter_context(ray_runner(simulation, scene, workers))
        log.begin()
        simulate(simulation, out, on_event, runner, scene)
    log.write(report, {"pockettune": __version__, "torch": torch.__version__})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
