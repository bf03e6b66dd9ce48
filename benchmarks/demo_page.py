"""The demo's report: one page of HTML that needs nothing but itself, in the exporter's style."""

from __future__ import annotations

import base64
import string
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from export.markup import bars, section, table, text
from export.sizes import size

__all__ = ["draw_losses", "render"]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 1040, 300, 56, 28, 12
_WINDOW = 20
_STEPS = ("prepare", "capture", "lower", "check", "pack")
_JUDGED = (
    "Judged by eye, with the weights in this repository: color, sitting posture, light belly and"
    " feet are the teddy's, on backgrounds that no photo had; the face is not, fine detail is"
    " smeared, and the red background swallows some of it. A bear without the new word is still the"
    " old bear."
)
_MEMORY = {
    "hollow": "train, hollow",
    "full_lora": "train, full LoRA",
    "inference": "draw (one denoising step)",
}
_SECONDS = {
    "native_hollow": "native, hollow",
    "eager_hollow": "PyTorch, hollow",
    "native_full": "native, full LoRA",
    "eager_full": "PyTorch, full LoRA",
}


def render(report: Mapping[str, Any], sheet: bytes) -> str:
    """The page for what ``report.json`` holds and the sheet, a PNG."""
    chosen, alike = report["settings"], report["similarity"]
    template = string.Template(files("export").joinpath("report.html").read_text("utf-8"))
    lead = (
        f"The starter model learnt {chosen['prompt']!r} from a few pictures of a subject that was"
        f" never in its training data: {report['steps']} steps in the native runner, without"
        " Python in the process."
    )
    conditions = report["machine"]
    footer = (
        f"<p>{text(conditions['processor'])}, {conditions['cores']} cores, {chosen['threads']}"
        f" threads, load {conditions['load_average']} when it began; the demo took"
        f" {report['seconds']:.0f} s in all.</p>"
    )
    return template.substitute(
        title="One subject, learnt from a few pictures",
        lead=text(lead),
        tiles="".join(
            f"<div class=tile><b>{b}</b><span>{s}</span></div>" for b, s in _tiles(report)
        ),
        sections="\n".join(
            (
                section(
                    "Before and after",
                    "The same prompts and the same first noise, without and with the adapter."
                    " EfficientNet-Lite0 similarity to the photos (not CLIP-I or DINO):"
                    f" {alike['before']:.3f} before, {alike['after']:.3f} after; the photos among"
                    f" themselves {alike['reference']:.3f}. {_JUDGED}",
                    _picture(sheet),
                ),
                section(
                    "Loss",
                    f"Each step sees another noise and timestep, so single losses jump; the line is"
                    f" the mean of {_WINDOW} steps.",
                    draw_losses(report["losses"]),
                ),
                _memory(report),
                _time(report),
                _facts(report),
            )
        ),
        footer=footer,
    )


