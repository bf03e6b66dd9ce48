"""``pockettune simulate``: goes on where it stopped, the same in one process and in many."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pockettune import tensor_file
from pockettune.cli import main
from pockettune.errors import ConfigInvalid, Interrupted, StateMismatch
from pockettune.local import LocalTraining
from pockettune.simulate import ray_runner
from pockettune.simulate.run import simulate
from pockettune.simulate.settings import Simulation, build

SMALL = Simulation(
    data="digits",
    clients=12,
    cohort=4,
    rounds=4,
    local=LocalTraining(batch_size=16, learning_rate=0.1, momentum=0.9),
    codec="affine:4",
    evaluate_every=2,
    evaluate_bits=(32, 4),
)


def changed(**values: Any) -> Simulation:
    return Simulation(**{name: getattr(SMALL, name) for name in SMALL.__slots__} | values)


def without_seconds(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in result["rounds"]]


class Stop(Exception):  # noqa: N818 - an event, not an error
    """A run that ends in the middle."""


def stop_after(rounds: int) -> Any:
    def on_event(event: dict[str, Any]) -> None:
        if event.get("round") == rounds:
            raise Stop

    return on_event


def nothing(event: dict[str, Any]) -> None:
    del event


@pytest.mark.parametrize("rounds", [0, 2])
def test_a_stopped_run_ends_with_the_same_bytes(tmp_path: Path, rounds: int) -> None:
    scene = build(SMALL)
    whole = simulate(SMALL, tmp_path / "whole", nothing, scene=scene)
    with pytest.raises(Stop):
        simulate(SMALL, tmp_path / "parts", stop_after(rounds), scene=scene)
    parts = simulate(SMALL, tmp_path / "parts", nothing, scene=scene)
    assert without_seconds(parts) == without_seconds(whole)
    one, other = (tmp_path / name / "parameters.safetensors" for name in ("whole", "parts"))
    assert one.read_bytes() == other.read_bytes()
    assert {"32", "4"} == set(whole["final"])


def test_a_folder_of_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    simulate(SMALL, tmp_path, nothing)
    with pytest.raises(ConfigInvalid, match=r"'seed' cannot be '1'; valid: 0 as in"):
        simulate(changed(seed=1), tmp_path, nothing)
    longer = simulate(changed(rounds=5), tmp_path, nothing)
    assert [row["round"] for row in longer["rounds"]] == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigInvalid, match="'rounds' cannot be '3'; valid: at least 5"):
        simulate(changed(rounds=3), tmp_path, nothing)


def test_a_folder_with_the_state_of_something_else_is_left_alone(tmp_path: Path) -> None:
    state = tmp_path / "checkpoint.safetensors"
    tensor_file.write(state, {"parameters": np.zeros(3, np.float32)}, {"step": "7"})
    before = state.read_bytes()
    with pytest.raises(StateMismatch, match="has kind unknown, and this run has simulation"):
        simulate(SMALL, tmp_path, nothing)
    assert state.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        {"simulation": "{"},
        {"simulation": "[]"},
        {"history": "no"},
        {"history": "{}"},
        {"history": "[]", "round": "0"},
        {"history": "[" * 10**5},
        {"round": "two"},
        {"round": "5"},
    ],
    ids=lambda change: "-".join(f"{name}-{text[:9]}" for name, text in change.items()),
)
def test_a_checkpoint_that_nobody_wrote_is_left_alone(
    tmp_path: Path, change: dict[str, str]
) -> None:
    state = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stop):
        simulate(SMALL, tmp_path, stop_after(2))
    metadata = {**tensor_file.read_header(state).metadata, **change}
    tensor_file.write(state, tensor_file.read(state), metadata)
    before = state.read_bytes()
    with pytest.raises(StateMismatch, match="has kind unknown, and this run has simulation"):
        simulate(SMALL, tmp_path, nothing)
    assert state.read_bytes() == before


class Ended:
    """A worker that is ended from outside, as by a system that lacks memory."""

    def train(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_gone_is_told() -> None:
    ray = pytest.importorskip("ray", reason="NOT TESTED: ray is not installed")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        worker = ray.remote(Ended).remote()
        with pytest.raises(Interrupted, match="Stopped by the end of a worker process"):
            ray_runner._result(worker.train.remote())
    finally:
        ray.shutdown()


def test_a_missing_tool_is_told_before_the_first_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["simulate", "--out", str(tmp_path / "out")]) == 62
    assert "needs 'matplotlib', which is not here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_workers_error_is_told_as_if_it_were_raised_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray", reason="NOT TESTED: ray is not installed")
    options = "--backend ray --workers 1 --clients 12 --cohort 4 --epochs 1000000 --out"
    assert main(["simulate", *options.split(), str(tmp_path)]) == 55
    said = capsys.readouterr().err
    assert said.startswith("pockettune: config_invalid: The setting 'epochs' cannot be '1000000'")
    assert said.count("\n") == 1


def test_many_processes_give_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="NOT TESTED: ray is not installed")
    options = ["--data", "digits", "--clients", "12", "--cohort", "4", "--rounds", "2"]
    for backend in ("sequential", "ray"):
        out = ["--backend", backend, "--workers", "2", "--out", str(tmp_path / backend), "--json"]
        assert main(["simulate", *options, *out]) == 0
    results = [
        json.loads((tmp_path / backend / "result.json").read_text())
        for backend in ("sequential", "ray")
    ]
    assert without_seconds(results[0]) == without_seconds(results[1])
    files = [tmp_path / backend / "parameters.safetensors" for backend in ("sequential", "ray")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_command_learns_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--data digits --clients 10 --cohort 5 --rounds 12 --epochs 2 --batch-size 16"
    options += " --learning-rate 0.1 --momentum 0.9 --evaluate-bits 32,8,2 --evaluate-every 12"
    assert main(["simulate", *options.split(), "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "accuracy" in said
    assert "MB up" in said
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["final"]["32"]["accuracy"] > 0.8
    assert result["final"]["8"]["accuracy"] > 0.8
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("option", "said", "status"),
    [
        ("--method nothing", "config_invalid: ", 55),
        ("--method quant_robust+quant_robust", "config_invalid: ", 55),
        ("--set bits=4", "config_invalid: ", 55),
        ("--method quant_robust --set bits=5 --set variant=ptq", "config_invalid: ", 55),
        ("--model resnet", "config_invalid: ", 55),
        ("--data mnist", "config_invalid: ", 55),
        ("--partition natural --clients 7 --cohort 3", "partition_impossible: ", 75),
        ("--cohort 200", "config_invalid: ", 55),
        ("--evaluate-bits 32,16", "config_invalid: ", 55),
        ("--codec zip", "config_invalid: ", 55),
        ("--scale least", "config_invalid: ", 55),
        ("--backend ray --workers 0", "config_invalid: ", 55),
        ("--epochs 1048576", "config_invalid: ", 55),
        ("--learning-rate 1e30 --rounds 2", "round_failed: ", 72),
        # Finite, but beyond the codec: gone as far as any that are not.
        ("--learning-rate 3000 --codec dense:f16 --rounds 2", "round_failed: ", 72),
    ],
)
def test_bad_settings_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, said: str, status: int
) -> None:
    assert main(["simulate", *option.split(), "--out", str(tmp_path / "out")]) == status
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"pockettune: {said}")


def test_data_are_described_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "clients.png"
    arguments = ["digits", "--partition", "natural", "--clients", "14", "--plot", str(plot)]
    assert main(["data", *arguments]) == 0
    assert "14 users (form block)" in capsys.readouterr().out
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert main(["data", "--list", "--json"]) == 0
    assert "digits" in json.loads(capsys.readouterr().out)["sets"]
