"""Every error: its place in spec/errors.json, and its exact sentence."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from pockettune import errors
from pockettune.errors import PocketTuneError

SPEC = Path(__file__).parent.parent / "spec" / "errors.json"

SENTENCES = [
    (
        errors.Bug("a.log"),
        "This is a bug of ours, not a mistake of yours; please report a.log.",
    ),
    (
        errors.Usage("unknown option --rnak", "python -m export"),
        "unknown option --rnak; run `python -m export --help` to see what is valid.",
    ),
    (
        errors.IoFailed("read", "a.png", "Permission denied"),
        "Cannot read a.png: Permission denied; check that the path is right and that you may read"
        " it.",
    ),
    (
        errors.DiskFull("out"),
        "The disk filled up while out was written; nothing was lost: free some space and run the"
        " command again.",
    ),
    (
        errors.Interrupted("SIGINT"),
        "Stopped by SIGINT; run the same command again to go on from the last saved state.",
    ),
    (
        errors.OutOfMemory("use a smaller model"),
        "There is not enough memory; what was saved stays valid: close other programs, or use a"
        " smaller model.",
    ),
    (
        errors.BundleNotFound("out"),
        "There is no bundle at out: it has no manifest.json; give a folder that"
        " `python -m export` has written.",
    ),
    (
        errors.BundleManifestInvalid("out", "training.steps", "'steps' is 0"),
        "The manifest of out is not valid at 'training.steps': 'steps' is 0; export the bundle"
        " again.",
    ),
    (
        errors.BundleManifestInvalid("out", "", "it is empty"),
        "The manifest of out is not valid: it is empty; export the bundle again.",
    ),
    (
        errors.BundleFormatUnsupported("out", 2, [1]),
        "The bundle out has format 2, and this version reads 1; update PocketTune or export the"
        " bundle again.",
    ),
    (
        errors.BundleCorrupt("out/a.pte", "it has 3 bytes, not 4"),
        "out/a.pte is corrupt: it has 3 bytes, not 4; copy or export the bundle again.",
    ),
    (
        errors.BundlePathInvalid("../a", "its part '..' is not allowed"),
        "The bundle's file name '../a' is not allowed: its part '..' is not allowed; valid are"
        " relative paths of 1 to 4 parts of letters, digits, '.', '_' and '-': export the bundle"
        " again.",
    ),
    (
        errors.EngineVersionMismatch("ExecuTorch", "1.4.0", "1.5.1"),
        "The bundle was made for ExecuTorch 1.4.0, and this is 1.5.1; install the bundle's version"
        " or export the bundle again.",
    ),
    (
        errors.SafetensorsInvalid("a.safetensors", "tensor 'a' overlaps"),
        "a.safetensors is not a valid safetensors file: tensor 'a' overlaps; write or download it"
        " again.",
    ),
    (
        errors.TensorMismatch("adapter", "float32 [3]", "float32 [4]"),
        "Tensor 'adapter' is float32 [3], not float32 [4]; use a file that was made for this"
        " bundle.",
    ),
    (
        errors.StateMismatch("state.safetensors", "seed", 1, 2),
        "The saved state state.safetensors has seed 1, and this run has 2; run with the same"
        " inputs and settings, or into another folder.",
    ),
    (
        errors.ProgramMissing("train", ["decode", "train_step"]),
        "The bundle has no program 'train'; choose one of decode, train_step.",
    ),
    (
        errors.EngineFailed("decode", "error 0x23"),
        "The runtime cannot run the program 'decode': error 0x23; check the bundle with"
        " `pockettune-run verify` and export it again.",
    ),
    (
        errors.LossNotFinite(7, float("nan"), 0.1),
        "The loss became nan at step 7 with learning rate 0.1; the last good state is kept: start"
        " again in another folder with a lower learning rate.",
    ),
    (
        errors.AdapterUnchanged(1, 1e-9),
        "Training for 1 steps with learning rate 1e-09 left the adapter as it was, so none was"
        " written; train longer or with a higher learning rate.",
    ),
    (
        errors.PhotosUnreadable("photos", "it holds none"),
        "Cannot use photos as photos: it holds none; give a folder with 3 to 6 photos of one"
        " subject as PNG, JPEG or WebP.",
    ),
    (
        errors.PhotosTooFew("photos", 1, 3),
        "photos holds 1 photos, and at least 3 are needed; add more photos of the subject.",
    ),
    (
        errors.PromptTooLong("a frog", 80, 77),
        "The prompt 'a frog' has 80 tokens, and the text encoder takes at most 77; shorten it.",
    ),
    (
        errors.ModelNotFound("nowhere", "no such folder"),
        "There is no model 'nowhere': no such folder; give 'starter', a folder in diffusers format"
        " (with model_index.json) or a hub name like 'owner/name'.",
    ),
    (
        errors.ModelComponentMissing("model", "vae"),
        "The model model has no usable 'vae'; use a complete Stable Diffusion folder: tokenizer,"
        " text_encoder, vae, unet, scheduler.",
    ),
    (
        errors.ModelUnsupported("block", "MidBlock", ["UpBlock2D", "DownBlock2D"]),
        "The model's block 'MidBlock' is not supported; valid: UpBlock2D, DownBlock2D: use a model"
        " in Stable Diffusion 1.x or 2.x form.",
    ),
    (
        errors.ModelNotFinite("model", "conv_in.weight"),
        "The model model holds NaN or infinity in 'conv_in.weight'; download or train it again.",
    ),
    (
        errors.CutIllegal("D", ["A", "B", "none"], "it has two levels"),
        "The cut 'D' is not legal for this net: it has two levels; choose one of A, B, none.",
    ),
    (
        errors.ConfigInvalid("rank", 0, "1 to 1024"),
        "The setting 'rank' cannot be '0'; valid: 1 to 1024.",
    ),
    (
        errors.ParityFailed("decode", "image", 0.25, 1e-4, ["aten.mm", "aten.add"]),
        "The lowered program 'decode' gives another 'image' than PyTorch: difference 0.25,"
        " tolerance 0.0001, first wrong operators aten.mm, aten.add; no bundle was written: report"
        " this with your command.",
    ),
    (
        errors.LoweringFailed("decode", "aten.sort", "no kernel"),
        "The program 'decode' cannot be lowered at 'aten.sort': no kernel; no bundle was written:"
        " report this with your command.",
    ),
    (
        errors.ToolMissing("cmake", "pip install cmake"),
        "This command needs 'cmake', which is not here; run `pip install cmake`.",
    ),
    (
        errors.UpdateInvalid("tensor conv1.weight", "a scale is negative"),
        "The update is not valid: tensor conv1.weight: a scale is negative; have the client write"
        " it again.",
    ),
    (
        errors.UpdateMismatch("round", 3, 4),
        "The update is for round 3, and 4 is expected; have the client fetch the current round.",
    ),
    (
        errors.RoundFailed(7, {"empty": 2, "diverged": 1}),
        "Round 7 has no client left to learn from (diverged: 1, empty: 2); lower the learning rate,"
        " or ask clients that have data.",
    ),
    (
        errors.DataNotFound("fashion-mnist", ["apt-get install it", "a folder with it"]),
        "The data set 'fashion-mnist' is not here; get it by one of: apt-get install it; a folder"
        " with it.",
    ),
    (
        errors.DataInvalid("watch", "watch_dataset.npy", "too short"),
        "The file watch_dataset.npy of the data set 'watch' cannot be used: too short; get it"
        " again.",
    ),
    (
        errors.BundleSignatureInvalid("out", "it is not signed"),
        "The bundle out does not bear the signature that was asked for: it is not signed; use a"
        " bundle of that key's owner, or the key that signed it.",
    ),
    (
        errors.PartitionImpossible("natural", 20, "it has 14 natural users"),
        "The partition 'natural' for 20 clients is not possible: it has 14 natural users; ask for"
        " fewer clients or another partition.",
    ),
]


def test_codes_statuses_and_meanings_are_those_of_the_spec() -> None:
    rows = [row for row in json.loads(SPEC.read_text())["errors"] if row.get("only") != "sdk"]
    kinds = errors.error_types()
    assert list(kinds) == [row["code"] for row in rows]
    for row in rows:
        kind = kinds[row["code"]]
        assert kind.exit_status == row["exit"]
        assert (kind.__doc__ or "").startswith(row["meaning"])
        assert kind.__name__.lower() == row["code"].replace("_", "")


def test_the_docstring_draws_every_error() -> None:
    for kind in errors.error_types().values():
        assert f"── {kind.__name__} " in (errors.__doc__ or "")
        assert kind.__name__ in errors.__all__


@pytest.mark.parametrize(("error", "sentence"), SENTENCES)
def test_sentences(error: PocketTuneError, sentence: str) -> None:
    assert str(error) == sentence


def test_every_error_has_its_sentence_tested() -> None:
    assert {type(error) for error, _ in SENTENCES} == set(errors.error_types().values())


@pytest.mark.parametrize("error", [error for error, _ in SENTENCES])
def test_errors_travel_between_processes(error: PocketTuneError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(copy), str(copy)) == (type(error), str(error))


def test_a_sentence_written_elsewhere_is_kept() -> None:
    assert errors.error_types()["update_invalid"] is errors.UpdateInvalid
    error = errors.error_types()["disk_full"].from_sentence("The disk is full.")
    assert isinstance(error, errors.DiskFull)
    assert str(error) == "The disk is full."


def test_hostile_values_stay_short_and_printable() -> None:
    sentence = str(errors.BundlePathInvalid("\x1b[31m\n" * 100, "it is odd"))
    assert sentence.isprintable()
    assert len(sentence) < 400
