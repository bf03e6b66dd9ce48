"""Runs a program and watches it with all its children: processor time and memory."""

from __future__ import annotations

import bisect
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Watched", "watch"]

_PERIOD = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")
# Asking for PSS holds up the process that is asked.
_MEMORY_EVERY = 20


@dataclass(frozen=True, slots=True)
class Watched:
    """``started`` in seconds of the epoch; ``peak_bytes`` the highest sum of the processes' PSS,
    looked at once a second; ``times`` and ``processor`` seconds used until then."""

    started: float
    peak_bytes: int
    times: tuple[float, ...]
    processor: tuple[float, ...]

    def processor_seconds(self, start: float, stop: float) -> float:
        """Processor time between two times of the epoch."""
        return self._until(stop) - self._until(start)

    def _until(self, moment: float) -> float:
        after = bisect.bisect_left(self.times, moment)
        if after in (0, len(self.times)):
            return self.processor[min(after, len(self.times) - 1)]
        earlier, later = self.times[after - 1], self.times[after]
        share = (moment - earlier) / (later - earlier)
        return self.processor[after - 1] * (1 - share) + self.processor[after] * share


def watch(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Watched:
    """Run ``command``, its output in ``log``. Raises CalledProcessError when it fails."""
    started = time.time()
    times, used, peak = [started], [0.0], 0
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=output)
        while process.poll() is None:
            time.sleep(_PERIOD)
            tree = _tree(process.pid)
            times.append(time.time())
            # A process that ended takes its time along until its parent has counted it.
            used.append(max(used[-1], sum(tree.values())))
            if len(times) % _MEMORY_EVERY == 0:
                peak = max(peak, sum(_pss(number) for number in tree))
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(command), log.read_bytes())
    return Watched(started, peak, tuple(times), tuple(used))


def _tree(root: int) -> dict[int, float]:
    """The process and its descendants, each with its processor seconds and those of its children
    that have ended."""
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            text = Path("/proc", entry, "stat").read_text()
        except OSError:
            continue
        fields = text.rpartition(")")[2].split()
        parents[int(entry)] = int(fields[1])
        seconds[int(entry)] = sum(int(field) for field in fields[11:15]) / _TICKS
    tree = {root: seconds.get(root, 0.0)}
    waiting = [root]
    while waiting:
        parent = waiting.pop()
        for number in [child for child, above in parents.items() if above == parent]:
            tree[number] = seconds[number]
            waiting.append(number)
    return tree


def _pss(number: int) -> int:
    try:
        lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
