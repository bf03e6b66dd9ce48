"""``python -m benchmarks.export_time``: how an export's time grows with its graph.

Exports nets of growing size (random weights) and plots seconds over nodes:
``docs/images/export_time.png``. Linear time shows as equal seconds a node. The check is not
plotted: its time is that of the steps that it runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks import sd15
from benchmarks.bundles import bench, export
from benchmarks.record import ROOT, machine, record

__all__ = ["main"]

COLUMNS = [
    ("net", "net", ""),
    ("nodes", "nodes, all programs", "count"),
    ("capture", "capture", "seconds"),
    ("lower", "lower", "seconds"),
    ("check", "check", "seconds"),
    ("total", "all steps", "seconds"),
    ("per_node", "capture and lower per 1,000 nodes", "seconds"),
    ("peak", "export's peak memory", "bytes"),
    ("arena", "arena of train_step", "bytes"),
    ("anonymous", "anonymous memory of train_step", "bytes"),
    ("file_ratio", "program file / weights at their bits", "ratio"),
]
SIZES = ("tiny", "starter", "small", "medium", "large", "sd15")


def row_of(model: str) -> dict[str, Any]:
    """Export one model; its times, sizes and the memory of its training step."""
    if model == "sd15":
        exported = export("sd15", model, *sd15.EXPORT)
    else:
        options = ["--cut", "none", "--bits", "8", "--recompute", "block"]
        exported = export(f"{model}-none-8-block", model, *options)
    result, seconds = exported.result, exported.result["seconds"]
    nodes = sum(result["nodes"].values())
    step = bench(exported.folder, "train_step", repeats=1, threads=1)
    return {
        "net": model,
        "nodes": nodes,
        **{name: seconds[name] for name in ("capture", "lower", "check")},
        "total": sum(seconds.values()),
        "per_node": 1000 * (seconds["capture"] + seconds["lower"]) / nodes,
        "peak": exported.peak_bytes,
        "arena": step["arena_bytes"],
        "anonymous": step["rss_anon_bytes"],
        "file_ratio": result["program_file_bytes"] / result["frozen_weight_bytes"],
    }


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Seconds over nodes, with the straight line from nothing to the largest."""
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    rows = sorted(rows, key=lambda row: row["nodes"])
    nodes = [row["nodes"] for row in rows]
    times = {name: [row[name] for row in rows] for name in ("capture", "lower")}
    times["capture and lower"] = [row["capture"] + row["lower"] for row in rows]
    for name, seconds in times.items():
        axes.plot(nodes, seconds, marker="o", label=name)
    last = times["capture and lower"][-1]
    axes.plot([0, nodes[-1]], [0, last], ":", color="gray", label="in proportion")
    axes.set_xlabel("nodes of all programs")
    axes.set_ylabel("seconds")
    # Nets of like depth lie close together whatever their width: their names take turns.
    for index, row in enumerate(rows):
        place = (row["nodes"], row["capture"] + row["lower"])
        above = index % 2 == 0
        axes.annotate(
            row["net"],
            place,
            (0, 8 if above else -8),
            textcoords="offset points",
            ha="right" if above else "left",
            va="bottom" if above else "top",
        )
    axes.legend(loc="lower right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Export all sizes; write ``results/export_time.json`` and the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", action="append", choices=SIZES, help="default: all")
    options = parser.parse_args()
    started = machine()
    rows = [row_of(size) for size in options.size or SIZES]
    plot(rows, ROOT / "docs/images/export_time.png")
    path = record(
        "export_time",
        "Does an export take time in proportion to its graph?",
        COLUMNS,
        rows,
        conditions={"bits": 8, "cut": "none (sd15: C)", "recompute": "block", "threads": 1},
        started=started,
    )
    print(path)


if __name__ == "__main__":
    main()
