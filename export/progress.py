"""What an export shows while it works: a bar for each step on a terminal, plain lines elsewhere.

Everything goes to standard error, so that standard output holds the result and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

__all__ = ["Advance", "StepClock"]


Advance: TypeAlias = Callable[[str, int, int], None]
"""Tells how far a step is: what it works on, how many are done, of how many."""


@dataclass(slots=True)
class StepClock:
    """Runs named steps one after another, shows them, and keeps the ``seconds`` of each."""

    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[Advance]:
        """Show the step ``name`` while the block runs; its time counts only when it succeeds."""
        started = time.perf_counter()
        shown = self._bar(name) if self.console.is_terminal else self._lines(name)
        with shown as advance:
            yield advance
            self.seconds[name] = time.perf_counter() - started

    @contextmanager
    def _bar(self, name: str) -> Iterator[Advance]:
        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.fields[name]:<8}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.description}[/]"),
        )
        with Progress(*columns, console=self.console) as progress:
            task: TaskID = progress.add_task("", total=None, name=name)

            def advance(note: str, done: int, total: int) -> None:
                progress.update(task, description=note, completed=done, total=total)

            yield advance
            total = progress.tasks[0].total or 1
            progress.update(task, description="", completed=total, total=total)

    @contextmanager
    def _lines(self, name: str) -> Iterator[Advance]:
        started, last = time.perf_counter(), ""
        self.console.print(f"{name} ...")

        def advance(note: str, _done: int, _total: int) -> None:
            # A step may report every chunk of a long program; a log wants one line for each note.
            nonlocal last
            if note and note != last:
                self.console.print(f"{name}: {note}")
                last = note

        yield advance
        self.console.print(f"{name} done in {time.perf_counter() - started:.1f} s")
