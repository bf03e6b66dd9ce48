"""``--measure``: what the native runner needs for each program on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.progress import Advance
from pockettune.runner import run

__all__ = ["FIGURES", "measure"]

FIGURES = (
    "median_seconds",
    "load_seconds",
    "rss_anon_bytes",
    "peak_pss_bytes",
    "peak_rss_bytes",
    "threads",
)
"""The figures of ``pockettune-run bench`` that a bundle keeps."""


def measure(bundle: Path, programs: Sequence[str], advance: Advance) -> dict[str, dict[str, Any]]:
    """The figures of each program, each run in a process of its own.

    Raises ``ToolMissing`` when the native runner is not built.
    """
    measured: dict[str, dict[str, Any]] = {}
    for index, program in enumerate(programs):
        advance(program, index, len(programs))
        figures: Mapping[str, Any] = run(
            "bench", {"bundle": bundle, "program": program}, lambda _event: None
        )
        measured[program] = {name: figures[name] for name in FIGURES}
    return measured
