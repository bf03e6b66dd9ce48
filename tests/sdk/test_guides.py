"""The guides' code is the code that the SDKs' tests compile."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_guides_show_what_is_compiled() -> None:
    command = [sys.executable, str(ROOT / "docs/guides/insert.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_all_code_of_the_guides_comes_from_a_source() -> None:
    articles = (ROOT / "sdk/swift/Sources/PocketTune/PocketTune.docc").glob("*.md")
    for path in [*(ROOT / "docs/guides").glob("*.md"), *articles]:
        text = path.read_text()
        blocks = len(re.findall(r"^```(?:kotlin|swift)$", text, re.MULTILINE))
        assert blocks == text.count("<!-- code: "), path.name


def test_personalizing_takes_twenty_lines() -> None:
    text = (ROOT / "docs/guides/personalize.md").read_text()
    bodies = re.findall(r"^```(?:kotlin|swift)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(bodies) == 2
    for body in bodies:
        lines = [line.strip() for line in body.splitlines()]
        # All of the function, its head too; the sentence before it is no code.
        code = [line for line in lines if line and not line.startswith(("//", "/*"))]
        assert len(code) <= 20, len(code)
