"""Vectors for the phone SDKs (``docs/sdk.md``): prompts and signatures.

Token ids are those of transformers' CLIP tokenizer; keys and one signature are RFC 6979's.
"""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pockettune.errors import BundleError, PromptTooLong
from pockettune.prompts import Tokenizer

__all__ = ["KEY", "prompts", "signatures"]

# RFC 6979, A.2.5: a published key, for tests alone.
KEY = ec.derive_private_key(
    0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721, ec.SECP256R1()
)
_OTHER = ec.derive_private_key(1, ec.SECP256R1())
_SAMPLE = (
    "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
    "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
)

_PROMPTS = (
    "",
    "   ",
    "frog",
    "a sks frog",
    "A Photo  of\tMY\nfrog",
    "don't you're we've I'll he'd it's I'm",
    "'s 'S 't'T",
    "2024: 3 frogs, 1/2 price!",
    "3.14159",
    "hello---world!!! (maybe?)",
    "na\u00efve caf\u00e9",
    "cafe\u0301",
    "\u00c5ngstr\u00f6m \u212bngstr\u00f6m",
    "\u01c5 \u0130stanbul \u1e9e\u00df",
    "\u4f60\u597d",
    "\U0001f438 \U0001f468\u200d\U0001f469",
    "\u0645\u0631\u062d\u0628\u0627",
    "\u2167 \u00b2 \u0663",
    "a_b-c+d=e",
    "tab\u00a0nbsp\u3000wide\u2003em",
    "zero\u200bwidth",
    "<|endoftext|>",
    "a <|endoftext|> b",
    "a<|startoftext|>b",
    "<|ENDOFTEXT|>",
    "xxxxxxxxxxxxxxxx",
    "supercalifragilistic",
    " ".join(["frog"] * 22),
    " ".join(["frog"] * 23),
    "word " * 100,
)


_TOKENS = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2, "b</w>": 3, "ab</w>": 4}
_VOCABULARY, _MERGES = json.dumps(_TOKENS), "#version: 0.2\na b</w>\n"
_FILES: dict[str, tuple[str, str]] = {
    "sound": (_VOCABULARY, _MERGES),
    "without merges": (_VOCABULARY, ""),
    "lines of another system": (_VOCABULARY, "#version: 0.2\r\n\r\na b</w>\r\n"),
    "an open end": (_VOCABULARY, "a b</w>"),
    "empty": ("", _MERGES),
    "not JSON": (_VOCABULARY[:-1], _MERGES),
    "a list": ("[]", _MERGES),
    "nothing": ("null", _MERGES),
    "a token twice": (_VOCABULARY.replace('"a"', '"a": 7, "a"'), _MERGES),
    "an id with a point": (_VOCABULARY.replace("2", "2.0"), _MERGES),
    "an id as text": (_VOCABULARY.replace("2", '"2"'), _MERGES),
    "an id below 0": (_VOCABULARY.replace("2", "-2"), _MERGES),
    "an id of 2^31": (_VOCABULARY.replace("2", str(2**31)), _MERGES),
    "no start": (_VOCABULARY.replace("<|start", "<|begin"), _MERGES),
    "no end": (_VOCABULARY.replace("<|end", "<|stop"), _MERGES),
    "one token": (_VOCABULARY, "a\n"),
    "three tokens": (_VOCABULARY, "a b</w> a\n"),
    "two spaces": (_VOCABULARY, "a  b</w>\n"),
    "a tab": (_VOCABULARY, "a\tb</w>\n"),
    "a space before": (_VOCABULARY, " a b</w>\n"),
    "no left token": (_VOCABULARY, " a\n"),
    "an empty token": (_VOCABULARY.replace('"a"', '"": 7, "a"'), " a\n"),
    "a merge of no token": (_VOCABULARY, "a a\n"),
    "a left token unknown": (_VOCABULARY.replace('"a"', '"c"'), _MERGES),
    "a right token unknown": (_VOCABULARY.replace('"b</w>"', '"c"'), _MERGES),
}


def _tokenizer_files() -> list[dict[str, Any]]:
    """Vocabularies and merges as texts, and the code with which a tokenizer refuses them."""
    text = {"max_length": 4, "unconditional_ids": [0, 1, 1, 1]}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        vocab, merges = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        for name, (words, pairs) in _FILES.items():
            vocab.write_bytes(words.encode())
            merges.write_bytes(pairs.encode())
            row = {"name": name, "vocab": words, "merges": pairs}
            try:
                rows.append(
                    row | {"ids": Tokenizer(vocab, merges, text).encode(["ab"])[0].tolist()}
                )
            except BundleError as error:
                rows.append(row | {"code": error.code})
    return rows


def prompts(vocabulary: Path, merges: Path) -> dict[str, Any]:
    """``sdk/tokenizer.json``: prompts with their ids, or the code with which they are refused; and
    files of a vocabulary with the ids that they give the prompt "ab", or the code again."""
    text = {"max_length": 24, "unconditional_ids": [2619, *[2620] * 23]}
    tokenizer = Tokenizer(vocabulary, merges, text)
    rows: list[dict[str, Any]] = []
    for prompt in _PROMPTS:
        try:
            rows.append({"prompt": prompt, "ids": tokenizer.encode([prompt])[0].tolist()})
        except PromptTooLong as error:
            rows.append({"prompt": prompt, "code": error.code})
    return {**text, "prompts": rows, "files": _tokenizer_files()}


def signatures() -> dict[str, Any]:
    """``sdk/signatures.json``: keys (base64 of SubjectPublicKeyInfo), messages and bundles."""
    key, other = _public(KEY), _public(_OTHER)
    sample = base64.b64encode(bytes.fromhex(_SAMPLE)).decode("ascii")
    swapped = base64.b64encode(bytes.fromhex(_SAMPLE[64:] + _SAMPLE[:64])).decode("ascii")
    nothing = base64.b64encode(bytes(64)).decode("ascii")
    message = base64.b64encode(b"sample").decode("ascii")
    empty = ""
    return {
        "messages": [
            {"key": key, "message": message, "signature": sample, "valid": True},
            {"key": other, "message": message, "signature": sample, "valid": False},
            {"key": key, "message": empty, "signature": sample, "valid": False},
            {"key": key, "message": message, "signature": swapped, "valid": False},
            {"key": key, "message": message, "signature": nothing, "valid": False},
        ],
        "bundles": [
            {"bundle": "bundle_signed", "key": key, "code": None},
            {"bundle": "bundle_signed", "key": other, "code": "bundle_signature_invalid"},
            {"bundle": "bundle", "key": key, "code": "bundle_signature_invalid"},
        ],
    }


def _public(key: ec.EllipticCurvePrivateKey) -> str:
    encoded = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(encoded).decode("ascii")
