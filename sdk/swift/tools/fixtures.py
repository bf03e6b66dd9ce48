"""``python sdk/swift/tools/fixtures.py OUT [--starter BUNDLE]``: what the Swift tests compare with.

``OUT/client``: a bundle of ``har-conv``, parameters that eight people of the watch data taught, the
series of two others (examples, and held out ones), and what the native runner makes of one's in 100
steps: whole, and stopped on the way.
``OUT/starter``: a text-to-image bundle (exported, unless one is given), photos of the starter's
subject, and the native runner's caches, states, adapter and pictures. What is there is kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pockettune import data, tensor_file
from pockettune.bundle import open_bundle
from pockettune.data.dataset import Split
from pockettune.images import read_photos
from pockettune.models.starter import PATH
from pockettune.personalize import tokenizer_of

ROOT = Path(__file__).parents[3]
RUNNER = ROOT / "build" / "native" / "pockettune-run"
# The fleet learnt from the eight others. What it then learns from a person's first series makes it
# better on the second ones (PERSON), or worse (OTHER).
PERSON = 0
OTHER = 4
FLEET_STEPS = 1500
CLIENT_STEPS = 100
STARTER_STEPS = 200
PRIOR_STEPS = 12
PROMPT = "a sks bear"
CLASS_PROMPT = "a bear"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--starter", type=Path, help="a bundle of the starter")
    options = parser.parse_args()
    for name, make in (("client", make_client), ("starter", make_starter)):
        folder: Path = options.out / name
        if (folder / "ready").exists():
            continue
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder, options.starter)
        (folder / "ready").touch()


def run(*words: object) -> list[dict[str, Any]]:
    command = [str(RUNNER), *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def stopped_behind(step: int, *words: object) -> None:
    """Runs until that step is done, and interrupts."""
    command = [str(RUNNER), *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if json.loads(line).get("step") == step:
                process.send_signal(signal.SIGTERM)


def export(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "export", *map(str, words)], check=True, cwd=ROOT)


def make_client(folder: Path, _: Path | None) -> None:
    bundle = folder / "bundle"
    export(
        *("--method", "fedavg", "--model", "har-conv", "--out", bundle),
        *("--input-shape", "6x100", "--classes", 7, "--batch-size", 16, "--momentum", 0.9),
        *("--epochs", 3, "--learning-rate", 0.01, "--measure"),
    )
    watch = data.load("watch")
    files = {"examples": (watch.train, PERSON), "held": (watch.test, PERSON)}
    files |= {"other": (watch.train, OTHER), "other_held": (watch.test, OTHER)}
    for name, (split, person) in files.items():
        tensor_file.write(folder / f"{name}.safetensors", chosen(split, split.users == person))
    splits = (watch.train, watch.test)
    fleet = [chosen(split, ~np.isin(split.users, (PERSON, OTHER))) for split in splits]
    pooled = {name: np.concatenate([part[name] for part in fleet]) for name in fleet[0]}
    tensor_file.write(folder / "fleet_examples.safetensors", pooled)
    run(
        *("train", "--bundle", bundle, "--inputs", folder / "fleet_examples.safetensors"),
        *("--out", folder / "fleet", "--steps", FLEET_STEPS, "--checkpoint-every", 500),
    )
    state = folder / "fleet" / "parameters.safetensors"
    inputs = ("--bundle", bundle, "--inputs", folder / "examples.safetensors", "--state", state)
    settings = ("--steps", CLIENT_STEPS, "--seed", 7, "--checkpoint-every", 10)
    run("train", *inputs, "--out", folder / "whole", *settings)
    stopped_behind(37, "train", *inputs, "--out", folder / "stopped", *settings)
    held = ("--bundle", bundle, "--inputs", folder / "held.safetensors")
    scores = {
        "before": run("evaluate", *held, "--state", state)[-1],
        "after": run("evaluate", *held, "--state", folder / "whole" / "parameters.safetensors")[-1],
    }
    (folder / "scores.json").write_text(json.dumps(scores))


def chosen(split: Split, rows: NDArray[np.bool_]) -> dict[str, Any]:
    return {"inputs": split.inputs[rows], "labels": split.labels[rows]}


def make_starter(folder: Path, given: Path | None) -> None:
    bundle = folder / "bundle"
    if given is None:
        export("--model", "starter", "--out", bundle)
    else:
        shutil.copytree(given, bundle)
    opened = open_bundle(bundle)
    image = opened.manifest["image"]
    ids = tokenizer_of(opened).encode([PROMPT])
    pixels = read_photos(PATH.parent / "subject", image["height"], image["width"])[:4]
    inputs = folder / "inputs.safetensors"
    tensor_file.write(inputs, {"input_ids": ids, "pixels": pixels})
    settings = ("--steps", STARTER_STEPS, "--seed", 3)
    whole = folder / "whole"
    run("personalize", "--bundle", bundle, "--inputs", inputs, "--out", whole, *settings)
    prior = folder / "prior_inputs.safetensors"
    class_ids = tokenizer_of(opened).encode([CLASS_PROMPT])
    tensor_file.write(prior, {"class_input_ids": class_ids, "input_ids": ids, "pixels": pixels})
    run(
        *("personalize", "--bundle", bundle, "--inputs", prior, "--out", folder / "prior"),
        *("--class-pictures", 2, "--prior-weight", 0.5, "--samples", 7),
        *("--steps", PRIOR_STEPS, "--seed", 3),
    )
    prompts = folder / "prompts.safetensors"
    tensor_file.write(prompts, {"input_ids": ids})
    draw = ("generate", "--bundle", bundle, "--inputs", prompts, "--steps", 8, "--seed", 5)
    run(*draw, "--out", folder / "before")
    run(*draw, "--out", folder / "after", "--adapter", whole / "adapter.safetensors")
    for name in ("before", "after"):
        picture = np.asarray(Image.open(folder / name / "picture-0000.png").convert("RGB"))
        (folder / f"{name}.rgb").write_bytes(picture.tobytes())


if __name__ == "__main__":
    main()
