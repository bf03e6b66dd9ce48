"""``python -m benchmarks.memory``: peak memory of training and of drawing, natively and eagerly.

Each figure is of a process of its own. Native peaks are PSS, sampled from ``smaps_rollup``: mapped
weights count, and count once. Eager peaks are the process' highest resident set.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.bundles import bench, eager, export
from benchmarks.record import machine, record

__all__ = ["main"]

COLUMNS = [
    ("what", "what runs", ""),
    ("arena", "arena", "bytes"),
    ("anonymous", "anonymous", "bytes"),
    ("peak", "native peak (PSS)", "bytes"),
    ("eager", "eager peak (RSS)", "bytes"),
    ("file", "program file", "bytes"),
]


def rows_of(model: str, cut: str, repeats: int) -> list[dict[str, Any]]:
    """Hollow training, full LoRA training and one drawing step of ``model``."""
    hollow, full = (
        export(
            f"{model}-{asked}-8-block", model, "--cut", asked, "--bits", "8", "--recompute", "block"
        )
        for asked in (cut, "none")
    )
    cases = [
        (f"{model}: hollow training, cut {cut}", hollow, "train_step", cut, False),
        (f"{model}: full LoRA training", full, "train_step", "none", False),
        (f"{model}: drawing with the full net", full, "denoise", "none", True),
    ]
    rows = []
    for what, exported, program, eager_cut, inference in cases:
        native = bench(exported.folder, program, repeats=repeats, threads=1)
        other = eager(model, {"cut": eager_cut}, repeats=1, threads=1, inference=inference)
        rows.append(
            {
                "what": what,
                "arena": native["arena_bytes"],
                "anonymous": native["rss_anon_bytes"],
                "peak": native["peak_pss_bytes"],
                "eager": other["peak_rss_bytes"],
                "file": exported.result["program_file_bytes"],
            }
        )
    return rows


def main() -> None:
    """Measure the asked models and write ``results/memory.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", help="default: starter and large")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    started = machine()
    models = options.model or ["starter", "large"]
    rows = [row for model in models for row in rows_of(model, "C", options.repeats)]
    path = record(
        "memory",
        "How much memory does training take at its peak, beside drawing?",
        COLUMNS,
        rows,
        conditions={"threads": 1, "bits": 8, "batch": 1, "eager": "fp32, its own best attention"},
        started=started,
    )
    print(path)


if __name__ == "__main__":
    main()
