"""Bundles and figures that several benchmarks need, each made in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT
from benchmarks.synthetic import SIZES, write_model
from pockettune.runner import find_runner

__all__ = ["METHOD", "WORK", "Exported", "bench", "eager", "export", "model_folder"]

METHOD = "hollowed_net"
WORK = ROOT / "build" / "benchmarks"


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle's folder, what the exporter said of it, and the export's peak memory in bytes.

    ``cpu_seconds`` is processor time, on a busy machine less than the exporter's ``seconds``.
    """

    folder: Path
    result: dict[str, Any]
    peak_bytes: int
    cpu_seconds: float


def model_folder(name: str) -> str:
    """The model's name for the exporter: "starter", or a folder with random weights."""
    if name not in SIZES:
        return name
    folder = WORK / "models" / name
    if not (folder / "model_index.json").exists():
        write_model(folder, SIZES[name])
    return str(folder)


def export(name: str, model: str, *options: str) -> Exported:
    """Export ``model`` to ``build/benchmarks/<name>``.

    A bundle that several benchmarks need is exported once: it is taken as it is when it was made
    with the same options after the last change of the sources.
    """
    folder = WORK / name
    kept = WORK / f"{name}.export.json"
    asked = {"model": model, "options": list(options)}
    if kept.exists() and folder.exists() and kept.stat().st_mtime > _last_change():
        known = json.loads(kept.read_text())
        if known["asked"] == asked:
            return Exported(folder, known["result"], known["peak_bytes"], known["cpu_seconds"])
    command = [sys.executable, "-m", "export", "--model", model_folder(model), "--out", str(folder)]
    process = subprocess.Popen([*command, "--json", *options], cwd=ROOT, stdout=subprocess.PIPE)
    output = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the export of {name} ended with status {process.returncode}")
    facts = {
        "result": json.loads(output),
        "peak_bytes": usage.ru_maxrss * 1024,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
    }
    kept.write_text(json.dumps({"asked": asked, **facts}))
    return Exported(folder, **facts)


def _last_change() -> float:
    """When a source that an export depends on was last changed, in seconds of the epoch."""
    folders = (ROOT / "pockettune", ROOT / "export")
    return max(path.stat().st_mtime for folder in folders for path in folder.rglob("*.py"))


def bench(folder: Path, program: str, *, repeats: int, threads: int) -> dict[str, Any]:
    """What ``pockettune-run bench`` says of one program."""
    command = [str(find_runner()), "bench", "--bundle", str(folder), "--program", program]
    command += ["--repeats", str(repeats), "--warmup", "1", "--threads", str(threads)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


def eager(
    model: str,
    settings: Mapping[str, Any],
    *,
    repeats: int,
    threads: int,
    inference: bool = False,
) -> dict[str, Any]:
    """Seconds and peak memory of the same program run eagerly (`benchmarks.eager_step`)."""
    command = [sys.executable, "-m", "benchmarks.eager_step", "--model", model_folder(model)]
    command += ["--method", METHOD, "--settings", json.dumps(dict(settings))]
    command += ["--repeats", str(repeats), "--threads", str(threads)]
    command += ["--inference"] if inference else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    output = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures
