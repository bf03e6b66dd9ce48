"""Other frameworks are given the simulation's own load, and are watched with their children."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.latency import pockettune_app
from benchmarks.latency.peers.installed import closure
from benchmarks.latency.peers.load import Load, Log
from benchmarks.latency.simulation import write_load
from benchmarks.process_tree import watch
from pockettune.evaluation import evaluate
from pockettune.local import LocalTraining
from pockettune.simulate.settings import Simulation, build

SIMULATION = Simulation(
    data="digits",
    clients=20,
    cohort=4,
    rounds=2,
    partition="iid",
    local=LocalTraining(steps=2, batch_size=8),
    evaluate_every=1,
)


@pytest.fixture(scope="module", params=[False, True], ids=["first", "last"])
def load(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Load:
    folder = tmp_path_factory.mktemp("load")
    write_load(SIMULATION, folder, channels_last=request.param)
    return Load(folder)


def test_clients_have_the_partitions_data(load: Load) -> None:
    scene = build(SIMULATION)
    assert load.clients == 20
    for client in (0, 7, 19):
        inputs, labels = load.client(client)
        share = scene.partition.split(client)
        assert np.array_equal(inputs.numpy(), share.inputs)
        assert np.array_equal(labels.numpy(), share.labels)


def test_the_first_parameters_and_the_accuracy_are_the_simulations(load: Load) -> None:
    scene = build(SIMULATION)
    pack, test = torch.from_numpy(scene.federation.initial()), scene.dataset.test
    expected = evaluate(scene.federation.model, pack, test.inputs, test.labels)["accuracy"]
    assert load.accuracy(load.module()) == pytest.approx(expected)


def test_our_program_reports_every_round(load: Load, tmp_path: Path) -> None:
    pockettune_app.main(load.folder, tmp_path / "report.json", 1)
    report = Log.read(tmp_path / "report.json")
    assert len(report["rounds"]) == 2
    assert all(end > begin for begin, end in report["rounds"])
    assert set(report["accuracy"]) == {1, 2}


def test_a_watched_program_counts_its_children(tmp_path: Path) -> None:
    work = "sum(range(20_000_000))"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{work}'])"
    watched = watch([sys.executable, "-c", child], os.environ, tmp_path / "log")
    used = watched.processor_seconds(watched.started, time.time())
    assert 0.05 < used < 30
    assert watched.processor_seconds(watched.started, watched.started) == 0.0


def test_a_closure_holds_what_a_package_needs() -> None:
    found = closure(["jsonschema"])
    assert {"jsonschema", "attrs", "referencing"} <= set(found)
    assert "torch" not in found
    assert all(size > 0 for size in found.values())
