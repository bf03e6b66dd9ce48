"""The native runner as a child process (``spec/runner.md``).

Training and generation run in ``pockettune-run``, which has no Python in it. This module finds the
program, starts it, hands on its progress and turns its exit status into our errors.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any

from pockettune.errors import EngineFailed, IoFailed, PocketTuneError, ToolMissing, error_types

__all__ = ["Event", "find_runner", "run"]

# One line of progress: {"event": "step", "step": 3, "of": 300, "loss": 0.4, ...}.
Event = dict[str, Any]

_NAME = "pockettune-run"
_REMEDY = "make native"
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def find_runner() -> Path:
    """The runner that POCKETTUNE_RUN names, else this checkout's, else the one on the PATH.

    Raises ToolMissing.
    """
    named = os.environ.get("POCKETTUNE_RUN")
    built = Path(__file__).parent.parent / "build/native" / _NAME
    candidates = [named] if named else [str(built), _NAME]
    for candidate in candidates:
        found = shutil.which(candidate)
        if found:
            return Path(found).absolute()
    raise ToolMissing(named or _NAME, _REMEDY)


def run(
    command: str,
    options: Mapping[str, object],
    on_event: Callable[[Event], None],
) -> Event:
    """Runs one command of the runner to its end; returns its last event.

    ``options`` become ``--name value``, underscores as dashes; those that are None are left to the
    runner's defaults. A signal to this process (Ctrl-C) goes on to the runner, which finishes its
    step and saves its state; that ends here as Interrupted. Raises the error whose code the runner
    reports, or EngineFailed when it died without a word.
    """
    arguments = [str(find_runner()), command]
    for name, value in options.items():
        if value is not None:
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    with tempfile.TemporaryFile() as errors:
        try:
            # A session of its own: a terminal's Ctrl-C must reach it once, through us.
            process = subprocess.Popen(
                arguments, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        except OSError as error:
            raise IoFailed("start", arguments[0], error.strerror or error) from error
        with process, _signals_forwarded(process):
            try:
                last = _follow(process, on_event)
            finally:
                # Only when on_event raised is it still running: then nobody waits for its result.
                if process.poll() is None and process.stdout and not process.stdout.closed:
                    process.stdout.close()
                    process.terminate()
        if process.returncode:
            errors.seek(0)
            raise _error(command, process.returncode, errors)
    return last


def _follow(process: subprocess.Popen[bytes], on_event: Callable[[Event], None]) -> Event:
    """Hands on every event until the runner closes its output, and waits for its end."""
    last: Event = {}
    if process.stdout is None:
        return last
    for line in process.stdout:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # The runtime's libraries may print; events are JSON objects.
        if isinstance(event, dict):
            last = event
            on_event(event)
    process.wait()
    return last


@contextmanager
def _signals_forwarded(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """While it lasts, signals to stop go to the child instead of ending this process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread alone.
        return

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        process.send_signal(signal.SIGINT if number == signal.SIGHUP else number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _error(command: str, status: int, errors: IO[bytes]) -> PocketTuneError:
    """The error for a runner's exit: from its own line ``pockettune-run: <code>: <sentence>``."""
    lines = errors.read().decode(errors="replace").splitlines()
    types = error_types()
    for line in reversed(lines):
        name, _, rest = line.partition(": ")
        code, _, sentence = rest.partition(": ")
        if name == _NAME and code in types and sentence:
            return types[code].from_sentence(sentence)
    if status < 0:
        reason = f"{_NAME} was ended by {signal.Signals(-status).name}"
        if -status == signal.SIGKILL:
            reason += ", probably for want of memory"
    else:
        reason = f"{_NAME} ended with status {status}" + (f" ({lines[-1]})" if lines else "")
    return EngineFailed(command, reason)
