"""Makes the bundles that the demo app carries in its assets.

    python android_demo/tools/make_assets.py gestures     # a fleet of ten people trains first
    python android_demo/tools/make_assets.py pictures     # the starter model

``gestures`` also writes ``gestures.properties``: what a phone's readings have to become before the
bundle's programs see them. The watch whose readings the model learned from measured acceleration
in units of g (median length 1.07) and, as we take it, with Apple's sign: a watch that lies face up
reads -1 on z, a phone with Android +9.81. So Android's reading times -1/9.80665 is the watch's;
mean and deviation are converted here, once. Rotation is in radians a second in both.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from pockettune.data.sets import watch

APP = Path(__file__).parent.parent / "app"
ASSETS = APP / "src/main/assets"
LABELS = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "trapezius extension",
    "upright row",
)
GRAVITY = 9.80665  # m/s^2
ROUNDS = 40


def gestures() -> None:
    mean, deviation = watch.scale()
    to_watch = np.array([-1 / GRAVITY] * 3 + [1.0] * 3)
    # (a * to_watch - mean) / deviation = (a - mean / to_watch) / (deviation / to_watch)
    lines = {
        "labels": ", ".join(LABELS),
        "rate": "50",
        "stride": str(watch.STRIDE),
        "mean": ", ".join(f"{value:.7g}" for value in mean / to_watch),
        "deviation": ", ".join(f"{value:.7g}" for value in deviation / to_watch),
    }
    text = "".join(f"{name} = {value}\n" for name, value in lines.items())
    (ASSETS / "gestures.properties").write_text(f"# Written by tools/make_assets.py.\n{text}")
    fleet = APP / "build/fleet"
    python(
        "pockettune",
        "simulate",
        "--model=har-conv",
        "--data=watch",
        "--partition=natural",
        "--clients=10",
        "--cohort=10",
        f"--rounds={ROUNDS}",
        f"--out={fleet}",
    )
    export(
        "gestures",
        "--method=fedavg",
        "--model=har-conv",
        "--input-shape=6x100",
        "--classes=7",
        f"--parameters={fleet / 'parameters.safetensors'}",
    )


def pictures() -> None:
    export("pictures", "--model=starter", "--cut=C")


def export(kind: str, *arguments: str) -> None:
    bundle = ASSETS / "bundles" / kind
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.parent.mkdir(parents=True, exist_ok=True)
    (APP / "build").mkdir(exist_ok=True)
    python("export", *arguments, f"--out={bundle}")
    # The report is for people, and would lie in the app.
    bundle.with_name(f"{kind}.report.html").replace(APP / f"build/{kind}.report.html")


def python(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], check=True)


def main() -> None:
    kinds = {"gestures": gestures, "pictures": pictures}
    parser = argparse.ArgumentParser(description="make the bundles of the demo app's assets")
    parser.add_argument("kind", choices=kinds)
    kinds[parser.parse_args().kind]()


if __name__ == "__main__":
    main()
