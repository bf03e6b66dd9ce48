"""Prompts: templates, and token ids as the pipeline's own tokenizer gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pockettune.errors import (
    BundleCorrupt,
    BundleManifestInvalid,
    ConfigInvalid,
    PocketTuneError,
    PromptTooLong,
)
from pockettune.models.starter import PATH
from pockettune.prompts import Tokenizer, fill_template

ROOT = Path(__file__).parent.parent
FOLDER = PATH / "tokenizer"
START, END = 2619, 2620  # tokenizer_config.json's <|startoftext|> and <|endoftext|> in vocab.json


def tokenizer(padding: int = END) -> Tokenizer:
    text = {"max_length": 24, "unconditional_ids": [START, END] + [padding] * 22}
    return Tokenizer(FOLDER / "vocab.json", FOLDER / "merges.txt", text)


def test_templates() -> None:
    assert fill_template("a {subject} {class}", "sks", "frog") == "a sks frog"
    assert fill_template("a photo of {subject}", "sks", "frog") == "a photo of sks"
    assert fill_template("a {subject} {class}, flat style", "", "frog") == "a frog, flat style"


@pytest.mark.parametrize(
    "template", ["a frog", "a {subject} {color}", "a {subject", "{}", "{subject.x}", "{subject!z}"]
)
def test_a_wrong_template(template: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"\{subject\}"):
        fill_template(template, "sks", "frog")


@pytest.mark.parametrize(
    "prompt", ["a sks bear on a blue background, flat style", "A  Bear!", "", "naïve 🐸 frog's 3d"]
)
def test_ids_are_those_of_the_pipelines_own_tokenizer(prompt: str) -> None:
    from transformers import CLIPTokenizer

    own = CLIPTokenizer.from_pretrained(FOLDER)
    expected = own([prompt], padding="max_length", max_length=24).input_ids
    encoded = tokenizer().encode([prompt])
    assert encoded.dtype == np.int64
    np.testing.assert_array_equal(encoded, expected)


VECTORS = json.loads((ROOT / "spec/vectors/sdk/tokenizer.json").read_text())


@pytest.mark.parametrize("row", VECTORS["files"], ids=lambda row: row["name"])
def test_files_of_a_vocabulary(row: dict[str, Any], tmp_path: Path) -> None:
    """The rows with their codes are the SDKs' too; damaged files are named."""
    vocabulary, merges = tmp_path / "vocab.json", tmp_path / "merges.txt"
    vocabulary.write_bytes(row["vocab"].encode())
    merges.write_bytes(row["merges"].encode())
    text = {"max_length": 4, "unconditional_ids": [0, 1, 1, 1]}
    if "ids" in row:
        assert Tokenizer(vocabulary, merges, text).encode(["ab"]).tolist() == [row["ids"]]
        return
    with pytest.raises(PocketTuneError, match=f"^{tmp_path}/.* is corrupt: ") as caught:
        Tokenizer(vocabulary, merges, text)
    assert caught.value.code == row["code"]


def test_a_vocabulary_that_no_reader_takes(tmp_path: Path) -> None:
    large, binary = tmp_path / "large.json", tmp_path / "binary.txt"
    with large.open("wb") as file:
        file.truncate(2**24 + 1)
    binary.write_bytes(b"\xff")
    text = {"max_length": 4, "unconditional_ids": [0, 1, 1, 1]}
    with pytest.raises(BundleCorrupt, match="more than 16777216 bytes"):
        Tokenizer(large, binary, text)
    with pytest.raises(BundleCorrupt, match="byte 0 is not UTF-8"):
        Tokenizer(FOLDER / "vocab.json", binary, text)
    with pytest.raises(BundleCorrupt, match="more than 16777216 bytes"):
        Tokenizer(FOLDER / "vocab.json", large, text)
    with pytest.raises(BundleManifestInvalid, match="leaves no place for a word"):
        Tokenizer(FOLDER / "vocab.json", FOLDER / "merges.txt", {**text, "unconditional_ids": [0]})


def test_padding_is_the_bundles() -> None:
    row = tokenizer(padding=0).encode(["a frog"])[0]
    assert row[0] == START
    assert list(row).index(END) == 3
    assert (row[4:] == 0).all()


def test_a_prompt_is_never_cut_off() -> None:
    fits = " ".join(["a"] * 22)
    assert tokenizer().encode([fits]).shape == (1, 24)
    assert tokenizer().fits(fits)
    assert not tokenizer().fits(fits + " a")
    with pytest.raises(PromptTooLong, match="has 23 tokens, and the text encoder takes at most 22"):
        tokenizer().encode([fits + " a"])
