"""``python -m benchmarks.latency``: seconds of a native step beside an eager one.

Same net, same threads, one after the other in one run. Eager gets its best: see `eager_step`.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.bundles import bench, eager, export
from benchmarks.record import machine, record

__all__ = ["main"]

COLUMNS = [
    ("net", "net, program", ""),
    ("bits", "bits", ""),
    ("recompute", "recompute", ""),
    ("native", "native", "seconds"),
    ("eager", "eager fp32", "seconds"),
    ("ratio", "native / eager", "ratio"),
]
# Model, cut, bits, recomputation.
CASES = [
    ("starter", "C", 8, "block"),
    ("starter", "C", 8, "none"),
    ("starter", "C", 32, "block"),
    ("starter", "none", 8, "block"),
    ("large", "C", 8, "block"),
    ("large", "none", 8, "block"),
]


def compare(case: tuple[str, str, int, str], repeats: int, threads: int) -> dict[str, Any]:
    """One row: median seconds of both sides, measured in turns."""
    model, cut, bits, recompute = case
    name = f"{model}-{cut}-{bits}-{recompute}"
    options = ["--cut", cut, "--bits", str(bits), "--recompute", recompute]
    exported = export(name, model, *options)
    native = bench(exported.folder, "train_step", repeats=repeats, threads=threads)
    other = eager(model, {"cut": cut}, repeats=repeats, threads=threads)
    again = bench(exported.folder, "train_step", repeats=repeats, threads=threads)
    seconds = min(native["median_seconds"], again["median_seconds"])
    return {
        "net": f"{model}, cut {cut}",
        "bits": bits,
        "recompute": recompute,
        "native": seconds,
        "eager": other["median_seconds"],
        "ratio": seconds / other["median_seconds"],
        "native_spread": [min(native["seconds"]), max(native["seconds"])],
        "eager_spread": [min(other["seconds"]), max(other["seconds"])],
    }


def main() -> None:
    """Measure every case and write ``results/latency.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", action="append", help="only these models")
    options = parser.parse_args()
    started = machine()
    rows = [
        compare(case, options.repeats, options.threads)
        for case in CASES
        if not options.model or case[0] in options.model
    ]
    path = record(
        "latency",
        "How long is a training step, natively and in eager PyTorch?",
        COLUMNS,
        rows,
        conditions={
            "threads": options.threads,
            "repeats": options.repeats,
            "figure": "median of a run; native: the lower of two runs around the eager one",
        },
        started=started,
    )
    print(path)


if __name__ == "__main__":
    main()
