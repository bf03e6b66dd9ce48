"""Step 5: the manifest, the state file, and that a bundle is all there or not at all."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from export.pack import Packed, pack, rounded_up
from pockettune.bundle import open_bundle
from pockettune.errors import DiskFull, IoFailed
from tests.export import fabricated


def packed(folder: Path, content: bytes = b"program" * 100) -> Packed:
    file = fabricated.lowered(folder.parent / "programs.pte", content)
    return pack(fabricated.prepared(), fabricated.captured(), [file], fabricated.parity(), folder)


def test_a_packed_bundle_opens_and_says_what_it_is(tmp_path: Path) -> None:
    result = packed(tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.bundle_id == result.bundle_id
    assert bundle.manifest["method"] == {
        "name": "some_method",
        "config": {"rank": 2, "targets": ("to_q",)},
    }
    assert bundle.manifest["precision"]["frozen_bits"] == 8
    assert bundle.manifest["budget"]["programs"]["train_step"] == {
        "arena_bytes": 8192,
        "weight_bytes": 2000,
    }
    assert bundle.manifest["programs"]["denoise"]["engines"] == {
        "executorch": {"file": "programs.pte", "method": "denoise"}
    }
    assert bundle.path("programs.pte").read_bytes() == b"program" * 100
    assert all("+" not in version for version in bundle.manifest["tools"].values())


def test_only_tensors_with_values_are_stored(tmp_path: Path) -> None:
    packed(tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    files = {name: tensor["file"] for name, tensor in bundle.manifest["tensors"].items()}
    assert files == {"adapter": "state.safetensors", "moment": None}
    state = bundle.initial_state()
    np.testing.assert_array_equal(state["adapter"], np.arange(6, dtype=np.float32))
    np.testing.assert_array_equal(state["moment"], np.zeros(6, np.float32))


def test_its_size_is_that_of_all_its_files(tmp_path: Path) -> None:
    result = packed(tmp_path / "bundle")
    on_disk = sum(
        path.stat().st_size for path in (tmp_path / "bundle").rglob("*") if path.is_file()
    )
    assert result.bytes == on_disk


def test_measured_figures_stand_beside_their_budget(tmp_path: Path) -> None:
    result = pack(
        fabricated.prepared(),
        fabricated.captured(),
        [fabricated.lowered(tmp_path / "programs.pte")],
        fabricated.parity(),
        tmp_path / "bundle",
        measured={"decode": {"median_seconds": 0.5}},
    )
    programs = result.manifest["budget"]["programs"]
    assert programs["decode"]["measured"] == {"median_seconds": 0.5}
    assert "measured" not in programs["denoise"]


def test_the_same_values_make_the_same_bytes(tmp_path: Path) -> None:
    """Also in another process: tests/e2e/test_export.py."""
    for name in ("one", "two"):
        packed(tmp_path / name)
    one, two = ((tmp_path / name / "manifest.json").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_full_disk_leaves_the_older_bundle(tmp_path: Path) -> None:
    """A limit on file sizes stands for the disk: the system refuses to write in the same way."""
    folder = tmp_path / "bundle"
    before = packed(folder).bundle_id
    large = fabricated.lowered(tmp_path / "large.pte", b"x" * 100_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(DiskFull):
            pack(fabricated.prepared(), fabricated.captured(), [large], fabricated.parity(), folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert open_bundle(folder).bundle_id == before
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "programs.pte", "large.pte"}


def test_a_complete_bundle_replaces_an_older_one(tmp_path: Path) -> None:
    before = packed(tmp_path / "bundle").bundle_id
    after = packed(tmp_path / "bundle", b"other" * 100).bundle_id
    assert before != after
    assert open_bundle(tmp_path / "bundle").bundle_id == after


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.png").write_bytes(b"cat")
    with pytest.raises(IoFailed):
        packed(folder)
    assert [path.name for path in folder.iterdir()] == ["cat.png"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.234567e-6, 1.3e-6),
        (9.99e-5, 1e-4),
        (3.2e-7, 3.2e-7),
        (1.0, 1.0),
        (123.4, 130.0),
        (5e-324, 5e-324),
        (0.0, 0.0),
    ],
)
def test_differences_are_rounded_up_to_two_digits(value: float, expected: float) -> None:
    assert rounded_up(value) == expected
    assert rounded_up(-value) == -expected


def test_parity_in_the_manifest_is_never_better_than_measured(tmp_path: Path) -> None:
    manifest = packed(tmp_path / "bundle").manifest
    assert manifest["parity"]["decode"] == {
        "tolerance": {"value": 1e-4},
        "max_abs_difference": 1.3e-6,
        "max_relative_error": 3.3e-6,
    }
