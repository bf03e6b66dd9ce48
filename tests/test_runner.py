"""The runner as a child process: events, errors, signals.

A shell script stands where the real program would, to make it end in ways that the real one does
not on demand; tests/e2e runs the real one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pockettune.errors import EngineFailed, Interrupted, IoFailed, StateMismatch, ToolMissing
from pockettune.runner import Event, find_runner, run


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "pockettune-run"
    monkeypatch.setenv("POCKETTUNE_RUN", str(path))
    return path


def write(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def ignore(event: Event) -> None:
    del event


def test_events_come_in_order_and_options_as_flags(script: Path) -> None:
    write(script, 'echo \'{"event": "step", "step": 1}\'; echo noise; echo "{\\"all\\": \\"$*\\"}"')
    events: list[Event] = []
    options = {"learning_rate": 0.001, "steps": None, "out": Path("a b")}
    last = run("personalize", options, events.append)
    assert events == [
        {"event": "step", "step": 1},
        {"all": "personalize --learning-rate 0.001 --out a b"},
    ]
    assert last == events[-1]


def test_its_error_line_becomes_our_error(script: Path) -> None:
    write(script, "echo warming up >&2; echo 'pockettune-run: state_mismatch: A: b.' >&2; exit 22")
    with pytest.raises(StateMismatch, match=r"^A: b\.$"):
        run("personalize", {}, ignore)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo 'pockettune-run: nonsense: x' >&2; exit 9", "ended with status 9 .*nonsense"),
        ("exit 7", "ended with status 7;"),
        ("kill -SEGV $$", "ended by SIGSEGV"),
        ("kill -KILL $$", "ended by SIGKILL, probably for want of memory"),
    ],
)
def test_a_death_without_a_word_is_still_an_error(script: Path, body: str, reason: str) -> None:
    write(script, body)
    with pytest.raises(EngineFailed, match=reason):
        run("generate", {}, ignore)


def test_much_on_standard_error_does_not_block(script: Path) -> None:
    write(script, "head -c 300000 /dev/zero | tr '\\0' x >&2; echo '{\"event\": \"done\"}'")
    assert run("generate", {}, ignore) == {"event": "done"}


def test_a_signal_goes_on_to_the_runner(script: Path) -> None:
    write(
        script,
        "trap 'echo \"pockettune-run: interrupted: Stopped.\" >&2; exit 5' INT\n"
        'echo \'{"event": "step"}\'\nwhile :; do sleep 0.05; done',
    )

    def interrupt(event: Event) -> None:
        del event
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        run("personalize", {}, interrupt)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_runner_does_not_outlive_a_failure_of_ours(script: Path, tmp_path: Path) -> None:
    write(script, f"echo $$ > {tmp_path}/pid; echo '{{}}'; exec sleep 60")

    def fail(event: Event) -> None:
        raise ZeroDivisionError

    start = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        run("personalize", {}, fail)
    assert time.monotonic() - start < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_missing_runner_names_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCKETTUNE_RUN", str(tmp_path / "none"))
    with pytest.raises(ToolMissing, match="make native"):
        find_runner()


def test_a_runner_for_another_machine(script: Path) -> None:
    script.write_bytes(b"\x7fELF nonsense")
    script.chmod(0o755)
    with pytest.raises(IoFailed, match="Exec format error"):
        run("generate", {}, ignore)


def test_the_path_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POCKETTUNE_RUN", raising=False)
    write(tmp_path / "pockettune-run", "exit 0")
    code = (
        "import pockettune.runner as r, pathlib; r.__file__ = '/x/y/z.py'; print(r.find_runner())"
    )
    output = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    ).stdout
    assert output.strip() == str(tmp_path / "pockettune-run")
