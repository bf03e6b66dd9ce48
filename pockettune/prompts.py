"""Words into the numbers that a bundle's text encoder takes.

The vocabulary comes from the bundle, so that a person's machine needs no model. A prompt is never
cut off in silence: what a person wrote and what the model reads are the same, or it is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pockettune import strict_json
from pockettune.errors import BundleCorrupt, BundleManifestInvalid, ConfigInvalid, PromptTooLong
from pockettune.files import open_plain, storage_errors

__all__ = ["DEFAULT_TEMPLATE", "Tokenizer", "fill_template"]

DEFAULT_TEMPLATE = "a {subject} {class}"

_MARKS = ("<|startoftext|>", "<|endoftext|>")
_IDS = 2**31


def fill_template(template: str, subject: str, class_word: str) -> str:
    """The prompt for a subject, or for its class when ``subject`` is empty.

    Raises ConfigInvalid for other fields than ``{subject}`` and ``{class}``, or without a subject.
    """
    valid = "a text with {subject}, and with {class} if you like"
    try:
        text = template.format_map({"subject": subject, "class": class_word})
    except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        raise ConfigInvalid("template", template, valid) from error
    if "{subject}" not in template:
        raise ConfigInvalid("template", template, valid)
    return " ".join(text.split())


class Tokenizer:
    """CLIP's tokenizer over the vocabulary of a bundle.

    ``text`` is the manifest's member; ``unconditional_ids`` there (start, end, padding...) is also
    where start, end and padding are learnt from, since models differ in what they pad with.

    Raises BundleCorrupt for files that are no vocabulary and merges (``spec/bundle.md``, section
    3), BundleManifestInvalid where no prompt could fit, IoFailed.
    """

    def __init__(self, vocabulary: Path, merges: Path, text: Mapping[str, Any]) -> None:
        if len(text["unconditional_ids"]) < 2:
            folder = vocabulary.parent
            raise BundleManifestInvalid(folder, "text.max_length", "it leaves no place for a word")
        ids = _read_vocabulary(vocabulary)
        pairs = _read_merges(merges, ids)
        # Importing it takes a second: only those who tokenize shall wait.
        from transformers import CLIPTokenizer

        self._tokenizer = CLIPTokenizer(vocab=ids, merges=pairs)
        self._limit: int = text["max_length"]
        self._start, self._end = text["unconditional_ids"][:2]
        self._padding = text["unconditional_ids"][-1]

    def encode(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Prompts as int64 ``[n, max_length]``. Raises PromptTooLong."""
        return np.stack([self._encode_one(prompt) for prompt in prompts])

    def fits(self, prompt: str) -> bool:
        """Whether ``encode`` takes the prompt."""
        try:
            self._encode_one(prompt)
        except PromptTooLong:
            return False
        return True

    def _encode_one(self, prompt: str) -> NDArray[np.int64]:
        words = self._tokenizer(prompt, add_special_tokens=False).input_ids
        if len(words) + 2 > self._limit:
            raise PromptTooLong(prompt, len(words), self._limit - 2)
        row = np.full(self._limit, self._padding, dtype=np.int64)
        row[: len(words) + 2] = [self._start, *words, self._end]
        return row


def _read(path: Path) -> bytes:
    with storage_errors("read", path), open_plain(path) as file:
        content = file.read(strict_json.LONGEST + 1)
    if len(content) > strict_json.LONGEST:
        raise BundleCorrupt(path, f"it has more than {strict_json.LONGEST} bytes")
    return content


def _read_vocabulary(path: Path) -> dict[str, int]:
    """The id of each token."""
    try:
        ids = strict_json.decode(_read(path))
    except ValueError as error:
        raise BundleCorrupt(path, f"it is no vocabulary ({error})") from error
    if not isinstance(ids, dict):
        raise BundleCorrupt(path, "it is no vocabulary (not a JSON object)")
    for token, number in ids.items():
        if type(number) is not int or not 0 <= number < _IDS:
            raise BundleCorrupt(path, f"the id of {ascii(token)[:80]} is no integer below 2^31")
    for mark in _MARKS:
        if mark not in ids:
            raise BundleCorrupt(path, f"it is no vocabulary (it lacks {mark})")
    return ids


def _read_merges(path: Path, ids: Mapping[str, int]) -> list[tuple[str, str]]:
    """The pairs of tokens that become one, the most frequent first."""
    try:
        text = _read(path).decode()
    except UnicodeDecodeError as error:
        raise BundleCorrupt(path, f"byte {error.start} is not UTF-8") from error
    pairs: list[tuple[str, str]] = []
    for ending in text.split("\n"):
        line = ending.removesuffix("\r")
        if not line or line.startswith("#version"):
            continue
        left, _, right = line.partition(" ")
        if not {left, right, left + right} <= ids.keys() or "" in (left, right):
            raise BundleCorrupt(path, f"{ascii(line)[:80]} is no merge of its vocabulary")
        pairs.append((left, right))
    return pairs
