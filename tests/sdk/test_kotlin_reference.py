"""The pages of the Kotlin API, by Dokka."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    shutil.which("mvn") is None or shutil.which("npm") is None, reason="needs Maven and npm"
)
def test_the_reference_is_whole(tmp_path: Path) -> None:
    """No link leads nowhere, every declaration that people wrote has a sentence."""
    command = [str(ROOT / "sdk/kotlin/tools/docs.sh"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-20_000:]
    pages = {
        "core": "pockettune-core/org.pockettune/-trainer/index.html",
        "engine-executorch": "pockettune-engine-executorch/org.pockettune.executorch",
        "android": "pockettune-android/org.pockettune.android/-training-job-service/index.html",
    }
    for module, page in pages.items():
        assert (tmp_path / module / page).exists(), module
