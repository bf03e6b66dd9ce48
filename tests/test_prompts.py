"""Prompts: templates, and token ids as the pipeline's own tokenizer gives them."""

from __future__ import annotations

import numpy as np
import pytest

from pockettune.errors import ConfigInvalid, PromptTooLong
from pockettune.models.starter import PATH
from pockettune.prompts import Tokenizer, fill_template

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
