"""Federated averaging in Flower's simulation: ``-m ...flower_server LOAD REPORT WORKERS``.

Ray's backend with one CPU an actor, no evaluation on clients, no telemetry. ``run_simulation``
keeps messages in memory, where ``flwr run`` would send them through a server of its own.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}

import flwr
import ray
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from benchmarks.latency.peers.flower_client import app as client_app
from benchmarks.latency.peers.load import Load, Log


class TimedFedAvg(FedAvg):
    """FedAvg that notes when a round begins and ends."""

    def __init__(self, log: Log, **options: Any) -> None:
        super().__init__(**options)
        self._log = log

    def configure_train(self, *arguments: Any, **options: Any) -> Iterable[Message]:
        """The round begins."""
        self._log.begin()
        return super().configure_train(*arguments, **options)

    def aggregate_train(
        self, *arguments: Any, **options: Any
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The round ends."""
        aggregated = super().aggregate_train(*arguments, **options)
        self._log.end()
        return aggregated


def main(folder: Path, report: Path, workers: int) -> None:
    """Train, and write the report."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    torch.set_num_threads(workers)
    load = Load(folder)
    log, module = Log(load), load.module()
    settings = load.settings
    server_app = ServerApp()

    @server_app.main()
    def run(grid: Grid, context: Context) -> None:
        del context
        strategy = TimedFedAvg(
            log,
            fraction_train=settings["cohort"] / load.clients,
            min_train_nodes=settings["cohort"],
            min_available_nodes=load.clients,
            fraction_evaluate=0.0,
        )

        def evaluate(done: int, arrays: ArrayRecord) -> None:
            if done:
                module.load_state_dict(arrays.to_torch_state_dict())
                log.evaluate(module)

        strategy.start(
            grid=grid,
            initial_arrays=ArrayRecord(module.state_dict()),
            num_rounds=settings["rounds"],
            train_config=ConfigRecord({"load": str(folder)}),
            evaluate_fn=evaluate,
        )

    run_simulation(
        server_app,
        client_app,
        num_supernodes=load.clients,
        backend_config={
            "init_args": {"num_cpus": workers, "log_to_driver": False},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
    versions = {"flwr": flwr.__version__, "ray": ray.__version__, "torch": torch.__version__}
    log.write(report, versions)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
