"""``python -m benchmarks.eager_step``: one training step in eager PyTorch, alone in a process.

The opponent gets its best: diffusers' own modules, fused attention, no recomputation, fp32.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import statistics
import warnings
from typing import Any

import torch

from benchmarks.eager import step_seconds
from pockettune.method import config_from_json, get
from pockettune.models.pipeline import load_pipeline


def main() -> None:
    """Print seconds and peak memory as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--settings", type=json.loads, default={}, help="of the method, as JSON")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--inference", action="store_true", help="time denoise, not train_step")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(options.threads)
    method = get(options.method)
    if method.export is None:
        raise SystemExit(f"{options.method} has no export stage")
    config: Any = config_from_json(method.config, {**options.settings, "recompute": "none"})
    parts = method.export(load_pipeline(options.model), config)
    name = "denoise" if options.inference else "train_step"
    program = next(program for program in parts.programs if program.name == name)
    seconds = step_seconds(program, options.repeats)
    print(
        json.dumps(
            {
                "median_seconds": statistics.median(seconds),
                "seconds": seconds,
                "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "threads": options.threads,
            }
        )
    )


if __name__ == "__main__":
    main()
