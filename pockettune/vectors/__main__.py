"""``python -m pockettune.vectors``: regenerate the vectors, or fuzz the readers."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from pockettune.vectors import golden, hostile_bundles, hostile_tensors, hostile_updates, updates
from pockettune.vectors.conditions import conditions
from pockettune.vectors.fuzz import fuzz, fuzz_updates
from pockettune.vectors.numbers import random_numbers
from pockettune.vectors.sdk import prompts, signatures

__all__ = ["generate", "main"]

_VECTORS = Path(__file__).parents[2] / "spec" / "vectors"
_TOKENIZER = Path(__file__).parents[1] / "models/starter/weights/tokenizer"


def generate(folder: Path) -> None:
    """Writes every vector to a folder, whose earlier contents go."""
    shutil.rmtree(folder, ignore_errors=True)
    index: list[dict[str, Any]] = []
    for name, files in golden.bundles().items():
        _write_folder(folder / name, files)
        bundle_id = json.loads(files["manifest.json"])["bundle_id"]
        index.append({"name": name, "kind": "bundle", "bundle_id": bundle_id})
    for name, data in golden.tensor_files().items():
        (folder / name).write_bytes(data)
        tensors = golden.describe_tensors(folder / name)
        index.append({"name": name, "kind": "safetensors", "tensors": tensors})
    _write_index(folder / "golden.json", index)
    golden_updates = updates.updates()
    files = {f"{name}.safetensors": case.data for name, case in golden_updates.items()}
    _write_folder(folder / "updates", files)
    described = [updates.describe(name, case) for name, case in golden_updates.items()]
    _write_index(folder / "updates" / "expected.json", described)

    index = []
    for name, case in hostile_bundles.bundles().items():
        place = folder / "hostile" / "bundles" / name
        _write_folder(place, case.files)
        for link, target in case.links.items():
            (place / link).symlink_to(target)
        index.append({"name": f"bundles/{name}", "kind": "bundle", "code": case.code})
    for name, data in hostile_tensors.tensor_files().items():
        file_name = f"safetensors/{name}.safetensors"
        _write_folder(folder / "hostile", {file_name: data})
        index.append({"name": file_name, "kind": "safetensors", "code": "safetensors_invalid"})
    for name, update in hostile_updates.updates().items():
        file_name = f"updates/{name}.safetensors"
        _write_folder(folder / "hostile", {file_name: update.data})
        entry = {"name": file_name, "kind": "update", "code": update.code}
        index.append(entry | ({"expected": update.expected} if update.expected else {}))
    _write_index(folder / "hostile.json", index)
    (folder / "random.json").write_text(json.dumps(random_numbers()) + "\n")
    _write_sdk(folder / "sdk")


def _write_sdk(folder: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        _write_folder(folder / "tokenizer", {name: (_TOKENIZER / name).read_bytes()})
    words = prompts(folder / "tokenizer/vocab.json", folder / "tokenizer/merges.txt")
    for name, value in (
        ("conditions", conditions()),
        ("signatures", signatures()),
        ("tokenizer", words),
    ):
        (folder / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m pockettune.vectors", description=__doc__)
    parser.add_argument("--out", type=Path, default=_VECTORS, help="folder that is replaced")
    parser.add_argument("--fuzz", type=int, metavar="N", help="run N mutations instead")
    parser.add_argument("--only", choices=("bundles", "updates"), help="mutate these alone")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations")
    options = parser.parse_args()
    if options.fuzz is None:
        if options.out.exists() and not (options.out / "golden.json").exists():
            parser.error(f"{options.out} holds something else; name a new folder")
        generate(options.out)
        return
    started = time.monotonic()
    outcomes: dict[str, int] = {}
    if options.only != "updates":
        with tempfile.TemporaryDirectory() as work:
            outcomes |= fuzz(options.fuzz, options.seed, Path(work))
    if options.only != "bundles":
        outcomes |= fuzz_updates(options.fuzz, options.seed)
    print(json.dumps({"seconds": round(time.monotonic() - started), **outcomes}, indent=1))


def _write_folder(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _write_index(path: Path, entries: list[dict[str, Any]]) -> None:
    """One entry a line, so that a change of the vectors reads well."""
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    path.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
