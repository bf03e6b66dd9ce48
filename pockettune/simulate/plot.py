"""A simulation as a picture: accuracy by bit-width, loss, and what it cost in bytes."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import Any

from pockettune.errors import ToolMissing
from pockettune.files import write_atomically

__all__ = ["plot", "require_matplotlib"]


def require_matplotlib() -> None:
    """Raises ToolMissing without it: before the work, not after it."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ToolMissing("matplotlib", "pip install 'pockettune[federated]'")


def plot(result: dict[str, Any], path: Path) -> Path:
    """Draw ``result`` (of ``simulate``) as a PNG. Raises ToolMissing without matplotlib."""
    require_matplotlib()
    from matplotlib.figure import Figure

    rounds, settings = result["rounds"], result["simulation"]
    evaluated = [row for row in rounds if "evaluation" in row]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for bits in settings["evaluate_bits"]:
        left.plot(
            [row["round"] + 1 for row in evaluated],
            [100 * row["evaluation"][str(bits)]["accuracy"] for row in evaluated],
            marker=".",
            label=f"{bits} bits",
        )
    left.set(xlabel="round", ylabel="test accuracy, %", ylim=(0, 100))
    left.legend(frameon=False)
    left.grid(alpha=0.3)
    right.plot([row["round"] + 1 for row in rounds], [row["loss"] for row in rounds], color="C0")
    right.set(xlabel="round", ylabel="clients' loss, nats")
    right.grid(alpha=0.3)
    traffic = right.twinx()
    up, total = [], 0.0
    for row in rounds:
        total += row["bytes_up"] / 1e6
        up.append(total)
    traffic.plot([row["round"] + 1 for row in rounds], up, color="C1")
    traffic.set_ylabel("MB up", color="C1")
    skew = ", ".join(
        f"{name.replace('_', ' ')} {value:.2f}" for name, value in result["skew"].items()
    )
    figure.suptitle(
        f"{settings['method']} on {settings['data']}, {settings['model']}:"
        f" {settings['cohort']} of {settings['clients']} clients a round, {settings['partition']}"
        + (f"\n{skew}" if skew else ""),
        fontsize="medium",
    )
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120, metadata={"Software": None})
    write_atomically(path, drawn.getvalue())
    return path