def _tiles(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    memory, seconds, alike = (
        report[name] for name in ("peak_rss_bytes", "step_seconds", "similarity")
    )
    return [
        (f"{alike['before']:.2f} → {alike['after']:.2f}", "EfficientNet-Lite0 similarity"),
        (size(memory["hollow"]), "peak memory of a training step"),
        (f"{memory['hollow'] / memory['full_lora']:.0%}", "of full LoRA's peak"),
        (
            f"{1000 * seconds['native_hollow']:.0f} ms",
            f"a step; PyTorch {1000 * seconds['eager_hollow']:.0f} ms",
        ),
        (size(report["bundle_bytes"]), "bundle, everything in it"),
        (f"{sum(report['export_seconds'].values()):.0f} s", "to export it"),
    ]


def draw_losses(losses: Sequence[float]) -> str:
    """Losses by step as dots, and their running mean as a line: inline SVG."""
    if not losses:
        return ""
    top = sorted(losses)[int(0.99 * (len(losses) - 1))] * 1.1 or 1.0
    across = (_WIDTH - _LEFT - 8) / max(1, len(losses) - 1)

    def place(step: float, loss: float) -> tuple[float, float]:
        height = _HEIGHT - _BOTTOM - _TOP
        return _LEFT + step * across, _TOP + height * (1 - min(loss / top, 1.0))

    dots = "".join(
        '<circle cx="{:.1f}" cy="{:.1f}" r="1.6"/>'.format(*place(step, loss))
        for step, loss in enumerate(losses)
    )
    means = [sum(losses[end - _WINDOW : end]) / _WINDOW for end in range(_WINDOW, len(losses) + 1)]
    line = " ".join(
        "{:.1f},{:.1f}".format(*place(step + (_WINDOW - 1) / 2, mean))
        for step, mean in enumerate(means)
    )
    grid = ""
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        _, y = place(0, part * top)
        grid += (
            f'<line x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>'
            f'<text x="{_LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{part * top:.2f}</text>'
        )
    labels = "".join(
        f'<text x="{place(step, 0)[0]:.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">'
        f"{step + 1}</text>"
        for step, anchor in ((0, "start"), (len(losses) // 2, "middle"), (len(losses) - 1, "end"))
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Loss by step">{grid}{labels}'
        f'<g fill="var(--frozen)" fill-opacity=".55">{dots}</g>'
        f'<polyline points="{line}" fill="none" stroke="var(--arena)" stroke-width="2.5"/></svg>'
    )


def _picture(sheet: bytes) -> str:
    data = base64.b64encode(sheet).decode()
    return (
        f'<img alt="photos, and pictures before and after" style="width:100%;border-radius:6px"'
        f' src="data:image/png;base64,{data}">'
    )


def _memory(report: Mapping[str, Any]) -> str:
    rows = [(label, {"arena": report["peak_rss_bytes"][name]}) for name, label in _MEMORY.items()]
    whole, drawing = (report[name]["peak_pss_bytes"] for name in ("personalize", "generate"))
    return section(
        "Memory",
        "Peak proportional set size (PSS) of the native runner, one process each, sampled while it"
        " runs one program. The whole personalization, photos, preparation and class pictures"
        f" included, peaked at {size(whole)}; drawing the pictures, from words to PNG, at"
        f" {size(drawing)}.",
        bars(rows, size),
    )


def _time(report: Mapping[str, Any]) -> str:
    rows = [(label, {"seconds": report["step_seconds"][name]}) for name, label in _SECONDS.items()]
    words = (
        "Median seconds of a training step (forward, backward, optimizer) on"
        f" {report['settings']['measuring_threads']} thread, {report['settings']['repeats']}"
        " repeats."
        " PyTorch runs the plain float32 modules with its best attention and recomputes nothing;"
        " the native step has 8-bit frozen weights."
    )
    export = bars(
        [
            (name, {"seconds": report["export_seconds"][name]})
            for name in _STEPS
            if name in report["export_seconds"]
        ],
        lambda value: f"{value:.1f} s",
    )
    body = bars(rows, lambda value: f"{1000 * value:.0f} ms")
    return section("Time", words, f"{body}<h3>Steps of the export</h3>{export}")


def _facts(report: Mapping[str, Any]) -> str:
    rows = [
        (
            "loss, mean of the first and last 20 steps",
            f"{report['loss_first']:.4f} → {report['loss_last']:.4f}",
        ),
        (
            "largest relative gradient error against PyTorch",
            f"{report['parity']['max_rel_grad_error']:.1e}",
        ),
        (
            "largest loss difference over 5 optimizer steps",
            f"{report['parity']['max_loss_diff']:.1e}",
        ),
        ("operators; left to portable kernels", f"{report['nodes']:,}; {report['portable_ops']:,}"),
        (
            "bundle; frozen weights in it",
            f"{size(report['bundle_bytes'])}; {size(report['frozen_weight_bytes'])}",
        ),
        ("preparation, whole", f"{report['personalize']['preparation_seconds']:.1f} s"),
        ("one denoising step, both branches", f"{1000 * report['denoise_seconds']:.0f} ms"),
    ]
    rows += [(name.replace("_", " "), str(value)) for name, value in report["settings"].items()]
    cells = [(text(name), text(value)) for name, value in rows]
    return section(
        "Figures and settings",
        "All of them are in report.json.",
        table(("", ""), cells, right=(1,)),
    )
