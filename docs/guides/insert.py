"""``python docs/guides/insert.py``: put the guides' code, which is compiled, into the guides.

Guides are the pages beside this file and the articles of the Swift reference. One names a place of
a source file, ``<!-- code: FILE NAME -->``; the fenced block after it becomes what stands between
``// guide: NAME`` and ``// end guide`` there. ``--check`` compares.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"(<!-- code: (\S+) (\S+) -->\n)```\w*\n.*?```\n", re.DOTALL)
_LANGUAGES = {".kt": "kotlin", ".swift": "swift"}


def guides() -> list[Path]:
    """Every page with code."""
    articles = ROOT / "sdk/swift/Sources/PocketTune/PocketTune.docc"
    return sorted([*(ROOT / "docs/guides").glob("*.md"), *articles.glob("*.md")])


def region(file: str, name: str) -> str:
    """The code of that name. Raises ``SystemExit`` when the file has none."""
    text = (ROOT / file).read_text()
    found = re.search(
        rf"^// guide: {name}\n+(.*?)\n*^// end guide$", text, re.DOTALL | re.MULTILINE
    )
    if found is None:
        sys.exit(f"{file} has no `// guide: {name}` with an `// end guide`")
    return found[1].rstrip("\n") + "\n"


def filled(text: str) -> str:
    """A guide with all of its code as it is now."""

    def block(found: re.Match[str]) -> str:
        language = _LANGUAGES[Path(found[2]).suffix]
        return f"{found[1]}```{language}\n{region(found[2], found[3])}```\n"

    return _BLOCK.sub(block, text)


def main() -> None:
    """Fill every guide, or say which differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing, exit 1 if one differs"
    )
    check = parser.parse_args().check
    stale = []
    for path in guides():
        text = path.read_text()
        if filled(text) != text:
            stale.append(path.name)
            if not check:
                path.write_text(filled(text))
    print("differ: " + ", ".join(stale) if stale else "all code is as it is compiled")
    sys.exit(check and bool(stale))


if __name__ == "__main__":
    main()
