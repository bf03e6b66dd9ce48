"""Mutated files: typed errors only, and nothing accepted that the reference library refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from pockettune import tensor_file
from pockettune.errors import SafetensorsInvalid
from pockettune.vectors.fuzz import fuzz, fuzz_updates, mutated_tensors


def test_mutated_files_give_typed_errors_only(tmp_path: Path) -> None:
    outcomes = fuzz(400, 7, tmp_path)
    assert sum(outcomes.values()) == 400
    # A fuzzer whose cases all end in the same place tests nothing.
    assert outcomes["manifest accepted"] > 5
    assert outcomes["tensors accepted"] > 5
    assert outcomes["manifest bundle_manifest_invalid"] > 100


def test_ten_thousand_mutated_updates_give_typed_errors_only() -> None:
    outcomes = fuzz_updates(10_000, 7)
    assert sum(outcomes.values()) == 10_000
    assert outcomes["update accepted"] > 500
    assert outcomes["update update_invalid"] > 1000
    assert outcomes["update safetensors_invalid"] > 500


@pytest.mark.slow
def test_a_hundred_thousand_mutated_updates_give_typed_errors_only() -> None:
    assert sum(fuzz_updates(100_000, 8).values()) == 100_000


@pytest.mark.slow
def test_a_hundred_thousand_mutated_files_give_typed_errors_only(tmp_path: Path) -> None:
    assert sum(fuzz(100_000, 8, tmp_path).values()) == 100_000


def test_what_we_accept_the_reference_library_reads_alike(tmp_path: Path) -> None:
    generator = np.random.default_rng(9)
    path = tmp_path / "tensors.safetensors"
    accepted = 0
    for _ in range(300):
        path.write_bytes(mutated_tensors(generator))
        try:
            ours = tensor_file.read(path)
        except SafetensorsInvalid:
            continue
        theirs = safetensors.numpy.load_file(path)
        assert ours.keys() == theirs.keys()
        assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)
        accepted += 1
    assert accepted > 10
