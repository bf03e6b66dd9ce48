"""``pockettune data``: what sets there are, and how one would be shared out."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pockettune.data import FederatedDataset, Partition, load, names, partition
from pockettune.errors import ConfigInvalid, ToolMissing
from pockettune.files import write_atomically

__all__ = ["add_options", "run"]


def add_options(add: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add.add_argument("name", nargs="?", help="the set's name")
    add.add_argument("--list", action="store_true", help="name the sets and stop")
    add.add_argument("--folder", type=Path, help="where the set's files are")
    add.add_argument("--partition", default="iid", help="natural, iid, dirichlet:ALPHA, ...")
    add.add_argument("--clients", type=int, default=20, help="(default: %(default)s)")
    add.add_argument("--seed", type=int, default=0)
    add.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the clients")
    add.add_argument("--json", action="store_true", help="print the result as JSON, nothing else")


def run(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Load, share out, describe."""
    del console
    if options.list:
        return {"sets": names(), "summary": "\n".join(names())}
    if options.name is None:
        raise ConfigInvalid("data", "", names())
    dataset = load(options.name, options.folder)
    shares = partition(options.partition, dataset, options.clients, options.seed)
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
        "natural_users": len(np.unique(dataset.train.users)) if dataset.user else 0,
        "clients": len(sizes),
        "smallest": min(sizes),
        "largest": max(sizes),
        "skew": dict(shares.skew),
    }
    if options.plot is not None:
        _plot(dataset, shares, options.partition, options.plot)
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


def _plot(dataset: FederatedDataset, shares: Partition, name: str, path: Path) -> None:
    """Each client as a bar of its labels. Raises ToolMissing without matplotlib."""
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ToolMissing("matplotlib", "pip install 'pockettune[federated]'") from error

    labels = dataset.train.labels
    labels = labels if labels.ndim == 1 else labels[:, 0]
    counts = np.stack(
        [np.bincount(labels[share], minlength=dataset.classes) for share in shares.shares]
    )
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    bottom = np.zeros(len(counts))
    colors = colormaps["tab20"].colors  # type: ignore[attr-defined]
    for label in range(dataset.classes):
        color = colors[label % len(colors)]
        axes.bar(range(len(counts)), counts[:, label], 0.9, bottom=bottom, color=color, label=label)
        bottom += counts[:, label]
    axes.set(xlabel="client", ylabel="examples", xlim=(-0.6, len(counts) - 0.4))
    if dataset.classes <= 20:
        axes.legend(title="label", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    title = f"{dataset.name}, {name}: {_figures(dict(shares.skew))}"
    axes.set_title(title, fontsize="medium")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120, metadata={"Software": None})
    write_atomically(path, drawn.getvalue())
