"""``python sdk/swift/tools/api.py SYMBOLS.json...``: what the Swift modules offer.

Reads symbol graphs (``swift symbolgraph-extract``) and prints the public declarations, sorted, each
on a line with the name it belongs to: what changes for apps shows as a change of this text.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def declaration(symbol: dict[str, Any]) -> str:
    path = ".".join(symbol["pathComponents"][:-1])
    fragments = "".join(part["spelling"] for part in symbol["declarationFragments"])
    return f"{path}: {' '.join(fragments.split())}" if path else " ".join(fragments.split())


def main(files: list[str]) -> None:
    graphs = [json.loads(Path(name).read_text()) for name in files]
    print(
        "\n".join(sorted({declaration(symbol) for graph in graphs for symbol in graph["symbols"]}))
    )


if __name__ == "__main__":
    main(sys.argv[1:])
