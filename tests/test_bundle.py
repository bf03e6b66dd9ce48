"""Bundles: written whole or not at all, read only when every byte is right."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pockettune import errors
from pockettune.bundle import Bundle, open_bundle, write_bundle
from pockettune.vectors import golden

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle", golden.manifest(), golden.FILES)
    return tmp_path / "bundle"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def code_of(folder: Path) -> str:
    try:
        open_bundle(folder)
    except errors.PocketTuneError as error:
        return error.code
    return "accepted"


def test_a_bundle_holds_what_was_written(folder: Path) -> None:
    opened = open_bundle(folder)
    assert opened.manifest["training"]["steps"] == 8
    assert {name: opened.path(name).read_bytes() for name in golden.FILES} == golden.FILES
    assert contents(folder).keys() == {"manifest.json", *golden.FILES}


def test_the_identity_is_the_hash_of_the_canonical_manifest(folder: Path) -> None:
    text = (folder / "manifest.json").read_bytes()
    manifest = json.loads(text)
    bundle_id = manifest.pop("bundle_id")
    assert manifest.pop("signature") == ""
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":")) + "\n"
    assert hashlib.sha256(canonical.encode()).hexdigest() == bundle_id
    assert open_bundle(folder).bundle_id == bundle_id
    assert text == b'{"bundle_id":"%s","signature":"",' % bundle_id.encode() + (
        canonical[1:].encode()
    )


def test_the_same_contents_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    manifest = dict(reversed(golden.manifest().items()))
    sources: dict[str, Path | bytes] = {}
    for number, (name, data) in enumerate(reversed(golden.FILES.items())):
        sources[name] = tmp_path / f"source-{number}"
        (tmp_path / f"source-{number}").write_bytes(data)
    again = write_bundle(tmp_path / "again", manifest, sources)
    assert again == open_bundle(folder).bundle_id
    assert contents(tmp_path / "again") == contents(folder)


def test_the_manifest_of_an_open_bundle_writes_the_same_bundle(
    folder: Path, tmp_path: Path
) -> None:
    opened = open_bundle(folder)
    write_bundle(tmp_path / "copy", opened.manifest, {n: opened.path(n) for n in golden.FILES})
    assert contents(tmp_path / "copy") == contents(folder)


def test_the_manifest_cannot_be_changed(folder: Path) -> None:
    manifest: Any = open_bundle(folder).manifest
    with pytest.raises(TypeError):
        manifest["name"] = "another"
    with pytest.raises(TypeError):
        manifest["training"]["steps"] = 1
    assert isinstance(manifest["preparation"], tuple)


def test_only_files_of_the_manifest_have_a_path(folder: Path) -> None:
    (folder / "notes.txt").write_text("an app may keep its own files beside ours")
    with pytest.raises(KeyError):
        open_bundle(folder).path("notes.txt")


def test_the_initial_state_is_from_the_file_or_zero(folder: Path) -> None:
    state = open_bundle(folder).initial_state()
    assert list(state) == ["adapter", "moment1", "moment2", "step"]
    assert state["adapter"].tobytes() == golden.FILES["state/adapter.safetensors"][-14 * 4 :]
    assert (state["step"].dtype, state["step"].tolist()) == (np.dtype("int64"), [0])
    assert not state["moment1"].any()
    assert state["moment1"].shape == (14,)


def expected_code(text: bytes, position: int, flipped: int) -> str:
    """The rule that a flipped byte of manifest.json breaks (bundle.md, section 1)."""
    start, end = len('{"bundle_id":"'), len('{"bundle_id":"') + 64
    prefix = text.index(b'"signature":"",') + len(b'"signature":"",')
    if position >= prefix or (start <= position < end and flipped in b"0123456789abcdef"):
        return "bundle_corrupt"
    return "bundle_manifest_invalid"


def check_flips(folder: Path, name: str, positions: Iterable[int]) -> None:
    """Flips one bit in the byte at each position, and puts it back."""
    data = (folder / name).read_bytes()
    with (folder / name).open("r+b", buffering=0) as file:
        for position in positions:
            flipped = data[position] ^ (1 << position % 8)
            expected = "bundle_corrupt"
            if name == "manifest.json":
                expected = expected_code(data, position, flipped)
            os.pwrite(file.fileno(), bytes([flipped]), position)
            assert code_of(folder) == expected, (name, position)
            os.pwrite(file.fileno(), data[position : position + 1], position)
    assert code_of(folder) == "accepted"


def test_one_flipped_byte_is_refused(folder: Path) -> None:
    """Every byte of the manifest's prefix, and every 20th of all the rest."""
    check_flips(folder, "manifest.json", range(110))
    for name in ["manifest.json", *golden.FILES]:
        check_flips(folder, name, range(0, (folder / name).stat().st_size, 20))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["manifest.json", *golden.FILES])
def test_one_flipped_byte_anywhere_is_refused(folder: Path, name: str) -> None:
    check_flips(folder, name, range((folder / name).stat().st_size))


def test_any_signature_of_the_right_form_is_taken_without_a_key(folder: Path) -> None:
    path = folder / "manifest.json"
    text = path.read_bytes()
    signature = base64.b64encode(bytes(range(100, 164)))
    path.write_bytes(text.replace(b'"signature":""', b'"signature":"%s"' % signature))
    assert code_of(folder) == "accepted"
    path.write_bytes(text.replace(b'"signature":""', b'"signature":"%s"' % signature[:-4]))
    assert code_of(folder) == "bundle_manifest_invalid"


def test_a_manifest_over_16_mebibytes_is_refused_before_it_is_parsed(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes() + b" " * 16 * 2**20)
    with pytest.raises(errors.BundleManifestInvalid, match="more than 16777216 bytes"):
        open_bundle(folder)


