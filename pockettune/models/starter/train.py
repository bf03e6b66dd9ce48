"""`python -m pockettune.models.starter.train`: make the starter model, from pictograms to card."""

import argparse
import shutil
import time
from dataclasses import fields
from pathlib import Path

import torch

from pockettune.models.starter import PATH
from pockettune.models.starter.recipe import STAGES, progress, start_from
from pockettune.models.starter.workspace import Schedule, Workspace

__all__ = ["main"]

EPILOG = """\
Stages whose output is in the workspace are skipped, so an interrupted run goes on where it was; the
long ones (first, all) also keep a checkpoint every 200 steps. Delete an output to make it again.

On Linux set MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 before the command:
the allocator then keeps its pages, and a step takes about a quarter less time.
"""


def main() -> None:
    """Command line."""
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
    add("--threads", type=int, default=1, help="threads of PyTorch (%(default)s)")
    add("--publish", action="store_true", help="replace the embedded model by the result")
    for field in fields(Schedule):
        flag = f"--{field.name.replace('_', '-')}"
        add(flag, type=int, default=field.default, metavar="N", help="%(default)s by default")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    schedule = Schedule(*(getattr(arguments, field.name) for field in fields(Schedule)))
    work = Workspace(arguments.work, schedule)
    work.folder.mkdir(parents=True, exist_ok=True)
    if arguments.start is not None:
        start_from(work, arguments.start, arguments.start_note)
    for stage in STAGES:
        if stage.output(work).exists() or (arguments.only and stage.name not in arguments.only):
            continue
        started = time.monotonic()
        with progress() as bars:
            stage.run(work, bars)
        steps = getattr(schedule, f"{stage.name}_steps", None)
        work.note(stage.name, steps=steps, seconds=round(time.monotonic() - started))
    if arguments.publish:
        publish(work, PATH)


def publish(work: Workspace, target: Path) -> None:
    """Copy the model to `target`, and its evaluation and card beside it."""
    shutil.copytree(work.model, target, dirs_exist_ok=True)
    for path in (work.evaluation, work.evaluation.with_suffix(".png"), work.card):
        shutil.copy(path, target.parent)


if __name__ == "__main__":
    main()
