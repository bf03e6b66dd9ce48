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

from pockettune.errors import ConfigInvalid, PromptTooLong

__all__ = ["DEFAULT_TEMPLATE", "Tokenizer", "fill_template"]

DEFAULT_TEMPLATE = "a {subject} {class}"


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
    """

    def __init__(self, vocabulary: Path, merges: Path, text: Mapping[str, Any]) -> None:
        # Importing it takes a second: only those who tokenize shall wait.
        from transformers import CLIPTokenizer

        self._tokenizer = CLIPTokenizer(vocab=str(vocabulary), merges=str(merges))
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
