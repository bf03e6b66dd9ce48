"""What a person sees while the runner works: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from pockettune.runner import Event

__all__ = ["progress"]

_LINES = 10
_WINDOW = 20  # losses jump with the timestep; a mean of as many is what result.json reports


@contextmanager
def progress(console: Console) -> Iterator[Callable[[Event], None]]:
    """A function to hand the runner's events to."""
    describe = _Describer()
    if not console.is_terminal:
        yield lambda event: _print_line(console, event, describe)
        return
    columns = (
        TextColumn("{task.description}", justify="left"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(event: Event) -> None:
            name, done, total, note = describe(event)
            if not total:
                if name:
                    bars.console.print(name)
                return
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total, note="")
            bars.update(tasks[name], completed=done, note=note)

        yield show


class _Describer:
    """An event as name, done, total and note; total 0 for what is only said."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=_WINDOW)

    def __call__(self, event: Event) -> tuple[str, int, int, str]:
        match event.get("event"):
            case "prepare":
                return f"prepare: {event['program']}", event["done"], event["of"], ""
            case "step":
                self._losses.append(event["loss"])
                mean = sum(self._losses) / len(self._losses)
                note = f"loss {mean:.4f}, {event['seconds']:.2f} s a step"
                return "train", event["step"], event["of"], note
            case "denoise":
                return f"picture {event['picture'] + 1}", event["step"], event["of"], ""
            case "resume":
                return f"going on from step {event['step']}", 0, 0, ""
            case _:
                return "", 0, 0, ""


def _print_line(console: Console, event: Event, describe: _Describer) -> None:
    name, done, total, note = describe(event)
    if not total:
        if name:
            console.print(name)
        return
    often = total // _LINES if event["event"] == "step" else total
    if done == total or (done and done % max(1, often) == 0):
        line = f"{name} {done}/{total}" + (f", {note}" if note else "")
        console.print(line, highlight=False, soft_wrap=True)
