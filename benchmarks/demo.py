"""The main job from end to end: export the starter, teach it a subject, look at what it learnt.

``python -m benchmarks.demo --out out/demo`` (``make demo``) exports the starter twice (with the
hollow cut, and without one for comparison), personalizes it natively on a subject that it never
saw, draws six prompts before and after, measures, and writes ``sheet.png``, ``report.html``,
``report.json`` and ``adapter.safetensors``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

from benchmarks.bundles import METHOD, eager
from benchmarks.record import machine
from pockettune.bundle import Bundle, open_bundle
from pockettune.errors import PocketTuneError
from pockettune.files import write_atomically
from pockettune.images import photo_files, read_photo
from pockettune.models.starter import PATH
from pockettune.personalize import Drawing, Subject, Training, generate, personalize
from pockettune.progress import progress
from pockettune.runner import run
from pockettune.sheet import before_and_after

__all__ = ["main"]

# Chosen for the starter by looking at sheets. Its activations are so small that recomputing them
# would cost more memory, in operators, than it saves; every second sample is a class picture, so
# two make one update.
CUT = "C"
SETTINGS = {"rank": "8", "accumulation": "2", "recompute": "none"}
SCHEDULE = "schedule=cosine"
STEPS = 1200
LEARNING_RATE = 3e-3
CLASS_PICTURES = 16
PICTURE_SEED = 3
SUBJECT = Subject("sks", "bear")
PHOTOS = PATH.parent / "subject"
ENDINGS = (
    "",
    " on a white background",
    " on a blue background",
    " on a red background",
    " on a purple background",
    ", flat style",
)
REPEATS = 20
# Two threads on a shared machine wait for one another: eager PyTorch then seems far slower than it
# is. One thread each is the fair comparison.
MEASURING_THREADS = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit status of whatever failed, or 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    try:
        report = demo(options.out, options.steps, options.threads, console)
    except PocketTuneError as error:
        console.print(f"demo: {error}", markup=False)
        return error.exit_status
    except subprocess.CalledProcessError as error:
        return error.returncode  # The command has said why.
    print(summary(report, options.out))
    return 0


def demo(out: Path, steps: int, threads: int, console: Console) -> dict[str, Any]:
    """All of it; returns what ``report.json`` holds."""
    from benchmarks.demo_page import render

    started, conditions = time.perf_counter(), machine()
    out.mkdir(parents=True, exist_ok=True)
    console.rule("export the starter, hollow")
    hollow = export(out / "bundle", CUT, steps)
    console.rule("export the starter, whole (for comparison)")
    full = export(out / "bundle-full", "none", steps)
    bundle = open_bundle(out / "bundle", verify=False)
    console.rule("pictures before")
    # The class without the subject's word comes last: it shows what was forgotten.
    prompts = [*(SUBJECT.prompt + ending for ending in ENDINGS), SUBJECT.class_prompt]
    drawing = Drawing(seed=PICTURE_SEED, threads=threads)
    before, _ = draw(bundle, prompts, out / "before", drawing, console)
    console.rule("personalize")
    trained = train(bundle, out, steps, threads, console)
    console.rule("pictures after")
    adapter = out / "adapter.safetensors"
    after, drew = draw(bundle, prompts, out / "after", drawing, console, adapter)
    image = bundle.manifest["image"]
    photos = [read_photo(path, image["height"], image["width"]) for path in photo_files(PHOTOS)]
    sheet = before_and_after(
        photos, prompts, before, after, title=f"{SUBJECT.prompt}: before and after {steps} steps"
    )
    drawn = io.BytesIO()
    sheet.save(drawn, "png")
    write_atomically(out / "sheet.png", drawn.getvalue())
    console.rule("measure")
    report = {
        "steps": trained["steps"],
        "loss_first": trained["loss_first"],
        "loss_last": trained["loss_last"],
        "losses": trained["losses"],
        **measured(out, hollow, console),
        **exported(hollow, full),
        "similarity": similarity(photos, before[: len(ENDINGS)], after[: len(ENDINGS)]),
        "personalize": {
            name: trained[name]
            for name in ("preparation_seconds", "seconds_per_step", "peak_pss_bytes")
        },
        "generate": {name: drew[name] for name in ("seconds_per_step", "peak_pss_bytes")},
        "settings": settings(hollow, threads),
        "machine": conditions,
        "seconds": round(time.perf_counter() - started, 1),
    }
    write_atomically(out / "report.json", (json.dumps(report, indent=1) + "\n").encode())
    write_atomically(out / "report.html", render(report, drawn.getvalue()).encode())
    return report


def export(folder: Path, cut: str, steps: int) -> dict[str, Any]:
    """Runs the exporter as a person does; returns its JSON result."""
    command = [sys.executable, "-m", "export", "--json", "--out", str(folder), "--method", METHOD]
    command += ["--cut", cut, "--steps", str(steps), "--set", SCHEDULE]
    for name, value in SETTINGS.items():
        command += [f"--{name}", value]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    result: dict[str, Any] = json.loads(output)
    return result


def train(bundle: Bundle, out: Path, steps: int, threads: int, console: Console) -> dict[str, Any]:
    """Personalizes from the start; returns the runner's result."""
    shutil.rmtree(out / "work", ignore_errors=True)  # A finished run would resume at its end.
    training = Training(
        steps=steps,
        samples=steps,
        learning_rate=LEARNING_RATE,
        class_pictures=CLASS_PICTURES,
        threads=threads,
    )
    with progress(console) as on_event:
        personalize(bundle, PHOTOS, SUBJECT, out, training, on_event)
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    return result


