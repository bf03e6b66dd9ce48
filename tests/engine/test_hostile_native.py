"""pockettune-run in a hostile place: files that change, fill up or are no files, and no memory."""

from __future__ import annotations

import copy
import fcntl
import hashlib
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_bundle import LENGTH, SIZE, inputs, write_toy
from toy_bundle import manifest as shared_manifest

from pockettune import tensor_file

Run = Callable[..., "subprocess.CompletedProcess[str]"]

IDS = {"input_ids": np.array([[7, 0, 1, 1]], np.int64)}


def manifest() -> dict[str, Any]:
    """A copy that a test may change."""
    return copy.deepcopy(shared_manifest())


@pytest.fixture
def ids(tmp_path: Path) -> Path:
    tensor_file.write(tmp_path / "ids.safetensors", IDS)
    return tmp_path / "ids.safetensors"


def limited(native: Path, kind: int, limit: int, *words: object) -> tuple[int, str]:
    """Status and sentence of a run that may use no more of something than a limit."""
    done = subprocess.run(
        [native / "pockettune-run", *map(str, words)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(kind, (limit, limit)),
        timeout=60,
        check=False,
    )
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.returncode, done.stderr


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["programs.pte", "state/adapter.safetensors"])
def test_a_file_that_changes_after_it_was_verified_is_refused(
    native: Path, toy: Path, tmp_path: Path, name: str
) -> None:
    """The same bytes under the same name, in a file that nobody hashed."""
    bundle = tmp_path / "bundle"
    shutil.copytree(toy, bundle)
    if name == "programs.pte":  # decode is mapped after all pictures were denoised
        rows = np.tile(IDS["input_ids"], (3, 1))
        tensor_file.write(tmp_path / "in.safetensors", {"input_ids": rows})
        words = ["generate", "--steps", "1000"]
    else:  # the adapter's first value is read again when the training ends
        tensor_file.write(tmp_path / "in.safetensors", inputs())
        words = ["personalize", "--steps", "3000"]
    words += ["--bundle", str(bundle), "--inputs", str(tmp_path / "in.safetensors")]
    with subprocess.Popen(
        [native / "pockettune-run", *words, "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        # Its output is far more than a pipe holds: it cannot end before we read it.
        assert json.loads(process.stdout.readline())["event"] in ("denoise", "prepare")
        other = bundle / "other"
        shutil.copy(bundle / name, other)
        other.rename(bundle / name)
        _, error = process.communicate()
    assert process.returncode == 13, error
    assert "was changed while it was in use" in error


@pytest.mark.parametrize("command", ["personalize", "generate", "run"])
def test_a_named_pipe_is_no_input(run: Run, toy: Path, tmp_path: Path, command: str) -> None:
    """Opening it would wait for somebody to write to it."""
    os.mkfifo(tmp_path / "pipe")
    words = ["--program", "decode"] if command == "run" else []
    options = ["--bundle", toy, "--inputs", tmp_path / "pipe", "--out", tmp_path / "out"]
    assert "is not a regular file" in run(command, *words, *options, status=3).stderr


def test_a_link_in_place_of_a_temporary_file_is_not_followed(
    run: Run, toy: Path, ids: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "out.safetensors.partial").symlink_to(precious)
    options = ["--inputs", ids, "--out", tmp_path / "out.safetensors"]
    run("run", "--bundle", toy, "--program", "encode_text", *options, status=3)
    assert precious.read_text() == "mine"


def test_two_writers_of_one_file_do_not_mix(run: Run, toy: Path, ids: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    command = ["run", "--bundle", toy, "--program", "encode_text", "--inputs", ids, "--out", out]
    with (tmp_path / "out.safetensors.partial").open("w") as other:
        other.write("half")
        other.flush()
        fcntl.lockf(other, fcntl.LOCK_EX)
        assert "another run is writing" in run(*command, status=3).stderr
        assert (tmp_path / "out.safetensors.partial").read_text() == "half"
    run(*command)  # what a killed writer left is no hindrance
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ids.safetensors", "out.safetensors"]


def test_other_people_s_partial_files_stay(
    run: Run, toy: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "film.partial").write_text("mine")
    (tmp_path / "result.json.partial").write_text("left by a killed run")
    run("personalize", "--bundle", toy, "--inputs", photos, "--out", tmp_path)
    assert (tmp_path / "film.partial").read_text() == "mine"
    assert not (tmp_path / "result.json.partial").exists()


def test_an_error_is_one_printable_line_whatever_names_hold(
    run: Run, toy_programs: bytes, tmp_path: Path
) -> None:
    programs = {"\x1b[31m\nred\r" * 500: next(iter(manifest()["programs"].values()))}
    bundle = write_toy(
        tmp_path / "bundle", toy_programs, programs=manifest()["programs"] | programs
    )
    error = run("bench", "--bundle", bundle, "--program", "evaluate\x07", status=30).stderr
    assert error.removesuffix("\n").isprintable()
    assert len(error) < 1100


def test_a_path_that_is_too_long_is_io_failed(run: Run, toy: Path, photos: Path) -> None:
    out = "x" * 300
    error = run("personalize", "--bundle", toy, "--inputs", photos, "--out", out, status=3).stderr
    assert "File name too long" in error


@pytest.mark.parametrize("where", ["the cache", "a picture", "a result"])
def test_a_full_disk_is_said_and_leaves_nothing(
    native: Path, toy: Path, photos: Path, ids: Path, tmp_path: Path, where: str
) -> None:
    out = tmp_path / "out"
    command: list[Any] = {
        "the cache": ["personalize", "--inputs", photos],
        "a picture": ["generate", "--inputs", ids],
        "a result": ["run", "--program", "encode_text", "--inputs", ids],
    }[where]
    command += ["--bundle", toy, "--out", out]
    status, error = limited(native, resource.RLIMIT_FSIZE, 64, *command)
    assert status == 4
    assert error.startswith("pockettune-run: disk_full: no room left for ")
    left = [out] if where == "a result" else list(out.rglob("*"))
    assert [p.name for p in left if p.is_file()] == (["lock"] if where == "the cache" else [])


def test_no_memory_is_said(native: Path, toy_programs: bytes, photos: Path, tmp_path: Path) -> None:
    """A moment of 64 GiB, declared as zeros."""
    members = manifest()
    members["tensors"]["moment1"] = {**members["tensors"]["moment1"], "shape": [2**31 - 1, 8]}
    for side in ("inputs", "outputs"):
        for argument in members["programs"]["train_step"][side]:
            if argument["name"] == "moment1":
                argument["shape"] = [2**31 - 1, 8]
    bundle = write_toy(tmp_path / "bundle", toy_programs, **members)
    command = ["personalize", "--bundle", bundle, "--inputs", photos, "--out", tmp_path / "out"]
    status, error = limited(native, resource.RLIMIT_AS, 2**31, *command)
    assert status == 6, error
    assert error.startswith("pockettune-run: out_of_memory: there is not enough memory; ")


def test_wherever_memory_ends_the_process_ends_with_words(
    native: Path, toy: Path, photos: Path, tmp_path: Path
) -> None:
    """More and more memory, until it is enough: in whichever thread it is missing."""
    command = ["personalize", "--bundle", toy, "--inputs", photos, "--steps", "2", "--out"]
    statuses: list[int] = []
    for kilobytes in range(16_000, 80_000, 500):
        limit = (kilobytes << 10, kilobytes << 10)
        done = subprocess.run(
            [native / "pockettune-run", *map(str, command), tmp_path / str(kilobytes)],
            capture_output=True,
            text=True,
            preexec_fn=partial(resource.setrlimit, resource.RLIMIT_AS, limit),
            timeout=60,
            check=False,
        )
        begun = done.stderr.startswith("pockettune-run: ") or done.returncode == 0
        if not (begun or statuses):
            continue  # the libraries cannot even be loaded, and say so themselves
        statuses.append(done.returncode)
        assert done.returncode in (0, 6, 31), (kilobytes, done.stderr)
        assert len(done.stderr.splitlines()) == (done.returncode != 0), done.stderr
        if statuses[-4:] == [0, 0, 0, 0]:
            break
    assert {0, 6} <= set(statuses)


@pytest.mark.parametrize("command", ["personalize", "generate", "run"])
def test_another_runtime_version_is_refused_before_anything_is_written(
    run: Run, toy_programs: bytes, photos: Path, tmp_path: Path, command: str
) -> None:
    bundle = write_toy(tmp_path / "bundle", toy_programs, tools={"executorch": "0.0.1"})
    words = ["--program", "decode"] if command == "run" else []
    options = ["--bundle", bundle, "--inputs", photos, "--out", tmp_path / "out"]
    error = run(command, *words, *options, status=15).stderr
    assert "made for executorch 0.0.1, this runner has " in error
    assert not (tmp_path / "out").exists()


STATE = {
    "missing": ("moment2", None),
    "another dtype": ("step", np.zeros(1, np.int32)),
    "another rank": ("adapter", np.zeros((4, 4), np.float32)),
    "fewer losses": ("losses", np.zeros(11, np.float32)),
}


@pytest.mark.parametrize("change", STATE)
def test_a_state_of_other_tensors_is_refused_and_kept(
    run: Run, toy: Path, photos: Path, tmp_path: Path, change: str
) -> None:
    command = ["personalize", "--bundle", toy, "--inputs", photos, "--out", tmp_path]
    run(*command)
    state = tmp_path / "work/state-00000012.safetensors"
    name, value = STATE[change]
    tensors = {**tensor_file.read(state), name: value}
    kept = {key: tensor for key, tensor in tensors.items() if tensor is not None}
    write_state(state, kept)
    before = files(tmp_path)
    assert f"'{name}'" in run(*command, status=21).stderr
    assert files(tmp_path) == before


def write_state(
    state: Path, tensors: dict[str, Any], metadata: dict[str, str] | None = None
) -> None:
    """A state with the same identity, unless it is given, and a hash that is right."""
    metadata = metadata or dict(tensor_file.read_header(state).metadata)
    tensor_file.write(state, tensors, metadata)
    data = state.read_bytes()[tensor_file.read_header(state).data :]
    tensor_file.write(state, tensors, metadata | {"sha256": hashlib.sha256(data).hexdigest()})


@pytest.mark.parametrize(
    ("changes", "said", "go_on"),
    [
        # The samples shrink with the steps; they are not what was changed.
        (
            {"--steps": 3},
            "samples was 5 and is 3, steps was 12 and is 3; go on with --steps 12,",
            True,
        ),
        ({"--steps": 13}, "steps was 12 and is 13; go on with --steps 12,", True),
        ({"--samples": 2}, "samples was 5 and is 2; go on with --samples 5,", True),
        (
            {"--seed": 7, "--learning-rate": 0.5},
            "learning_rate was 0.05 and is 0.5, seed was 0 and is 7;"
            " go on with --learning-rate 0.05, --seed 0,",
            True,
        ),
        ({"--inputs": "other"}, "; go on with the same --inputs, or begin anew", False),
        ({"--bundle": "other"}, "; go on with the same --bundle, or begin anew", False),
    ],
)
def test_what_differs_from_a_saved_run_is_said(
    run: Run,
    toy: Path,
    toy_programs: bytes,
    photos: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    said: str,
    go_on: bool,
) -> None:
    if "--inputs" in changes:
        changes = {"--inputs": tmp_path / "other.safetensors"}
        tensor_file.write(changes["--inputs"], inputs() | {"pixels": inputs()["pixels"] / 2})
    if "--bundle" in changes:
        changes = {"--bundle": write_toy(tmp_path / "other", toy_programs, name="other")}
    options = {"--bundle": toy, "--inputs": photos, "--out": tmp_path / "out"}
    run("personalize", *(word for pair in options.items() for word in pair))
    before = files(tmp_path / "out")
    words = [word for pair in (options | changes).items() for word in pair]
    error = run("personalize", *words, status=22).stderr
    assert error.startswith(f"pockettune-run: state_mismatch: '{tmp_path}/out/work/state-00000012")
    assert said in error
    assert error.endswith(", or begin anew in another --out folder\n")
    assert files(tmp_path / "out") == before
    if go_on:  # the advice is true: with it, the run is the same
        advice = error.split("; go on with ")[1].split(", or begin")[0].replace(",", "").split()
        whole = options | changes | dict(zip(advice[::2], advice[1::2], strict=True))
        done = run("personalize", *(word for pair in whole.items() for word in pair))
        assert '{"event":"resume","step":12}' in done.stdout


@pytest.mark.parametrize(
    ("before", "advice"), [("onnxruntime", "go on with an SDK by onnxruntime, or "), (None, "")]
)
def test_the_state_of_another_engine_is_not_gone_on_with(
    run: Run, toy: Path, photos: Path, tmp_path: Path, before: str | None, advice: str
) -> None:
    """Such as an SDK leaves behind, or a version that did not tell."""
    command = ["personalize", "--bundle", toy, "--inputs", photos, "--out", tmp_path]
    run(*command)
    state = tmp_path / "work/state-00000012.safetensors"
    metadata = dict(tensor_file.read_header(state).metadata)
    assert metadata.pop("engine") == "executorch"
    told = {"engine": before} if before else {}
    write_state(state, tensor_file.read(state), metadata | told)
    error = run(*command, status=22).stderr
    assert f"engine was {before or 'none'} and is executorch; {advice}begin anew" in error


def test_a_cache_of_more_samples_than_steps_says_how_to_keep_it(
    run: Run, toy: Path, photos: Path, tmp_path: Path
) -> None:
    command = ["personalize", "--bundle", toy, "--inputs", photos, "--out", tmp_path]
    run(*command)
    (tmp_path / "work/state-00000012.safetensors").unlink()
    error = run(*command, "--steps", 3, status=22).stderr
    assert "samples was 5 and is 3; go on with --samples 5 and at least as many --steps," in error


@pytest.mark.parametrize(
    ("changes", "command", "status", "said"),
    [
        ({"training": {"steps": 2**31 - 1}}, "personalize", 55, "give --steps of at most 10000000"),
        ({"generation": {"steps": 1001}}, "generate", 11, "1001 steps, more than its 1000"),
        ({"image": {"height": 2**31 - 1, "width": 2**31 - 1}}, "generate", 11, "picture's size"),
        ({"preparation": ["denoise"]}, "personalize", 11, "must fill caches of one scope"),
    ],
)
def test_bundles_that_no_run_can_follow_are_refused(
    run: Run,
    toy_programs: bytes,
    photos: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    command: str,
    status: int,
    said: str,
) -> None:
    whole = manifest()
    merged = {
        name: {**whole[name], **value} if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    bundle = write_toy(tmp_path / "bundle", toy_programs, **merged)
    options = ["--bundle", bundle, "--inputs", photos, "--out", tmp_path / "out"]
    assert said in run(command, *options, status=status).stderr


def with_argument(program: str, side: str, index: int, **changes: Any) -> dict[str, Any]:
    programs: dict[str, Any] = manifest()["programs"]
    programs[program][side][index] |= changes
    return programs


def test_numbers_and_photos_that_do_not_fit_an_input_are_refused(
    run: Run, toy_programs: bytes, photos: Path, tmp_path: Path
) -> None:
    generation = {**manifest()["generation"], "hyper": {"guidance": 1, "stride": 1e30}}
    programs = with_argument("denoise", "inputs", 4, binding="hyper.stride")
    bundle = write_toy(tmp_path / "a", toy_programs, generation=generation, programs=programs)
    options = ["--inputs", photos, "--out", tmp_path / "out"]
    error = run("generate", "--bundle", bundle, *options, status=11).stderr
    assert "hyper.stride does not fit an int64" in error
    # The program's own input is [1, 3, 8, 8]; photos of 4 x 16 would be read across their borders.
    image = {"height": SIZE // 2, "width": SIZE * 2}
    bundle = write_toy(tmp_path / "b", toy_programs, image=image)
    pixels = inputs()["pixels"].reshape(3, 3, SIZE // 2, SIZE * 2)
    tensor_file.write(tmp_path / "wide.safetensors", inputs() | {"pixels": pixels})
    options[1] = tmp_path / "wide.safetensors"
    error = run("personalize", "--bundle", bundle, *options, status=11).stderr
    assert "photos of another shape than [1,3,4,16]" in error


def test_a_program_of_photos_sees_the_subject_s_prompt(
    run: Run, toy_programs: bytes, photos: Path, tmp_path: Path
) -> None:
    """Three photos and one prompt: the third photo has no third prompt."""
    caches = manifest()["caches"]
    caches["hidden"] = {**caches["hidden"], "scope": "photo"}
    bundle = write_toy(tmp_path / "bundle", toy_programs, caches=caches)
    run("personalize", "--bundle", bundle, "--inputs", photos, "--out", tmp_path / "out")
    cache = tensor_file.read(tmp_path / "out/work/cache.bin")
    assert cache["hidden"].shape == (3, 1, 4, 2, 2)


def test_every_program_of_generation_may_use_the_state(
    run: Run, toy_programs: bytes, ids: Path, tmp_path: Path
) -> None:
    """The prompt's program takes its ids from a counter of zeros."""
    programs = with_argument("encode_text", "inputs", 0, binding="state.ids")
    counter = {"dtype": "int64", "shape": [1, LENGTH], "role": "counter", "file": None}
    tensors = manifest()["tensors"] | {"ids": counter}
    bundle = write_toy(tmp_path / "bundle", toy_programs, programs=programs, tensors=tensors)
    run("generate", "--bundle", bundle, "--inputs", ids, "--out", tmp_path / "out")
    assert (tmp_path / "out/picture-0000.png").exists()
