"""The person's command: what is refused, in which words and with which exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pockettune.cli import main

PERSONALIZE = ["personalize", "--bundle", "b", "--photos", "p", "--subject", "sks"]
PERSONALIZE += ["--class", "frog", "--out", "o"]
GENERATE = ["generate", "--bundle", "b", "--prompt", "x", "-o", "a.png"]
SIMULATE = ["simulate", "--out", "o"]
# Options for which an empty word would stand for something.
EMPTY = (
    (
        PERSONALIZE,
        ("--bundle", "--photos", "--subject", "--class", "--out", "--template", "--preview"),
    ),
    (GENERATE, ("--bundle", "--prompt", "--adapter")),
    (["verify", "--bundle", "b"], ("--bundle", "--key")),
    (["sign", "--bundle", "b", "--key", "k"], ("--bundle", "--key")),
    (SIMULATE, ("--out", "--codec")),
    (["data", "digits"], ("--folder", "--plot")),
)


def fails(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, str]:
    status = main(arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    return status, captured.err.strip()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "required: COMMAND"),
        (["dance"], "invalid choice: 'dance'"),
        (["personalize"], "required: --bundle, --photos, --subject, --class, --out"),
        ([*PERSONALIZE, "--steps", "0"], "'0' is not a whole number from 1 to 1000000"),
        ([*PERSONALIZE, "--steps", "x" * 40], "is not a whole number"),
        ([*PERSONALIZE, "--steps", "9" * 40], "is not a whole number"),
        ([*PERSONALIZE, "--learning-rate", "nan"], "'nan' is not a number above 0"),
        ([*PERSONALIZE, "--learning-rate", "-1"], "'-1' is not a number above 0"),
        ([*PERSONALIZE, "--unknown"], "Unrecognized arguments: --unknown"),
        ([*GENERATE, "--seed", "-3"], "'-3' is not a whole number from 0"),
        ([*GENERATE, "--threads", "65"], "'65' is not a whole number from 1 to 64"),
        ([*GENERATE, "-o", "a.jpg"], "'a.jpg' does not end in .png"),
        ([*GENERATE, "--prompt", "\udcff"], "Argument --prompt: '\\udcff' is not UTF-8"),
        ([*SIMULATE, "--set", "bits"], "Argument --set: 'bits' is not NAME=VALUE"),
        ([*SIMULATE, "--set", "bits=" + "[" * 10**5], "is not NAME=VALUE"),
        *(
            ([*command, option, value], f"Argument {option}: it is empty")
            for command, options in EMPTY
            for option in options
            for value in ("", " \t")
        ),
    ],
)
def test_a_wrong_command_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    status, sentence = fails(capsys, arguments)
    assert status == 2
    assert sentence.startswith("pockettune: usage: ")
    assert reason in sentence
    assert "--help` to see what is valid." in sentence


@pytest.mark.parametrize("command", [PERSONALIZE, GENERATE, ["verify", "--bundle", "b"]])
def test_a_missing_bundle(
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, sentence = fails(capsys, command)
    assert status == 10
    assert "There is no bundle at b" in sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [[], ["--no-preview"], ["--preview", "a frog"]])
def test_a_bundle_of_another_task(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str]
) -> None:
    bundle = str(Path(__file__).parent.parent / "spec/vectors/bundle_classification")
    command = ["personalize", "--bundle", bundle, "--photos", "p", "--subject", "sks"]
    command += ["--class", "frog", "--out", str(tmp_path / "out"), *options]
    status, sentence = fails(capsys, command)
    assert status == 55
    assert "bundle_classification (classification)'; valid: text_to_image." in sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        # Its vocabulary is a stub: bundles are opened without a look at it.
        ([], 13, "vocab.json is corrupt: it is no vocabulary (it lacks <|startoftext|>)"),
        (
            ["--prior-preservation", "--template", "{subject}"],
            55,
            "'template' cannot be '{subject}'; valid: a text with {class} or words of its own",
        ),
    ],
)
def test_words_that_cannot_be_learnt(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    options: list[str],
    status: int,
    said: str,
) -> None:
    bundle = str(Path(__file__).parent.parent / "spec/vectors/bundle")
    command = ["personalize", "--bundle", bundle, "--photos", "p", "--subject", "sks"]
    command += ["--class", "frog", "--no-preview", "--out", str(tmp_path / "out"), *options]
    found, sentence = fails(capsys, command)
    assert found == status
    assert said in sentence
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_a_picture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a.png").mkdir()
    status, sentence = fails(capsys, [*GENERATE[:-1], str(tmp_path / "a.png")])
    assert status == 2
    assert "a.png' is a folder" in sentence


def test_a_bug_of_ours_is_one_sentence_with_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("pockettune.cli.open_bundle", lambda folder, key: 1 / 0)
    status, sentence = fails(capsys, ["verify", "--bundle", "b"])
    assert status == 1
    (log,) = tmp_path.iterdir()
    assert str(log) in sentence
    assert "ZeroDivisionError" in log.read_text()


@pytest.mark.parametrize(
    ("failure", "status", "sentence"),
    [
        (KeyboardInterrupt(), 5, "Stopped by a signal; run the same command again"),
        (OSError(28, "No space left on device", "x"), 4, "The disk filled up while x was written"),
        (OSError(27, "File too large", "x"), 4, "The disk filled up while x was written"),
        (PermissionError(13, "Permission denied", "x"), 3, "Cannot use x: Permission denied"),
        (MemoryError(), 6, "There is not enough memory; what was saved stays valid"),
    ],
)
def test_failures_of_the_system(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    status: int,
    sentence: str,
) -> None:
    def fail(folder: Path, key: object) -> None:
        raise failure

    monkeypatch.setattr("pockettune.cli.open_bundle", fail)
    found, words = fails(capsys, ["verify", "--bundle", "b"])
    assert found == status
    assert sentence in words


def test_help_names_the_commands_and_loads_no_model_code() -> None:
    code = (
        "import sys; from pockettune.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert all(name in run.stdout for name in ("personalize", "generate", "verify"))


def test_a_terminal_that_lacks_letters_is_no_failure(tmp_path: Path) -> None:
    """A file may have any name, and the work is done when it is told."""
    plot = tmp_path / "\u0142.png"
    run = subprocess.run(
        [sys.executable, "-m", "pockettune", "data", "digits", "--plot", str(plot)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.endswith("/\\u0142.png\n")
    assert plot.exists()


def test_module_and_console_script_are_the_same() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pockettune", "verify", "--bundle", "/nonexistent"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert run.returncode == 10
    assert run.stderr.startswith("pockettune: bundle_not_found: ")
