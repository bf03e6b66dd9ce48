"""libFuzzer on what reads foreign bytes, guided by coverage: `make fuzz` runs it for longer."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

VECTORS = Path(__file__).parents[2] / "spec/vectors"
RUNS = int(os.environ.get("POCKETTUNE_FUZZ_RUNS", "0"))
# A run of a manifest hashes and parses some kilobytes, one of a tensor header a few hundred bytes.
TARGETS = {
    "manifest": (RUNS or 5_000, ("bundle*/manifest.json", "hostile/bundles/*/manifest.json")),
    "safetensors": (10 * RUNS or 100_000, ("*.safetensors", "hostile/safetensors/*")),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.timeout(3600)
def test_nothing_is_found(fuzzers: Path, tmp_path: Path, target: str) -> None:
    runs, patterns = TARGETS[target]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, path in enumerate(sorted(p for pattern in patterns for p in VECTORS.glob(pattern))):
        if path.is_file():  # hostile bundles may have something else in its place
            (corpus / str(number)).write_bytes(path.read_bytes())
    assert len(list(corpus.iterdir())) > 50
    options = ["-seed=1", f"-runs={runs}", "-max_len=16384", "-timeout=10", "-rss_limit_mb=2048"]
    # What it finds stays, to become a vector.
    found = fuzzers / f"found-{target}-"
    command = [fuzzers / f"fuzz-{target}", *options, f"-artifact_prefix={found}", corpus]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    executed = re.search(r"Done (\d+) runs", done.stderr)
    assert executed, done.stderr[-4000:]
    assert int(executed[1]) >= runs
    print(f"{target}: {executed[1]} runs, nothing found")
