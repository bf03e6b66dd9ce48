"""The shared vectors: every reader takes the golden ones and refuses the hostile ones."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import safetensors.numpy

from pockettune import random, tensor_file
from pockettune.bundle import open_bundle
from pockettune.errors import PocketTuneError, error_types
from pockettune.update import read_update
from pockettune.vectors.__main__ import generate

SPEC = Path(__file__).parents[2] / "spec"
VECTORS = SPEC / "vectors"
GOLDEN = json.loads((VECTORS / "golden.json").read_text())
HOSTILE = json.loads((VECTORS / "hostile.json").read_text())
READERS: dict[str, Any] = {
    "bundle": open_bundle,
    "safetensors": tensor_file.read,
    "update": read_update,
}


def snapshot(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_the_committed_vectors_are_the_generated_ones(tmp_path: Path) -> None:
    generate(tmp_path / "vectors")
    generated, committed = snapshot(tmp_path / "vectors"), snapshot(VECTORS)
    assert generated.keys() == committed.keys()
    assert not [name for name in generated if generated[name] != committed[name]]


@pytest.mark.parametrize("entry", GOLDEN, ids=lambda entry: entry["name"])
def test_golden(entry: dict[str, Any]) -> None:
    path = VECTORS / entry["name"]
    if entry["kind"] == "bundle":
        assert open_bundle(path).bundle_id == entry["bundle_id"]
        return
    tensors = tensor_file.read(path)
    assert entry["tensors"] == {
        name: {
            "dtype": str(tensor.dtype),
            "shape": list(tensor.shape),
            "sha256": hashlib.sha256(tensor.tobytes()).hexdigest(),
        }
        for name, tensor in tensors.items()
    }
    reference = safetensors.numpy.load_file(path)
    assert all(np.array_equal(tensors[name], reference[name]) for name in reference)


@pytest.mark.parametrize("entry", HOSTILE, ids=lambda entry: entry["name"])
def test_hostile(entry: dict[str, Any]) -> None:
    expected = entry.get("expected", {})
    with pytest.raises(PocketTuneError) as caught:
        READERS[entry["kind"]](VECTORS / "hostile" / entry["name"], **expected)
    assert caught.value.code == entry["code"]
    assert str(caught.value).isprintable()


def test_every_hostile_file_is_in_the_index() -> None:
    found = {
        str(path.relative_to(VECTORS / "hostile"))
        for kind in ("bundles", "safetensors", "updates")
        for path in (VECTORS / "hostile" / kind).iterdir()
    }
    assert found == {entry["name"] for entry in HOSTILE}


def test_every_code_of_a_reader_has_hostile_vectors() -> None:
    prefixes = ("bundle_", "safetensors_", "update_")
    codes = {code for code in error_types() if code.startswith(prefixes)}
    # A signature is refused by readers with a key: sdk/signatures.json.
    codes.remove("bundle_signature_invalid")
    assert {entry["code"] for entry in HOSTILE} == codes | {"tensor_mismatch"}


def test_golden_manifests_fit_the_schema_as_it_is_published() -> None:
    schema = json.loads((SPEC / "manifest.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in VECTORS.glob("bundle*/manifest.json"):
        validator.validate(json.loads(path.read_text()))


def test_random_numbers() -> None:
    vectors = json.loads((VECTORS / "random.json").read_text())

    def place(entry: dict[str, Any]) -> tuple[int, int, int]:
        return int(entry["seed"]), entry["stream"], int(entry["index"])

    for entry in vectors["words"]:
        drawn = random.words(*place(entry), entry["block"], 1)
        assert drawn[0].tolist() == entry["words"]
    for entry in vectors["integers"]:
        shape = (len(entry["values"]),)
        drawn_integers = random.integer(*place(entry), shape, entry["low"], entry["high"])
        assert drawn_integers.tolist() == entry["values"]
    for kind, draw in (("uniforms", random.uniform), ("normals", random.normal)):
        for entry in vectors[kind]:
            values = draw(*place(entry), (len(entry["bits"]),))
            assert values.view(np.uint32).tolist() == entry["bits"]