def draw(
    bundle: Bundle,
    prompts: Sequence[str],
    folder: Path,
    drawing: Drawing,
    console: Console,
    adapter: Path | None = None,
) -> tuple[list[Path], dict[str, Any]]:
    """Draws the prompts; returns their files and what the runner said in the end."""
    with progress(console) as on_event:
        return generate(bundle, prompts, folder, drawing, on_event, adapter=adapter)


def measured(out: Path, hollow: Mapping[str, Any], console: Console) -> dict[str, Any]:
    """Seconds and memory, each in a process of its own, one after the other."""
    options = {"threads": MEASURING_THREADS, "repeats": REPEATS}
    figures: dict[str, dict[str, Any]] = {}
    for name, folder, program in (
        ("hollow", "bundle", "train_step"),
        ("full_lora", "bundle-full", "train_step"),
        ("inference", "bundle", "denoise"),
    ):
        console.print(f"native: {name}")
        bench = {"bundle": out / folder, "program": program, **options}
        figures[name] = run("bench", bench, lambda _event: None)
    config = dict(hollow["method"]["config"])
    eager_seconds = {}
    for name, cut in (("eager_hollow", CUT), ("eager_full", "none")):
        console.print(f"PyTorch: {name}")
        asked = {**config, "cut": cut}
        opponent = eager("starter", asked, repeats=REPEATS, threads=MEASURING_THREADS)
        eager_seconds[name] = opponent["median_seconds"]
    return {
        "peak_rss_bytes": {name: value["peak_pss_bytes"] for name, value in figures.items()},
        "step_seconds": {
            "native_hollow": figures["hollow"]["median_seconds"],
            "native_full": figures["full_lora"]["median_seconds"],
            **eager_seconds,
        },
        "denoise_seconds": figures["inference"]["median_seconds"],
    }


def exported(hollow: Mapping[str, Any], full: Mapping[str, Any]) -> dict[str, Any]:
    """What the exports said, in the report's words."""
    step = hollow["parity"]["train_step"]
    return {
        "export_seconds": hollow["seconds"],
        "export_seconds_full": full["seconds"],
        "nodes": sum(hollow["nodes"].values()),
        "portable_ops": sum(hollow["portable_operators"].values()),
        "programs": {
            name: {
                "nodes": hollow["nodes"][name],
                "portable_ops": hollow["portable_operators"][name],
                "arena_bytes": hollow["budget"]["programs"][name]["arena_bytes"],
            }
            for name in hollow["nodes"]
        },
        "parity": {
            "max_rel_grad_error": max(step["gradients"].values()),
            "max_loss_diff": max(step["loss_differences"]),
        },
        "bundle_bytes": hollow["bundle_bytes"],
        "frozen_weight_bytes": hollow["frozen_weight_bytes"],
    }


def similarity(
    photos: Sequence[Image.Image], before: Sequence[Path], after: Sequence[Path]
) -> dict[str, float]:
    """EfficientNet-Lite0 similarity of pictures to photos, and of the photos among themselves."""
    from benchmarks.similarity import mean_similarity, own_similarity

    opened = {
        name: [Image.open(path) for path in paths]
        for name, paths in (("before", before), ("after", after))
    }
    return {
        **{name: mean_similarity(drawn, photos) for name, drawn in opened.items()},
        "reference": own_similarity(photos),
    }


def settings(hollow: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """How the demo was run."""
    return {
        "method": METHOD,
        **{
            name: value
            for name, value in hollow["method"]["config"].items()
            if name in ("cut", "schedule", *SETTINGS)
        },
        "learning_rate": LEARNING_RATE,
        "class_pictures": CLASS_PICTURES,
        "prompt": SUBJECT.prompt,
        "threads": threads,
        "measuring_threads": MEASURING_THREADS,
        "repeats": REPEATS,
    }


def summary(report: Mapping[str, Any], out: Path) -> str:
    """A few lines for the terminal."""
    memory, seconds = report["peak_rss_bytes"], report["step_seconds"]
    alike = report["similarity"]
    return "\n".join(
        (
            f"sheet       {out / 'sheet.png'}",
            f"report      {out / 'report.html'}",
            f"loss        {report['loss_first']:.4f} -> {report['loss_last']:.4f}"
            f" in {report['steps']} steps",
            f"similarity  {alike['before']:.3f} -> {alike['after']:.3f}"
            f" (EfficientNet-Lite0; the photos among themselves {alike['reference']:.3f})",
            f"memory      {memory['hollow'] / 2**20:.0f} MiB hollow,"
            f" {memory['full_lora'] / 2**20:.0f} MiB full LoRA,"
            f" {memory['inference'] / 2**20:.0f} MiB to draw",
            f"step        {seconds['native_hollow']:.3f} s native, {seconds['eager_hollow']:.3f} s"
            f" PyTorch (full: {seconds['native_full']:.3f} and {seconds['eager_full']:.3f})",
            f"in all      {report['seconds']:.0f} s",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
