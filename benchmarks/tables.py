"""``python -m benchmarks.tables``: regenerates the tables in docs from ``benchmarks/results``.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end table -->``; what is between them
is replaced.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, ROOT

__all__ = ["main", "render", "update"]

BLOCK = re.compile(r"(<!-- table: ([a-z0-9_]+) -->\n).*?(<!-- end table -->)", re.DOTALL)
DOCUMENTS = ("README.md", "docs/benchmarks.md", "docs/methods/*.md")


def _cell(value: Any, unit: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, str) or unit == "":
        return str(value)
    match unit:
        case "bytes":
            return f"{value / 1e6:,.1f} MB"
        case "seconds":
            return f"{value:,.4f} s" if value < 0.1 else f"{value:,.2f} s"
        case "ratio":
            return f"{value:.2f}"
        case "error":
            return f"{value:.1e}"
        case _:
            return f"{value:,}"


def render(result: dict[str, Any]) -> str:
    """One result as a Markdown table, with its conditions in a line below."""
    columns = result["columns"]
    lines = [
        "| " + " | ".join(column["title"] for column in columns) + " |",
        "|" + "---|" * len(columns),
    ]
    lines += [
        "| "
        + " | ".join(_cell(row.get(column["key"]), column.get("unit", "")) for column in columns)
        + " |"
        for row in result["rows"]
    ]
    conditions = ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in result["conditions"].items()
    )
    machine, versions = result["machine"], result["versions"]
    lines.append(
        f"\n*{result['question']} {result['date']}, {machine['processor']}, "
        f"{machine['cores']} cores shared with other work "
        f"(load {machine['load_average']}); {conditions}. Torch {versions['torch']}, "
        f"ExecuTorch {versions['executorch']}.*"
    )
    return "\n".join(lines) + "\n"


def update(text: str, results: Path = RESULTS) -> str:
    """``text`` with each table regenerated; a table without a result says so."""

    def replace(match: re.Match[str]) -> str:
        path = results / f"{match[2]}.json"
        body = render(json.loads(path.read_text())) if path.exists() else "*Not measured yet.*\n"
        return match[1] + body + match[3]

    return BLOCK.sub(replace, text)


def main(arguments: list[str] | None = None) -> int:
    """Rewrite the documents, or with ``--check`` fail when one would change."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tables", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 when a table is stale"
    )
    options = parser.parse_args(arguments)
    stale = []
    for path in (path for pattern in DOCUMENTS for path in sorted(ROOT.glob(pattern))):
        before = path.read_text()
        after = update(before)
        if after != before:
            stale.append(str(path.relative_to(ROOT)))
            if not options.check:
                path.write_text(after)
    if stale:
        print(("stale: " if options.check else "updated: ") + ", ".join(stale))
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
