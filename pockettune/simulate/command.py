"""``pockettune simulate``: its options, its progress, its summary."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pockettune.argument_types import path, setting, words
from pockettune.errors import ConfigInvalid

if TYPE_CHECKING:
    from pockettune.simulate.settings import Simulation

__all__ = ["add_options", "run"]

_LINES = 10


def add_options(add: argparse.ArgumentParser) -> None:
    """The options of the command."""
    text = add.add_argument
    text("--method", default="fedavg", help="fedavg, a method, or several: one+another")
    text(
        "--set",
        type=setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a method's setting, its value as JSON",
    )
    text("--model", default="lenet", help="lenet, resnet-lite, har-conv, char-conv")
    text("--data", default="digits", help="a data set: `pockettune data --list`")
    text("--partition", default="dirichlet:0.3", help="natural, iid, dirichlet:ALPHA, ...")
    text("--clients", type=int, default=100)
    text("--cohort", type=int, default=10, help="clients of a round")
    text("--rounds", type=int, default=20)
    text("--epochs", type=int, default=1, help="local passes over a client's data")
    text("--steps", type=int, default=0, help="local steps instead of epochs")
    text("--batch-size", type=int, default=32)
    text("--optimizer", default="sgd", help="the clients': sgd or adamw")
    text("--learning-rate", type=float, default=0.05)
    text("--momentum", type=float, default=0.0)
    text("--weight-decay", type=float, default=0.0)
    text("--max-gradient-norm", type=float, default=0.0, help="0: no clipping")
    text("--proximal", type=float, default=0.0, help="FedProx's mu")
    text("--server-optimizer", default="sgd", help="sgd, momentum, adam or yogi")
    text("--server-learning-rate", type=float, default=1.0)
    text(
        "--codec",
        type=words,
        help="of the updates, instead of the method's: dense:f16, affine:4, ...",
    )
    text("--evaluate-every", type=int, default=5, metavar="ROUNDS")
    text("--evaluate-bits", default="32", help="bit-widths, with commas: 32,8,4,2")
    text("--scale", default="max", help="of the evaluation's quantizer: max or mse")
    text("--seed", type=int, default=0)
    text("--backend", choices=("sequential", "ray"), default="sequential")
    text("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes of ray")
    text("--out", type=path, required=True, metavar="DIR", help="result.json, parameters, plot")
    text("--json", action="store_true", help="print the result as JSON, nothing else")


def run(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Run it. Raises whatever is wrong with the settings before the first round."""
    # They import torch: "--help" shall not wait for it.
    from pockettune.simulate.plot import plot, require_matplotlib
    from pockettune.simulate.run import simulate
    from pockettune.simulate.settings import build

    require_matplotlib()
    simulation = _simulation(options)
    scene = build(simulation)
    out: Path = options.out
    with _progress(console) as on_event:
        if options.backend == "ray":
            from pockettune.simulate.ray_runner import ray_runner

            with ray_runner(simulation, scene, options.workers) as runner:
                result = simulate(simulation, out, on_event, runner, scene)
        else:
            result = simulate(simulation, out, on_event, scene=scene)
    picture = plot(result, out / "plot.png")
    return result | {"plot": str(picture), "summary": _summary(result, out)}


def _simulation(options: argparse.Namespace) -> Simulation:
    from pockettune.aggregate import ServerOptimizer
    from pockettune.local import LocalTraining
    from pockettune.simulate.settings import Simulation

    return Simulation(
        method=options.method,
        settings=dict(options.set),
        model=options.model,
        data=options.data,
        partition=options.partition,
        clients=options.clients,
        cohort=options.cohort,
        rounds=options.rounds,
        local=LocalTraining(
            epochs=options.epochs,
            steps=options.steps,
            batch_size=options.batch_size,
            optimizer=options.optimizer,
            momentum=options.momentum,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            max_gradient_norm=options.max_gradient_norm,
            proximal=options.proximal,
        ),
        server=ServerOptimizer(options.server_optimizer, options.server_learning_rate),
        codec=options.codec,
        evaluate_every=options.evaluate_every,
        evaluate_bits=tuple(_bits(word) for word in options.evaluate_bits.split(",")),
        scale=options.scale,
        seed=options.seed,
    )


def _bits(word: str) -> int:
    if not word.isdecimal():
        raise ConfigInvalid("evaluate_bits", word, "numbers with commas: 32,8,4,2")
    return int(word)


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A bar on a terminal, a line now and then elsewhere."""
    if not console.is_terminal:
        yield lambda event: _print_line(console, event)
        return
    columns = (
        TextColumn("rounds"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("rounds", total=None, note="")
        note = ""

        def show(event: dict[str, Any]) -> None:
            nonlocal note
            if event["event"] == "resume":
                bars.console.print(f"going on from round {event['step']}")
                return
            if "evaluation" in event:
                note = _accuracies(event["evaluation"])
            loss = f"loss {event['loss']:.3f}  {note}"
            bars.update(task, total=event["of"], completed=event["round"] + 1, note=loss)

        yield show


def _print_line(console: Console, event: dict[str, Any]) -> None:
    if event["event"] == "resume":
        console.print(f"going on from round {event['step']}")
    elif "evaluation" in event or (event["round"] + 1) % max(1, event["of"] // _LINES) == 0:
        accuracies = _accuracies(event.get("evaluation", {}))
        line = f"round {event['round'] + 1}/{event['of']}, loss {event['loss']:.3f}  {accuracies}"
        console.print(line.rstrip(), highlight=False, soft_wrap=True)


def _accuracies(evaluation: dict[str, Any]) -> str:
    return "  ".join(
        f"{float(row['accuracy']):.1%} at {bits} bits" for bits, row in evaluation.items()
    )


def _summary(result: dict[str, Any], out: Path) -> str:
    excluded = sum(sum(row["excluded"].values()) for row in result["rounds"])
    lines = [
        f"accuracy  {_accuracies(result['final'])}",
        f"traffic   {result['bytes_up'] / 1e6:.1f} MB up, {result['bytes_down'] / 1e6:.1f} MB down",
        f"time      {result['seconds']:.1f} s in {len(result['rounds'])} rounds",
        f"results   {out / 'result.json'}, {out / 'plot.png'}",
    ]
    if excluded:
        lines.insert(1, f"excluded  {excluded} times a client that had diverged or had no data")
    return "\n".join(lines)
