"""``pockettune data``: what sets there are, and how one would be shared out."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from rich.console import Console

from pockettune.argument_types import path
from pockettune.data import FederatedDataset, load, names, partition
from pockettune.data.plot import plot
from pockettune.errors import ConfigInvalid

__all__ = ["add_options", "run"]

_CLIENTS = 20


def add_options(add: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add.add_argument("name", nargs="?", help="the set's name")
    add.add_argument("--list", action="store_true", help="name the sets and stop")
    add.add_argument("--folder", type=path, help="where the set's files are")
    add.add_argument("--partition", default="iid", help="natural, iid, dirichlet:ALPHA, ...")
    add.add_argument("--clients", type=int, help=f"(default: {_CLIENTS}, or all natural users)")
    add.add_argument("--seed", type=int, default=0)
    add.add_argument("--plot", type=path, metavar="FILE.png", help="draw the clients")
    add.add_argument("--json", action="store_true", help="print the result as JSON, nothing else")


def run(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Load, share out, describe."""
    del console
    if options.list:
        return {"sets": names(), "summary": "\n".join(names())}
    if options.name is None:
        raise ConfigInvalid("data", "", names())
    if options.plot is not None and options.plot.suffix.lower() != ".png":
        raise ConfigInvalid("plot", options.plot, "a name that ends in .png")
    dataset = load(options.name, options.folder)
    users = len(np.unique(dataset.train.users)) if dataset.user else 0
    clients = options.clients
    if clients is None:
        clients = users if users and options.partition == "natural" else _CLIENTS
    shares = partition(options.partition, dataset, clients, options.seed)
    sizes = [len(share) for share in shares.shares]
    result: dict[str, Any] = {
        "name": dataset.name,
        "task": dataset.task,
        "license": dataset.license,
        "source": dataset.source,
        "train": len(dataset.train),
        "test": len(dataset.test),
        "classes": dataset.classes,
        "input_shape": list(dataset.input_shape),
        "natural_users": users,
        "clients": len(sizes),
        "smallest": min(sizes),
        "largest": max(sizes),
        "skew": dict(shares.skew),
    }
    if options.plot is not None:
        title = f"{dataset.name}, {options.partition}: {_figures(result['skew'])}"
        plot(dataset, shares, title, options.plot)
        result["plot"] = str(options.plot)
    return result | {"summary": _summary(dataset, result)}


def _summary(dataset: FederatedDataset, result: dict[str, Any]) -> str:
    users = f", {result['natural_users']} users ({dataset.user})" if dataset.user else ""
    skew = _figures(result["skew"])
    lines = [
        f"set       {dataset.name}: {dataset.source} ({dataset.license})",
        f"examples  {result['train']} to train, {result['test']} to test{users}",
        f"shape     {result['input_shape']}, {result['classes']} classes",
        f"clients   {result['clients']} with {result['smallest']} to {result['largest']} examples",
        f"skew      {skew}",
    ]
    if "plot" in result:
        lines.append(f"plot      {result['plot']}")
    return "\n".join(lines)


def _figures(skew: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in skew.items())
