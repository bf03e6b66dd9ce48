"""A byte-pair tokenizer in CLIP's format, learned from the captions.

It can spell any text (all bytes are in it), and has a token of its own for every word of the
captions and for `EXTRA`: words of prompts that captions do not have, `sks` among them.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from pockettune.models.starter.networks import MAX_TOKENS

__all__ = ["learn", "write_classic_files"]

VOCABULARY: Final = 2400  # learned tokens; a net this small does not need more
EXTRA: Final = "sks zwx ohwx toy thing animal object fruit face photo picture of my the and with"
END_OF_WORD: Final = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"
WORDS: Final = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # as in CLIP


def learn(captions: Iterable[str], folder: Path) -> CLIPTokenizer:
    """Learn from captions, and write and return the tokenizer."""
    learner = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD, unk_token=END))
    learner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[START, END],
        initial_alphabet=alphabet,
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    learner.train_from_iterator([*captions, *[EXTRA] * 3000], trainer)
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    # CLIP's order: single bytes, bytes that end a word, merges, and the two marks last.
    words = [*alphabet, *(byte + END_OF_WORD for byte in alphabet)]
    seen = set(words) | {START, END}
    words += [
        word for word in sorted(learned["vocab"], key=learned["vocab"].get) if word not in seen
    ]
    vocabulary = {word: index for index, word in enumerate([*words, START, END])}

    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_classic_files(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write `vocab.json` and `merges.txt`, which readers outside Python know, to `folder`."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    lines = ["#version: 0.2", *(" ".join(merge) for merge in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
