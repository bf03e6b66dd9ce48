"""The invariants of docs/architecture.md, each as a test."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pockettune", "export", "benchmarks")
FORBIDDEN = {
    "pockettune": {"export", "server", "benchmarks", "tests"},
    "export": {"server", "benchmarks", "tests"},
    "benchmarks": {"tests"},
}
# A file has one reason; longer ones say here why they are still one.
LONG_FILES = {
    "pockettune/errors.py": "one class for each error code",
    "sdk/engine/src/engine.cpp": "the whole C ABI and nothing else",
}


def tracked(*patterns: str) -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    paths = (ROOT / name for name in output.decode().split("\0") if name)
    return [path for path in paths if path.exists()]


def imported_packages(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_point_one_way(package: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / package).rglob("*.py")
        for name in imported_packages(path)
        if name in FORBIDDEN[package]
    }
    assert not wrong


def test_files_have_one_reason() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked(
            "pockettune/*.py", "export/*.py", "benchmarks/*.py", "sdk/*.cpp", "sdk/*.h", "sdk/*.kt"
        )
        if (lines := len(path.read_text().splitlines())) > 300
    }
    assert set(long) == set(LONG_FILES), long


def test_no_method_is_named_outside_its_own_file() -> None:
    """Discovery is by folder listing, without `if method == ...`; a device knows no method."""
    names = [path.stem for path in (ROOT / "pockettune/methods").glob("[a-z]*.py")]
    assert names
    pattern = re.compile("|".join(map(re.escape, names)))
    sources = tracked(
        "pockettune/*.py", "export/*.py", "sdk/*.cpp", "sdk/*.h", "sdk/*.kt", "sdk/*.txt"
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources
        if path.parent.name != "methods"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line) and "DEFAULT_METHOD" not in line
    ]
    assert not found


def test_every_method_has_a_page_and_cites_its_paper() -> None:
    for path in (ROOT / "pockettune/methods").glob("[a-z]*.py"):
        assert (ROOT / "docs/methods" / f"{path.stem}.md").exists(), path.stem
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert re.search(r"arXiv[: ]\d{4}\.\d{4,5}|doi", docstring), path.stem


def test_importing_does_no_work() -> None:
    """No environment writes, no logging set-up, no torch for readers of bundles."""
    code = (
        "import os, sys, logging; before = dict(os.environ)\n"
        "import pockettune, pockettune.bundle, pockettune.errors, pockettune.random, export\n"
        "import pockettune.codecs, pockettune.update\n"
        "assert dict(os.environ) == before; assert not logging.getLogger().handlers\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env={**os.environ})


def test_every_error_code_has_its_class() -> None:
    from pockettune import errors

    declared = {
        (row["code"], row["exit"])
        for row in json.loads((ROOT / "spec/errors.json").read_text())["errors"]
        if row.get("only") != "sdk"  # what Python has no occasion to raise
    }
    classes = {
        (value.code, value.exit_status)
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, errors.PocketTuneError)
        and "code" in vars(value)
    }
    assert {code for code, _ in classes} >= {code for code, _ in declared}
    assert declared <= classes


def test_nothing_of_this_machine_is_committed() -> None:
    pattern = re.compile(
        r"(?<![\w.])/(?:root|home|work|farm)/|extra-index-url|index-url|(?<![\w.])pypi\.org|find-links"
    )
    allowed = {"tests/test_architecture.py"}
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked(
            "*.py",
            "*.md",
            "*.toml",
            "*.txt",
            "*.json",
            "*.h",
            "*.cpp",
            "*.yml",
            "Makefile",
            ".ci/*",
        )
        if str(path.relative_to(ROOT)) not in allowed
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found


def test_no_large_files() -> None:
    large = [str(path) for path in tracked() if path.stat().st_size > 30_000_000]
    assert not large


def test_no_bare_to_do_remains() -> None:
    pattern = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked("*.py", "*.cpp", "*.h")
        if path.name != "test_architecture.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found
