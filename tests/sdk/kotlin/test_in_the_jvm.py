"""Runs the Kotlin tests that need an engine, a bundle and a person's data."""

from __future__ import annotations

import subprocess
from pathlib import Path


def test_trainer_personalizer_and_session(
    class_path: str, natives: Path, prepared: Path, toy: Path, tmp_path: Path
) -> None:
    classes = Path(__file__).parents[3] / "sdk/kotlin/desktop/target/test-classes"
    launcher = "org.junit.platform.console.ConsoleLauncher"
    properties = [f"-Dpockettune.prepared={prepared}", f"-Dpockettune.natives={natives}"]
    properties.append(f"-Dpockettune.toy={toy}")
    properties.append(f"-Djava.io.tmpdir={tmp_path}")
    words = ["execute", "--disable-banner", "--details=tree", "--disable-ansi-colors"]
    command = ["java", *properties, "-cp", f"{classes}:{class_path}", launcher, *words]
    done = subprocess.run(
        [*command, "--scan-class-path", str(classes)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "0 tests failed" in done.stdout
    assert "[         0 tests successful" not in done.stdout
