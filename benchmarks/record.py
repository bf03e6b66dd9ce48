"""Writes a benchmark's result with the conditions under which it was measured."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema

__all__ = ["RESULTS", "ROOT", "Column", "machine", "mean_and_spread", "record"]

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SCHEMA = json.loads((ROOT / "benchmarks" / "result.schema.json").read_text())

Column = tuple[str, str, str]
"""A table's column: key in the rows, title, unit ("", bytes, seconds, ratio, count, error)."""


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    information = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [
        line.split(":", 1)[1].strip()
        for line in information.splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average": round(os.getloadavg()[0], 2),
    }


def mean_and_spread(values: Sequence[float]) -> str:
    """The mean, and of several values half the difference between the largest and the smallest."""
    spread = f" ± {(max(values) - min(values)) / 2:.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def _revision() -> str:
    try:
        command = [
            "git",
            "-C",
            str(ROOT),
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def record(
    benchmark: str,
    question: str,
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, Any]],
    *,
    conditions: Mapping[str, Any],
    started: Mapping[str, Any],
    folder: Path = RESULTS,
) -> Path:
    """Write ``results/<benchmark>.json``; ``started`` is `machine()` as it was when the run began.

    Raises:
        jsonschema.ValidationError: the result breaks ``result.schema.json``.
    """
    versions = {
        name: importlib.metadata.version(name)
        for name in ("torch", "executorch", "diffusers", "numpy")
    }
    result = {
        "benchmark": benchmark,
        "question": question,
        "git": _revision(),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": dict(started),
        "versions": versions,
        "conditions": dict(conditions),
        "columns": [{"key": key, "title": title, "unit": unit} for key, title, unit in columns],
        "rows": [dict(row) for row in rows],
    }
    jsonschema.validate(result, SCHEMA)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{benchmark}.json"
    path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    return path
