"""The command: what it prints, where, and how it ends when something is wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from export import cli, steps
from export.arguments import build_parser
from export.explain import as_lines, explain
from export.progress import StepClock
from pockettune import method
from pockettune.errors import IoFailed
from tests.export import fabricated

FLEET = ["--out", "x", "--method", "fedavg", "--model", "lenet", "--input-shape", "1x8x8"]
FLEET += ["--classes", "10"]


@pytest.fixture(autouse=True)
def _calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command silences libraries for good; a test must not."""
    monkeypatch.setattr(cli, "_quiet_libraries", lambda: None)


def failing_with(error: BaseException) -> Any:
    def prepare(*_: object) -> None:
        raise error

    return prepare


def test_list_prints_the_methods_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--list"]) == 0
    assert capsys.readouterr().out.splitlines() == ["fedavg", *method.names()]


def test_help_names_every_step_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "prepare, capture, lower, check, pack" in words
    assert "(default: starter)" in words


@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        ([], 2, "add --out DIR"),
        (["--out", "x", "--bits", "16"], 2, "invalid choice: 16 (choose from 8, 32)"),
        (["--out", "x", "--rank", "many"], 2, "invalid int value: 'many'"),
        (["--out", "x", "--target", "abacus"], 55, "'abacus'; valid: executorch"),
        (["--out", "x", "--frobnicate"], 2, "--frobnicate"),
        (["--out", ""], 2, "--out: it is empty"),
        (["--out", "x", "--model", " "], 2, "--model: it is empty"),
        (["--out", "x", "--parameters", ""], 2, "--parameters: it is empty"),
        (["--out", "x", "--predict-bits", ""], 2, "--predict-bits: it is empty"),
        (["--out", "x", "--set", "rank"], 2, "--set: 'rank' is not NAME=VALUE"),
        (["--out", "x", "--set", "=3"], 2, "--set: '=3' is not NAME=VALUE"),
        (["--out", "x", "--set", "rank="], 2, "--set: 'rank=' is not NAME=VALUE"),
        (["--out", "x", "--set", "rank=[3"], 2, "--set: 'rank=[3' is not NAME=VALUE"),
        (["--out", "x", "--set", "rank=" + "9" * 5000], 2, "is not NAME=VALUE"),
        (["--out", "x", "--set", "rank=" + "[" * 10**5], 2, "is not NAME=VALUE"),
        ([*FLEET, "--set", "seed=abc"], 55, "'seed' cannot be 'abc'; valid: an integer from 0"),
        (["--out", "x", "--method", "magic"], 55, "'method' cannot be 'magic'; valid: "),
        (
            ["--out", "x", "--rank", "0"],
            55,
            "'rank' cannot be '0'; valid: an integer of at least 1",
        ),
        (["--out", "x", "--set", "depth=3"], 55, "'depth' cannot be '3'; valid: cut, rank"),
        (["--out", "x", "--optimizer", "adam"], 55, "'optimizer' cannot be 'adam'; valid: adamw"),
        (["--out", "x", "--model", "no/such/folder"], 50, "There is no model 'no/such/folder'"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str],
    status: int,
    part: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == status
    output = capsys.readouterr()
    assert output.out == ""
    # Steps that came before have their own lines.
    (sentence,) = [line for line in output.err.splitlines() if line.startswith(cli.COMMAND)]
    assert part in sentence
    assert sentence.endswith(".")
    assert "Traceback" not in output.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status", "part"),
    [
        (KeyboardInterrupt(), 5, "Stopped; no bundle was written."),
        (OSError(errno.ENOSPC, "no space", "a.pte"), 4, "The disk filled up while a.pte"),
        (OSError(errno.EACCES, "no", "a.pte"), 3, "Cannot use a.pte: no"),
        (MemoryError(), 6, "not enough memory"),
    ],
)
def test_what_the_system_refuses_is_said(
    error: BaseException,
    status: int,
    part: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "prepare", failing_with(error))
    assert cli.main(["--explain"]) == status
    assert part in capsys.readouterr().err


def test_a_bug_is_called_one_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(cli, "prepare", failing_with(ZeroDivisionError("by\nzero")))
    assert cli.main(["--explain", "--rank", "4"]) == 1
    (log,) = tmp_path.iterdir()
    message = capsys.readouterr().err
    assert "This is a bug in the exporter" in message
    assert "ZeroDivisionError: by zero" in message
    assert str(log) in message
    assert "Traceback" not in message
    assert log.read_text().startswith("python -m export --explain --rank 4\nTraceback")


def test_a_signal_to_end_ends_as_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def prepare(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cli, "prepare", prepare)
    assert cli.main(["--explain"]) == 5
    assert signal.getsignal(signal.SIGTERM) is before


def test_settings_are_named_as_in_the_config() -> None:
    options = build_parser().parse_args(
        ["--rank", "8", "--seed", "3", "--set", "alpha=2.5", "--set", "schedule=cosine"]
    )
    assert cli._settings(options) == {"rank": 8, "seed": 3, "alpha": 2.5, "schedule": "cosine"}


def test_explain_as_json_is_all_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "prepare", lambda *_: fabricated.prepared())
    assert cli.main(["--explain", "--json"]) == 0
    explanation = json.loads(capsys.readouterr().out)
    assert list(explanation["programs"]) == ["decode", "denoise", "encode_text", "train_step"]
    assert explanation["expected_bytes"] == {
        "weights": 3430,
        "state": 48,
        "caches": {
            "text_states": {"each": 12, "scope": "prompt"},
            "picture": {"each": 8, "scope": "picture"},
        },
    }


def test_explain_as_text_shows_what_is_left_out() -> None:
    lines = list(as_lines(explain(fabricated.prepared(), ["executorch"])))
    assert "  [-]   mid.0" in "\n".join(lines)
    assert "legal_cuts       A, none" in "\n".join(lines)
    assert all(len(line) < 110 for line in lines)


def test_a_folder_of_something_else_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.png").write_bytes(b"cat")
    with pytest.raises(IoFailed, match="holds files but no bundle"):
        steps.claim_folder(tmp_path / "photos")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(IoFailed, match="not a folder"):
        steps.claim_folder(tmp_path / "file")
    with pytest.raises(IoFailed, match="Cannot create"):
        steps.claim_folder(tmp_path / "file/below/it")
    for nameless in (Path(), Path("/"), tmp_path / ".."):
        with pytest.raises(IoFailed, match="it names no folder of its own"):
            steps.claim_folder(nameless)
    steps.claim_folder(tmp_path / "new/one")
    assert not (tmp_path / "new/one").exists()


@pytest.mark.parametrize("terminal", [False, True])
def test_steps_are_shown_with_their_seconds(
    terminal: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = StepClock(Console(force_terminal=terminal, width=100, stderr=True))
    with clock.step("lower") as advance:
        advance("train_step", 1, 2)
        advance("train_step", 2, 2)
    with pytest.raises(ValueError, match="wrong"), clock.step("check"):
        raise ValueError("wrong")
    assert list(clock.seconds) == ["lower"]
    shown = capsys.readouterr().err
    assert "lower" in shown
    if not terminal:
        assert shown.count("lower: train_step") == 1
        assert "lower done in 0.0 s" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "fedavg", "--model", "lenet", "--bits", "8"], "--bits has no place here"),
        (["--batch-size", "8"], "--batch-size has no place here"),
        (["--classes", "3"], "--classes has no place here"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert cli.main([*arguments, "--out", str(tmp_path / "bundle")]) == 2
    assert said in capsys.readouterr().err.replace("\n", " ")
