"""The loop over rounds: evaluate now and then, keep a checkpoint, go on where it stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pockettune import tensor_file
from pockettune.errors import ConfigInvalid, StateMismatch
from pockettune.evaluation import evaluate
from pockettune.files import storage_errors, write_atomically
from pockettune.round import Runner, ServerState, cohort, initial_state, one_by_one, run_round
from pockettune.simulate.settings import Scene, Simulation, build

__all__ = ["simulate"]

Event = dict[str, Any]

_RESULT, _CHECKPOINT = "result.json", "checkpoint.safetensors"


def simulate(
    simulation: Simulation,
    out: Path,
    on_event: Callable[[Event], None],
    runner: Runner | None = None,
    scene: Scene | None = None,
) -> dict[str, Any]:
    """Run a simulation, or the rest of one, and write ``out/result.json`` and the final parameters.

    A folder that holds an unfinished run of the same settings is gone on with, one round after its
    last checkpoint; the result is that of an undisturbed run, seconds aside. Raises ConfigInvalid
    when the folder holds a run of other settings or of more rounds, StateMismatch when it holds the
    state of something else.
    """
    with storage_errors("create", out):
        out.mkdir(parents=True, exist_ok=True)
    scene = scene or build(simulation)
    state, history = _resumed(simulation, scene, out)
    if history:
        on_event({"event": "resume", "step": state.round})
    threads = torch.get_num_threads()
    # Sums of one thread have one order: the same curve in one process and in many.
    torch.set_num_threads(1)
    try:
        while state.round < simulation.rounds:
            state, row = _round(simulation, scene, state, runner or one_by_one)
            history.append(row)
            on_event({"event": "round", "of": simulation.rounds, **row})
            if "evaluation" in row:
                _save(simulation, state, history, out)
    finally:
        torch.set_num_threads(threads)
    return _finish(simulation, scene, state, history, out)


def _round(
    simulation: Simulation, scene: Scene, state: ServerState, runner: Runner
) -> tuple[ServerState, dict[str, Any]]:
    started = time.perf_counter()
    chosen = cohort(simulation.seed, state.round, simulation.clients, simulation.cohort)
    state, report = run_round(scene.federation, state, chosen, scene.partition.split, runner)
    row = asdict(report) | {"seconds": time.perf_counter() - started}
    last = state.round == simulation.rounds
    if last or state.round % simulation.evaluate_every == 0:
        row["evaluation"] = {
            str(bits): evaluate(
                scene.federation.model,
                torch.from_numpy(state.parameters),
                scene.dataset.test.inputs,
                scene.dataset.test.labels,
                bits=bits,
                scale=simulation.scale,
            )
            for bits in simulation.evaluate_bits
        }
    return state, row


def _save(
    simulation: Simulation, state: ServerState, history: list[dict[str, Any]], out: Path
) -> None:
    tensors = {"parameters": state.parameters, **state.moments}
    metadata = {
        "simulation": json.dumps(simulation.to_json(), sort_keys=True),
        "history": json.dumps(history),
        "round": str(state.round),
    }
    tensor_file.write(out / _CHECKPOINT, tensors, metadata)


def _resumed(
    simulation: Simulation, scene: Scene, out: Path
) -> tuple[ServerState, list[dict[str, Any]]]:
    start = initial_state(scene.federation)
    path = out / _CHECKPOINT
    if not path.exists():
        return start, []
    metadata = tensor_file.read_header(path).metadata
    if not metadata.keys() >= {"simulation", "history", "round"}:
        raise StateMismatch(path, "kind", "unknown", "simulation")
    before, history = _told(path, metadata)
    now = simulation.to_json()
    for key, value in json.loads(json.dumps(now)).items():
        # More rounds of the same run are welcome.
        if key != "rounds" and before.get(key) != value:
            valid = f"{before.get(key)} as in {out}, or another folder"
            raise ConfigInvalid(key, value, valid)
    done = len(history)
    if done > simulation.rounds:
        valid = f"at least {done}, which {out} has done, or another folder"
        raise ConfigInvalid("rounds", simulation.rounds, valid)
    expected = {
        name: ("float32", array.shape)
        for name, array in {"parameters": start.parameters, **start.moments}.items()
    }
    tensors = tensor_file.read(path, expected)
    state = ServerState(
        done,
        np.array(tensors.pop("parameters")),
        {name: np.array(array) for name, array in tensors.items()},
    )
    return state, history


def _told(path: Path, metadata: Mapping[str, str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The settings and the rounds of a checkpoint. Raises StateMismatch for what is none."""
    try:
        settings, history = (json.loads(metadata[name]) for name in ("simulation", "history"))
    except (ValueError, RecursionError):
        settings = history = None
    whole = isinstance(settings, dict) and isinstance(history, list) and len(history) > 0
    if whole and metadata["round"] == str(len(history)):
        return settings, history
    raise StateMismatch(path, "kind", "unknown", "simulation")


def _finish(
    simulation: Simulation,
    scene: Scene,
    state: ServerState,
    history: list[dict[str, Any]],
    out: Path,
) -> dict[str, Any]:
    result = {
        "simulation": simulation.to_json(),
        "parameters": scene.federation.model.size,
        "skew": dict(scene.partition.skew),
        "bytes_up": sum(row["bytes_up"] for row in history),
        "bytes_down": sum(row["bytes_down"] for row in history),
        "seconds": sum(row["seconds"] for row in history),
        "final": history[-1].get("evaluation", {}),
        "rounds": history,
    }
    views = scene.federation.model.views
    named = {
        view.name: state.parameters[view.offset :][: int(np.prod(view.shape))].reshape(view.shape)
        for view in views
    }
    tensor_file.write(out / "parameters.safetensors", named)
    write_atomically(out / _RESULT, json.dumps(result, indent=1).encode() + b"\n")
    return result
