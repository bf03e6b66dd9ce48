"""Clients as a picture: what labels each has, and how many examples."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from pockettune.data.dataset import FederatedDataset
from pockettune.data.partition import Partition
from pockettune.errors import ToolMissing
from pockettune.files import write_atomically

__all__ = ["plot"]

_MOST_COLORS = 20  # more labels cannot be told apart: only sizes are drawn
_MOST_SINGLE = 200  # more clients cannot be told apart: they are ordered, without lines between


def plot(dataset: FederatedDataset, partition: Partition, title: str, path: Path) -> None:
    """Draw each client's labels, as parts of 1, above its number of examples, as a PNG.

    More than 200 clients stand in the order of their commonest label. Raises ToolMissing without
    matplotlib.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ToolMissing("matplotlib", "pip install 'pockettune[federated]'") from error

    sizes = np.array([len(share) for share in partition.shares])
    edges = np.arange(len(sizes) + 1) - 0.5
    single = len(sizes) <= _MOST_SINGLE
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    if dataset.classes <= _MOST_COLORS:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        labels = dataset.train.labels
        parts = (
            np.stack(
                [
                    np.bincount(labels[share], minlength=dataset.classes)
                    for share in partition.shares
                ]
            )
            / np.maximum(sizes, 1)[:, None]
        )
        if not single:
            order = np.lexsort((-parts.max(axis=1), parts.argmax(axis=1)))
            parts, sizes = parts[order], sizes[order]
        tops = parts.cumsum(axis=1)
        colors = colormaps["tab10" if dataset.classes <= 10 else "tab20"]
        # One outline a label, not one bar a client and label: thousands of clients stay quick.
        for label in range(dataset.classes):
            bottom = tops[:, label] - parts[:, label]
            upper.stairs(
                tops[:, label], edges, baseline=bottom, fill=True, color=colors(label), label=label
            )
        if single:
            upper.vlines(edges[1:-1], 0, 1, color="white", linewidth=60 / len(sizes) ** 0.95)
        upper.set(ylabel="part of a client", ylim=(0, 1))
        upper.legend(title="label", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    else:
        upper = lower = figure.subplots()
    lower.stairs(sizes, edges, fill=True, color="0.55")
    if single:
        lower.vlines(edges[1:-1], 0, sizes.max(), color="white", linewidth=60 / len(sizes) ** 0.95)
    lower.set(
        xlabel="client" if single else "clients in order",
        ylabel="examples",
        xlim=(edges[0], edges[-1]),
        ylim=(0, None),
    )
    upper.set_title(title, fontsize="medium")
    for axes in {upper, lower}:
        axes.spines[["top", "right"]].set_visible(False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120, metadata={"Software": None})
    write_atomically(path, drawn.getvalue())
