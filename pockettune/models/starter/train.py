"""`python -m pockettune.models.starter.train`: make the starter model, from pictograms to card."""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch

from pockettune.models.starter import PATH
from pockettune.models.starter.command import count, run
from pockettune.models.starter.recipe import STAGES, progress, start_from
from pockettune.models.starter.workspace import Schedule, Workspace

__all__ = ["main", "publish", "train"]

EPILOG = """\
Stages whose output is in the workspace are skipped, so an interrupted run goes on where it was; the
long ones (first, all) also keep a checkpoint every 200 steps. Delete an output to make it again.

On Linux set MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 before the command:
the allocator then keeps its pages, and a step takes about a quarter less time.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    stages = "\n".join(f"  {stage.name:<12}{stage.purpose}" for stage in STAGES)
    parser = argparse.ArgumentParser(
        prog="python -m pockettune.models.starter.train",
        description=f"Train the starter model. Stages, in order:\n{stages}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    names = [stage.name for stage in STAGES]
    add("--work", type=Path, default=Path("build/starter"), help="workspace folder (%(default)s)")
    add("--only", nargs="+", choices=names, metavar="STAGE", help="run these stages alone")
    add(
        "--start", type=Path, help="pipeline folder to go on from, instead of the stages to `first`"
    )
    add("--start-note", default="", help="where that pipeline comes from, for the model card")
    add("--threads", type=count, default=1, help="threads of PyTorch (%(default)s)")
    add("--publish", action="store_true", help="replace the embedded model by the result")
    for field in fields(Schedule):
        flag = f"--{field.name.replace('_', '-')}"
        add(flag, type=count, default=field.default, metavar="N", help="%(default)s by default")
    options = parser.parse_args(arguments)

    def action() -> None:
        torch.set_num_threads(options.threads)
        schedule = Schedule(*(getattr(options, field.name) for field in fields(Schedule)))
        work = Workspace(options.work, schedule)
        train(work, options.only or names, options.start, options.start_note)
        if options.publish:
            publish(work, PATH)

    return run(action, parser.prog)


def train(work: Workspace, names: Sequence[str], start: Path | None, start_note: str) -> None:
    """Run the named stages whose output is not there yet."""
    work.folder.mkdir(parents=True, exist_ok=True)
    if start is not None:
        start_from(work, start, start_note)
    for stage in STAGES:
        if stage.name not in names or stage.output(work).exists():
            continue
        started = time.monotonic()
        with progress() as bars:
            stage.run(work, bars)
        steps = getattr(work.schedule, f"{stage.name}_steps", None)
        work.note(stage.name, steps=steps, seconds=round(time.monotonic() - started))


def publish(work: Workspace, target: Path) -> None:
    """Copy the model to `target`, and its evaluation and card beside it."""
    shutil.copytree(work.model, target, dirs_exist_ok=True)
    for path in (work.evaluation, work.evaluation.with_suffix(".png"), work.card):
        shutil.copy(path, target.parent)


if __name__ == "__main__":
    sys.exit(main())
