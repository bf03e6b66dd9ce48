"""The demo's page, from figures that are made up; tests/e2e has the real chain."""

from __future__ import annotations

import re

from benchmarks.demo_page import draw_losses, render

REPORT = {
    "steps": 40,
    "loss_first": 0.5,
    "loss_last": 0.25,
    "losses": [0.5] * 20 + [0.25] * 20,
    "peak_rss_bytes": {"hollow": 60_000_000, "full_lora": 100_000_000, "inference": 80_000_000},
    "step_seconds": {
        "native_hollow": 0.03,
        "native_full": 0.06,
        "eager_hollow": 0.05,
        "eager_full": 0.09,
    },
    "denoise_seconds": 0.04,
    "export_seconds": {"capture": 20.0, "lower": 40.0, "check": 12.0, "pack": 1.0},
    "nodes": 12_345,
    "portable_ops": 67,
    "parity": {"max_rel_grad_error": 1e-5, "max_loss_diff": 1e-6},
    "similarity": {"before": 0.4, "after": 0.512, "reference": 0.89},
    "bundle_bytes": 12_000_000,
    "frozen_weight_bytes": 11_000_000,
    "personalize": {
        "preparation_seconds": 8.0,
        "seconds_per_step": 0.03,
        "peak_pss_bytes": 88_000_000,
    },
    "generate": {"seconds_per_step": 0.04, "peak_pss_bytes": 81_000_000},
    "settings": {"prompt": "a <sks> bear", "threads": 2, "measuring_threads": 1, "repeats": 20},
    "machine": {"processor": "P", "cores": 2, "load_average": 1.0},
    "seconds": 300.0,
}


def test_the_page_needs_nothing_but_itself_and_says_what_was_measured() -> None:
    page = render(REPORT, b"\x89PNG")
    assert not re.search(r"(src|href)=.?https?:|url\(|<script", page)
    assert "data:image/png;base64,iVBORw==" in page
    for figure in ("0.512", "60%", "30 ms", "12,345; 67", "1.0e-05", "not CLIP-I"):
        assert figure in page, figure
    assert "a &lt;sks&gt; bear" in page
    assert "<sks>" not in page
    assert "$" not in re.sub(r"<style>.*</style>", "", page, flags=re.DOTALL)


def test_the_curve_has_a_dot_for_each_step_and_the_running_mean() -> None:
    drawing = draw_losses([0.5] * 20 + [0.25] * 20)
    assert drawing.count("<circle") == 40
    (points,) = re.findall(r'points="([^"]*)"', drawing)
    heights = [float(point.split(",")[1]) for point in points.split()]
    assert len(heights) == 21
    assert heights == sorted(heights)  # Down the page: the loss falls.


def test_a_curve_of_few_steps() -> None:
    assert draw_losses([]) == ""
    assert draw_losses([0.3]).count("<circle") == 1