def test_sizes_are_checked_before_hashes_and_hashes_may_be_left_out(folder: Path) -> None:
    first, last = min(golden.FILES), max(golden.FILES)
    (folder / first).write_bytes(bytes(len(golden.FILES[first])))
    assert isinstance(open_bundle(folder, verify=False), Bundle)
    with pytest.raises(errors.BundleCorrupt, match="its SHA-256 is"):
        open_bundle(folder)
    (folder / last).write_bytes(b"")
    with pytest.raises(errors.BundleCorrupt, match="it has 0 bytes, not"):
        open_bundle(folder)


def test_pipes_and_folders_in_the_place_of_files_are_refused_at_once(folder: Path) -> None:
    (folder / "programs.pte").unlink()
    os.mkfifo(folder / "programs.pte")
    assert code_of(folder) == "bundle_corrupt"
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    assert code_of(folder) == "io_failed"


@pytest.mark.parametrize("place", ["nothing", "a_file", "empty"])
def test_no_bundle_is_said_to_be_none(tmp_path: Path, place: str) -> None:
    (tmp_path / "a_file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    assert code_of(tmp_path / place) == "bundle_not_found"


def names_below(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("change", "files", "kind"),
    [
        ({"preparation": ["another"]}, {}, errors.BundleManifestInvalid),
        ({"training": None}, {}, errors.BundleManifestInvalid),
        ({"name": float("nan")}, {}, errors.BundleManifestInvalid),
        ({"name": "\ud800"}, {}, errors.BundleManifestInvalid),
        ({"name": b"bytes"}, {}, errors.BundleManifestInvalid),
        ({}, {"../outside": b""}, errors.BundlePathInvalid),
        ({}, {"manifest.json": b"{}"}, errors.BundlePathInvalid),
        ({}, {"state/adapter.safetensors": b"x"}, errors.SafetensorsInvalid),
        ({}, {"extra": Path("nowhere")}, errors.IoFailed),
        ({}, {"programs.pte/inside": b""}, errors.IoFailed),
    ],
)
def test_a_bundle_that_could_not_be_opened_is_not_written(
    tmp_path: Path,
    change: dict[str, Any],
    files: dict[str, Path | bytes],
    kind: type[errors.PocketTuneError],
) -> None:
    with pytest.raises(kind):
        write_bundle(tmp_path / "out" / "bundle", golden.manifest() | change, golden.FILES | files)
    assert not (tmp_path / "out").exists() or not names_below(tmp_path / "out")


def test_an_older_bundle_is_replaced_and_survives_a_failure(folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(errors.BundleManifestInvalid):
        write_bundle(folder, golden.manifest() | {"preparation": [""]}, golden.FILES)
    assert contents(folder) == before
    new_id = write_bundle(folder, golden.manifest() | {"name": "newer"}, golden.FILES)
    assert open_bundle(folder).bundle_id == new_id
    assert names_below(folder.parent) == {"bundle"}


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "frog.png").write_bytes(b"a frog")
    with pytest.raises(errors.IoFailed, match="a folder of that name holds something else"):
        write_bundle(tmp_path / "photos", golden.manifest(), golden.FILES)
    assert names_below(tmp_path / "photos") == {"frog.png"}
    (tmp_path / "a_file").write_bytes(b"not a folder")
    with pytest.raises(errors.IoFailed):
        write_bundle(tmp_path / "a_file", golden.manifest(), golden.FILES)
    assert (tmp_path / "a_file").read_bytes() == b"not a folder"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    write_bundle(tmp_path / "bundle", golden.manifest(), golden.FILES)
    assert code_of(tmp_path / "bundle") == "accepted"


def test_what_a_killed_export_left_is_swept_away(tmp_path: Path) -> None:
    left = tmp_path / ".bundle.partial"
    left.mkdir()
    (left / "programs.pte").write_bytes(b"half")
    write_bundle(tmp_path / "bundle", golden.manifest(), golden.FILES)
    assert names_below(tmp_path) == {"bundle"}


def test_a_full_disk_leaves_nothing_under_the_final_name(folder: Path, tmp_path: Path) -> None:
    """The kernel refuses to let a file grow, in the middle of the last file."""
    before = contents(folder)
    files = {**golden.FILES, "weights.bin": bytes(300_000)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        for target in (folder, tmp_path / "new"):
            with pytest.raises(errors.DiskFull, match=f"while {target} was written"):
                write_bundle(target, golden.manifest(), files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert contents(folder) == before
    assert names_below(tmp_path) == {"bundle"}


def test_a_killed_writer_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    """SIGKILL at each system call that syncs a file, in turn, until the writer is done."""
    code = (
        "import os, sys, signal\n"
        "from pathlib import Path\n"
        "from pockettune import bundle\n"
        "from pockettune.vectors import golden\n"
        "real, left = os.fsync, [0]\n"
        "def fsync(descriptor):\n"
        "    real(descriptor)\n"
        "    left[0] -= 1\n"
        "    if left[0] == 0:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.fsync = fsync\n"
        "for count in range(1, 100):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        left[0] = count\n"
        "        bundle.write_bundle(Path(sys.argv[1]), golden.manifest(), golden.FILES)\n"
        "        os._exit(0)\n"
        "    status = os.waitpid(child, 0)[1]\n"
        "    done = Path(sys.argv[1]).exists()\n"
        "    if done:\n"
        "        bundle.open_bundle(Path(sys.argv[1]))\n"
        "    if status == 0:\n"
        "        print(count)\n"
        "        break\n"
        "    assert os.WTERMSIG(status) == signal.SIGKILL\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "bundle")]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    # Four files, the manifest, three folders, the parent: the writer ends without the tenth.
    assert int(output) == 10
    assert names_below(tmp_path) == {"bundle"}
