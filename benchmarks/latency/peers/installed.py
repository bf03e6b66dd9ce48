"""``installed.py ROOT ...``: what some packages need, themselves included, in this environment.

A root is a requirement such as ``ray`` or ``pfl[pytorch]``. Prints the number of packages and the
bytes of their files as JSON.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["closure"]


def closure(roots: list[str]) -> dict[str, int]:
    """The packages that the roots need, and the bytes of their files."""
    sizes: dict[str, int] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(root), "") for root in roots]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        found = distribution(name)
        if name not in sizes:
            paths = (Path(str(path.locate())) for path in found.files or ())
            sizes[name] = sum(path.stat().st_size for path in paths if path.is_file())
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                waiting += [(Requirement(line), wanted) for line in found.requires or ()]
    return sizes


if __name__ == "__main__":
    found = closure(sys.argv[1:])
    print(json.dumps({"packages": len(found), "bytes": sum(found.values())}))
