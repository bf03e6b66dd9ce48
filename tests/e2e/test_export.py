"""The whole export of a tiny model, by the command that a person types."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.synthetic import SIZES, write_model
from export import cli
from pockettune.bundle import open_bundle

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True, scope="module")
def _calm() -> Iterator[None]:
    """The command silences libraries for good; a test must not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "_quiet_libraries", lambda: None)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_model(folder, SIZES["tiny"])
    return folder


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of one export, as ``--json`` prints it."""
    out = tmp_path_factory.mktemp("out") / "bundle"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert cli.main(["--model", str(model), "--out", str(out), "--cut", "A", "--json"]) == 0
    result: dict[str, Any] = json.loads(printed.getvalue())
    return result


def test_a_bundle_comes_out_that_passed_its_check(exported: dict[str, Any]) -> None:
    bundle = open_bundle(Path(exported["bundle"]))
    assert bundle.bundle_id == exported["bundle_id"]
    assert list(exported["seconds"]) == sorted(["prepare", "capture", "lower", "check", "pack"])
    for name in bundle.manifest["programs"]:
        parity = bundle.manifest["parity"][name]
        assert 0 <= parity["max_relative_error"] <= parity["tolerance"]["value"]
        assert bundle.manifest["budget"]["programs"][name]["arena_bytes"] > 0
    training = bundle.manifest["parity"]["train_step"]
    assert len(training["loss_differences"]) == 5
    views = bundle.manifest["tensors"]["adapter"]["views"]
    assert set(training["gradients"]) == {view["name"] for view in views}


def test_nothing_of_this_machine_is_in_it(exported: dict[str, Any], model: Path) -> None:
    for path in Path(exported["bundle"]).rglob("*"):
        if path.is_file():
            assert str(model.parent).encode() not in path.read_bytes(), path.name


def test_its_report_lies_beside_it(exported: dict[str, Any]) -> None:
    report = Path(exported["report"])
    assert report.parent == Path(exported["bundle"]).parent
    page = report.read_text()
    assert exported["bundle_id"] in page
    assert 'class="hollow"' in page


def test_no_temporary_file_is_left(exported: dict[str, Any]) -> None:
    names = {path.name for path in Path(exported["bundle"]).parent.iterdir()}
    assert names == {"bundle", "bundle.report.html"}


def test_the_same_export_in_another_process_gives_the_same_bytes(
    exported: dict[str, Any], model: Path, tmp_path: Path
) -> None:
    first, second = Path(exported["bundle"]), tmp_path / "again"
    command = [sys.executable, "-m", "export", "--model", model, "--out", second, "--cut", "A"]
    # Another hash seed is another order of everything that is not ordered.
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    ended = subprocess.run(
        [*command, "--json"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    names = sorted(str(path.relative_to(first)) for path in first.rglob("*") if path.is_file())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    # Standard output holds the result and nothing else, whatever libraries say.
    assert json.loads(ended.stdout)["bundle_id"] == exported["bundle_id"]


def test_a_full_disk_in_the_middle_leaves_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit on file sizes stands for the disk; the program file is the first to reach it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        status = cli.main(["--model", str(model), "--out", str(tmp_path / "bundle"), "--cut", "A"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    message = capsys.readouterr().err
    assert status == 4, message
    assert "The disk filled up" in message
    assert "Traceback" not in message
    assert list(tmp_path.iterdir()) == []


def _break_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def _lose_component(folder: Path) -> None:
    for path in (folder / "vae").iterdir():
        path.unlink()
    (folder / "vae").rmdir()


def _unknown_block(folder: Path) -> None:
    path = folder / "unet/config.json"
    config = json.loads(path.read_text())
    config["mid_block_type"] = "UNetMidBlock2DSimpleCrossAttn"
    path.write_text(json.dumps(config))


def _not_a_number(folder: Path) -> None:
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_in.weight"][0] = torch.nan
    save_file(weights, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "cut", "status", "part"),
    [
        (_break_index, "A", 50, "the folder has no model_index.json"),
        (_lose_component, "A", 51, "no usable 'vae'"),
        (_unknown_block, "A", 52, "is not supported; valid: "),
        (_not_a_number, "A", 53, "NaN or infinity in 'unet.conv_in.weight'"),
        (lambda folder: None, "D", 54, "choose one of A, "),
    ],
)
def test_a_model_that_cannot_be_used_is_one_sentence(
    damage: Callable[[Path], None],
    cut: str,
    status: int,
    part: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_model(tmp_path / "model", SIZES["tiny"])
    damage(tmp_path / "model")
    arguments = ["--model", str(tmp_path / "model"), "--cut", cut, "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == status
    output = capsys.readouterr()
    assert part in output.err
    assert "Traceback" not in output.err
    assert output.out == ""
    assert not (tmp_path / "out").exists()
