"""Federated averaging in pfl's simulation: ``-m ...pfl_app LOAD REPORT WORKERS``.

One process a core, each with one torch thread, joined as pfl's guide to distributed simulations has
it; users' data are tensors, of which it takes slices; no evaluation on users.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any


def start(workers: int) -> None:
    """Run this program in as many processes; returns when all are done."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    addresses = ",".join(f"localhost:{port + rank}" for rank in range(workers))
    command = [sys.executable, "-m", "benchmarks.latency.peers.pfl_app", *sys.argv[1:]]
    environment = {**os.environ, "PFL_WORKER_ADDRESSES": addresses}
    processes = [
        subprocess.Popen(command, env={**environment, "PFL_WORKER_RANK": str(rank)})
        for rank in range(workers)
    ]
    statuses = [process.wait() for process in processes]
    if any(statuses):
        sys.exit("a process of pfl failed")


def main(folder: Path, report: Path, rank: int) -> None:
    """Train, and write the report."""
    import numpy as np
    import pfl
    import torch
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.aggregate.weighting import WeightByDatapoints
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.callback.base import TrainingProcessCallback
    from pfl.data.dataset import Dataset
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.data.sampling import get_user_sampler
    from pfl.hyperparam import NNTrainHyperParams
    from pfl.metrics import Metrics
    from pfl.model.pytorch import PyTorchModel

    from benchmarks.latency.peers.load import Load, Log

    torch.set_num_threads(1)
    load = Load(folder)
    log, settings = Log(load), load.settings
    np.random.seed(settings["seed"])  # Every process draws the same users.
    module: Any = load.module()
    # pfl asks for it; here no user is evaluated after the first round.
    module.metrics = lambda *_: {}

    class Timed(TrainingProcessCallback):
        """Notes when a round is over, and evaluates between rounds."""

        def on_train_begin(self, **_: Any) -> Metrics:
            log.begin()
            return Metrics()

        def after_central_iteration(self, *_: Any, **__: Any) -> tuple[bool, Metrics]:
            log.end()
            log.evaluate(module)
            log.begin()
            return False, Metrics()

    users = FederatedDataset(
        lambda user: Dataset(load.client(user), user_id=str(user)),
        get_user_sampler("minimize_reuse", list(range(load.clients))),
    )
    model = PyTorchModel(
        module,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(module.parameters(), lr=1.0),
    )
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=settings["rounds"],
            evaluation_frequency=settings["rounds"],
            train_cohort_size=settings["cohort"],
            val_cohort_size=None,
        ),
        backend=SimulatedBackend(
            training_data=users, val_data=users, postprocessors=[WeightByDatapoints()]
        ),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_batch_size=settings["batch_size"],
            local_num_epochs=None,
            local_num_steps=settings["steps"],
            local_learning_rate=settings["learning_rate"],
        ),
        callbacks=[Timed()],
        send_metrics_to_platform=False,
    )
    if rank == 0:
        log.write(report, {"pfl": pfl.__version__, "torch": torch.__version__})


if __name__ == "__main__":
    if int(sys.argv[3]) > 1 and "PFL_WORKER_RANK" not in os.environ:
        start(int(sys.argv[3]))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]), int(os.environ.get("PFL_WORKER_RANK", 0)))
