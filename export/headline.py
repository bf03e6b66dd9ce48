"""The head of an export's report: one sentence, and the figures that people look for first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from export.sizes import size
from pockettune.method import TRAINED_ROLES

if TYPE_CHECKING:
    from export.report import ReportData

__all__ = ["lead", "tiles"]


def lead(data: ReportData) -> str:
    """What this bundle is."""
    training = data.manifest["training"]["program"]
    arena = data.manifest["budget"]["programs"][training]["arena_bytes"]
    mapped = all(lowered.engine == "executorch" for lowered in data.lowered)
    return (
        f"A bundle for {data.manifest['task'].replace('_', ' ')} that a device can train by itself."
        f" One training step works in {size(arena)} beside its weights"
        + (", which stay in the file and are mapped." if mapped else ".")
    )


def tiles(data: ReportData) -> Iterable[tuple[str, str]]:
    """Each figure with its words."""
    manifest = data.manifest
    training = manifest["training"]["program"]
    parity = manifest["parity"][training]
    yield size(data.bundle_bytes), "bundle, all files"
    arena = manifest["budget"]["programs"][training]["arena_bytes"]
    yield size(arena), "working memory of a training step"
    trained = (t for t in manifest["tensors"].values() if t["role"] in TRAINED_ROLES)
    yield f"{sum(sum(tensor['shape']) for tensor in trained):,}", "trained numbers"
    for lowered in data.lowered:
        programs = lowered.programs.values()
        nodes = sum(program.nodes for program in programs)
        if lowered.engine == "executorch":
            portable = sum(item.count for program in programs for item in program.portable)
            yield f"{portable:,}", f"of {nodes:,} operators outside the fast kernels"
        else:
            yield f"{nodes:,}", f"operators for {lowered.engine}"
    if "max_relative_error" in parity:
        # Without a moment or accumulator no output shows the gradient itself.
        kind = "gradient error" if parity.get("gradients") else "error of a result"
        yield f"{parity['max_relative_error']:.1e}", f"largest {kind} against PyTorch"
    yield f"{sum(data.seconds.values()):.0f} s", "to export"
