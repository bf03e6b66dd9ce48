"""The runner's formats against the shared vectors, NumPy, and published values."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Check = Callable[..., list[str]]

SPEC = Path(__file__).parents[2] / "spec"
VECTORS = SPEC / "vectors"
MUTATIONS = int(os.environ.get("POCKETTUNE_MUTATIONS", "2000"))
RANDOM = json.loads((VECTORS / "random.json").read_text())


def bits(lines: list[str]) -> list[int]:
    return [int(line) for line in lines]


def test_words_are_those_of_random123(check: Check) -> None:
    # philox4x32-10, kat_vectors of Random123: counter 0, key 0.
    expected = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert bits(check("words", 0, 0, 0, 0)) == expected


@pytest.mark.parametrize("entry", RANDOM["words"])
def test_words(check: Check, entry: dict[str, Any]) -> None:
    key = (entry["seed"], entry["stream"], entry["index"], entry["block"])
    assert bits(check("words", *key)) == entry["words"]


@pytest.mark.parametrize("entry", RANDOM["integers"])
def test_integers(check: Check, entry: dict[str, Any]) -> None:
    key = (entry["seed"], entry["stream"], entry["index"], len(entry["values"]))
    assert bits(check("integer", *key, entry["low"], entry["high"])) == entry["values"]


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_floats_have_the_same_bits(check: Check, kind: str) -> None:
    for entry in RANDOM[f"{kind}s"]:
        key = (entry["seed"], entry["stream"], entry["index"], len(entry["bits"]))
        assert bits(check(kind, *key)) == entry["bits"]


def test_floats_of_chosen_words_tails_included(check: Check) -> None:
    chosen = RANDOM["of_words"]
    found = bits(check("of-words", *chosen["words"]))
    assert found[0::2] == chosen["uniforms"]
    assert found[1::2] == chosen["normals"]


def test_halves_are_those_of_numpy(check: Check) -> None:
    rng = np.random.default_rng(0)
    chosen = [0, 0x80000000, 0x7F800000, 0xFF800000, 0x33000000, 0x33000001, 0x477FEFFF, 0x477FF000]
    chosen += [0x387FFFFF, 0x38800000, 0x387FE000, 0x3F801000, 0x3F803000, 1, 0x32FFFFFF]
    chosen += [int(x) for x in rng.integers(0x32000000, 0x48000000, 3000)]
    floats = np.array(chosen, np.uint32).view(np.float32)
    with np.errstate(over="ignore"):
        expected = floats.astype(np.float16)
    found = bits(check("halves", *chosen))
    assert found[0::2] == expected.view(np.uint16).tolist()
    assert found[1::2] == expected.astype(np.float32).view(np.uint32).tolist()


@pytest.mark.parametrize("steps", [1, 3, 7, 30, 50, 1000])
def test_timesteps_are_those_of_numpy(check: Check, steps: int) -> None:
    trailing = np.round(np.arange(steps, 0, -1) * 1000 / steps).astype(int) - 1
    leading = np.arange(steps)[::-1] * (1000 // steps) + 1
    for spacing, offset, expected in (("trailing", 0, trailing), ("leading", 1, leading)):
        found = bits(check("timesteps", spacing, 1000, steps, offset))
        assert found[0::2] == expected.tolist()
        assert found[1::2] == (expected - 1000 // steps).tolist()


@pytest.mark.parametrize("length", [0, 1, 3, 55, 56, 63, 64, 65, 119, 120, 1000, 300_000])
def test_sha256_is_that_of_hashlib(check: Check, tmp_path: Path, length: int) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(bytes(i * 7 % 251 for i in range(length)))
    assert check("sha256", path) == [hashlib.sha256(path.read_bytes()).hexdigest()]


def test_golden_vectors_are_read(check: Check) -> None:
    for vector in json.loads((VECTORS / "golden.json").read_text()):
        (line,) = check(vector["kind"], VECTORS / vector["name"])
        if vector["kind"] == "bundle":
            assert line == f"ok {vector['bundle_id']}"
            continue
        words = line.split()
        found = {
            name: {"dtype": dtype, "shape": json.loads(shape), "sha256": digest}
            for name, dtype, shape, digest in zip(*[iter(words[1:])] * 4, strict=True)
        }
        assert found == vector["tensors"]


@pytest.mark.e2e
def test_sanitizers_see_nothing_wrong_in_the_vectors(sanitized: Path) -> None:
    for kind in ("bundle", "safetensors"):
        entries = json.loads((VECTORS / "hostile.json").read_text())
        paths = [VECTORS / "hostile" / v["name"] for v in entries if v["kind"] == kind]
        command = [sanitized / "pockettune-check", kind, *paths]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", ["bundle", "safetensors"])
def test_hostile_vectors_are_refused_with_their_codes(check: Check, kind: str) -> None:
    vectors = [v for v in json.loads((VECTORS / "hostile.json").read_text()) if v["kind"] == kind]
    found = check(kind, *(VECTORS / "hostile" / vector["name"] for vector in vectors))
    names = [vector["name"] for vector in vectors]
    expected = [vector["code"] for vector in vectors]
    assert dict(zip(names, found, strict=True)) == dict(zip(names, expected, strict=True))


def test_a_flipped_byte_is_refused_wherever_it_is(check: Check, tmp_path: Path) -> None:
    original = {p: p.read_bytes() for p in (VECTORS / "bundle").rglob("*") if p.is_file()}
    rng = np.random.default_rng(1)
    folders = []
    for path, content in original.items():
        for position in rng.choice(len(content), min(20, len(content)), replace=False):
            folder = tmp_path / str(len(folders))
            for other, text in original.items():
                target = folder / other.relative_to(VECTORS / "bundle")
                target.parent.mkdir(parents=True, exist_ok=True)
                flipped = bytearray(text)
                if other == path:
                    flipped[position] ^= 1 << int(rng.integers(8))
                target.write_bytes(flipped)
            folders.append(folder)
    verdicts = check("bundle", *folders)
    assert len(verdicts) > 50
    assert set(verdicts) <= {"bundle_corrupt", "bundle_manifest_invalid"}


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("kind", "count"), [("manifest", MUTATIONS), ("safetensors", 10 * MUTATIONS)]
)
def test_mutations_neither_crash_nor_hang(
    sanitized: Path, tmp_path: Path, kind: str, count: int
) -> None:
    if kind == "manifest":
        source = VECTORS / "bundle" / "manifest.json"
    else:
        # Only the header is parsed from memory; a large file would make every mutation a copy.
        source = tmp_path / "small.safetensors"
        header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
        source.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    command = [sanitized / "pockettune-fuzz", kind, source, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
