"""What the native runner takes for the documents that take most for their size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pockettune import strict_json
from pockettune.vectors import golden

_CAP = strict_json.LONGEST
# Of a child of a small process: what Linux counts for one of ours begins at pytest's own size.
_PEAK = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
print(done.stderr.split(":")[1].strip() if done.stderr else "taken")
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""
_NESTED = '{"a":' * 30 + "0" + "}" * 30


def _verified(native: Path, bundle: Path) -> tuple[str, int]:
    """The code with which a bundle is refused, or ``taken``; the peak of the resident size."""
    command = [sys.executable, "-ISc", _PEAK, native / "pockettune-run", "verify"]
    done = subprocess.run(
        [*command, "--bundle", bundle], check=True, capture_output=True, text=True
    )
    code, peak = done.stdout.split()
    return code, int(peak)


def _manifest(members: str) -> bytes:
    """As long as a manifest may be, by spaces."""
    prefix = len(golden.with_rest(b""))
    rest = members.encode() + b" " * (_CAP - prefix - len(members) - 1) + b"}"
    return golden.with_rest(rest)


@pytest.mark.parametrize(
    ("piece", "values"),
    [
        ("1000", 1),
        ('"abcd"', 1),
        ("[0]", 2),
        ('{"abcd":0}', 2),
        ('{"a":0,"b":0}', 3),
        (_NESTED, 31),
    ],
    ids=["numbers", "texts", "lists", "objects", "pairs", "nested"],
)
def test_no_manifest_takes_more_than_twice_its_cap(
    native: Path, tmp_path: Path, piece: str, values: int
) -> None:
    plain = golden.bundles()["bundle"]
    for name, data in plain.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    code, before = _verified(native, tmp_path)
    assert code == "taken"
    # A quarter of a MiB of text is left to the rest; every piece is as often there as it may be.
    count = min(
        (strict_json.MOST_VALUES - 600) // values, 3 * 2**18 // max(1, piece.count('"') * 2)
    )
    members = plain["manifest.json"].partition(b'"signature":"",')[2].decode().rstrip()[:-1]
    text = _manifest(members + ',"unknown":[' + ",".join([piece] * count) + "]")
    assert len(text) == _CAP
    (tmp_path / "manifest.json").write_bytes(text)
    code, peak = _verified(native, tmp_path)
    assert code == "taken"
    print(f"figure: {peak - before} bytes more for {count} times {piece[:20]}")
    assert peak - before <= 2 * _CAP
