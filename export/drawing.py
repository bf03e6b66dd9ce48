"""Drawings of the report: SVG to stand inline in a page, whose CSS colors it by class."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["draw_errors", "draw_net"]

WIDTH = 1040
LEVEL_HEIGHT, TALLEST, SHORTEST = 92, 76, 10
DECADES = (-10, 0)


def draw_net(units: Sequence[Mapping[str, Any]]) -> str:
    """A U-Net as blocks in the order in which they run; deeper levels stand lower.

    Each unit has ``name``, ``level`` (0 = full resolution), ``parameters``, ``kept`` (or hollow),
    ``trained`` (has adapters) and ``skip_from`` (the name of the unit whose output it takes, or
    None). A block's area grows with its parameters. Skips between kept units are drawn.
    """
    if not units:
        return ""
    pitch = WIDTH / len(units)
    breadth = pitch * 0.72
    largest = max(unit["parameters"] for unit in units) or 1
    height = (max(unit["level"] for unit in units) + 1) * LEVEL_HEIGHT
    middle = {
        unit["name"]: ((index + 0.5) * pitch, (unit["level"] + 0.5) * LEVEL_HEIGHT)
        for index, unit in enumerate(units)
    }
    skips = [
        _skip(middle[unit["skip_from"]], middle[unit["name"]], kept=unit["kept"])
        for unit in units
        if unit.get("skip_from") in middle
    ]
    blocks = []
    for unit in units:
        x, y = middle[unit["name"]]
        tall = SHORTEST + (TALLEST - SHORTEST) * math.sqrt(unit["parameters"] / largest)
        kind = "hollow" if not unit["kept"] else "trained" if unit["trained"] else "frozen"
        blocks.append(
            f'<rect class="{kind}" x="{x - breadth / 2:.1f}" y="{y - tall / 2:.1f}"'
            f' width="{breadth:.1f}" height="{tall:.1f}" rx="3">'
            f"<title>{html.escape(unit['name'])}: {unit['parameters']:,} parameters, {kind}</title>"
            "</rect>"
        )
    return (
        f'<svg class="net" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="The U-Net; removed blocks are grey">{"".join(skips)}{"".join(blocks)}</svg>'
    )


def _skip(start: tuple[float, float], end: tuple[float, float], *, kept: bool) -> str:
    """An arc over the blocks between two units of about the same level."""
    (x1, y1), (x2, y2) = start, end
    lift = 10 + 0.045 * (x2 - x1)
    kind = "skip" if kept else "skip cut"
    return (
        f'<path class="{kind}" d="M{x1:.1f} {y1:.1f} C{x1:.1f} {y1 - lift:.1f}'
        f' {x2:.1f} {y2 - lift:.1f} {x2:.1f} {y2:.1f}"/>'
    )


def draw_errors(rows: Sequence[tuple[str, float, float]]) -> str:
    """Measured errors as dots on a logarithmic scale, each with its tolerance as a bar's end.

    A row is (label, measured, tolerance); a measured 0 stands at the left edge.
    """
    left, right, step, top = 250, 110, 30, 26
    height = top + step * len(rows) + 8
    low, high = DECADES

    def place(value: float) -> float:
        decade = min(max(math.log10(value) if value > 0 else low, low), high)
        return left + (decade - low) / (high - low) * (WIDTH - left - right)

    grid = "".join(
        f'<line class="grid" x1="{place(10.0**d):.1f}" x2="{place(10.0**d):.1f}" y1="{top - 6}"'
        f' y2="{height - 8}"/><text class="tick" x="{place(10.0**d):.1f}" y="{top - 12}">'
        f"{'1' if d == 0 else f'1e{d}'}</text>"
        for d in range(low, high + 1, 2)
    )
    marks = []
    for index, (label, measured, tolerance) in enumerate(rows):
        y = top + step * (index + 0.5)
        marks.append(
            f'<text class="label" x="{left - 14}" y="{y + 4:.1f}">{html.escape(label)}</text>'
            f'<line class="room" x1="{left}" x2="{place(tolerance):.1f}" y1="{y}" y2="{y}"/>'
            f'<line class="limit" x1="{place(tolerance):.1f}" x2="{place(tolerance):.1f}"'
            f' y1="{y - 8}" y2="{y + 8}"/>'
            f'<circle class="dot" cx="{place(measured):.1f}" cy="{y}" r="5"/>'
            f'<text class="value" x="{WIDTH - right + 14}" y="{y + 4:.1f}">{measured:.1e}</text>'
        )
    return (
        f'<svg class="errors" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="Measured errors and their tolerances">{grid}{"".join(marks)}</svg>'
    )
