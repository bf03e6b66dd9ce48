"""Strict JSON: the same documents as elsewhere, and fewer."""

from __future__ import annotations

import json
from types import MappingProxyType

import pytest

from pockettune import strict_json


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1, -2, 2.5, 1e-7, true, false, null], "b": {"a": "\\u00fc \\ud83d\\udc38"}}',
        "[" * 32 + "]" * 32,
        '"\u00fc"',
        "0",
    ],
)
def test_valid_documents_are_read_as_elsewhere(text: str) -> None:
    assert strict_json.decode(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": 1, "a": 1}', "the key 'a' occurs twice in one object"),
        (b'[{"b": {"a": 1, "\\u0061": 1}}]', "the key 'a' occurs twice in one object"),
        (b"[" * 33 + b"]" * 33, "more than 32 levels"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "more than 32 levels"),
        (b"[" * 50_000, "more than 32 levels"),
        (b"[" * 10**6, "more than 65536 values"),
        (b" " * (2**24 + 1), "more than 16777216 bytes"),
        (b"NaN", "NaN is not a finite number"),
        (b"[-Infinity]", "-Infinity is not a finite number"),
        (b"-1e400", "-1e400 is not a finite number"),
        (b"1" + b"0" * 309, "10000000000000000000... is not a finite number"),
        (b"1" * 100_000, "11111111111111111111... is not a finite number"),
        (b'"\xff"', "byte 1 is not UTF-8"),
        (b'"\\udc00"', "a text holds a lone surrogate"),
        (b'{"\\udc00": 1}', "a text holds a lone surrogate"),
        (b"\xef\xbb\xbf1", "not JSON at character 0"),
        (b"", "not JSON at character 0"),
        (b"1 2", "not JSON at character 2"),
        (b"[1,]", "not JSON at character 3"),
        (b'"\n"', "not JSON at character 1"),
    ],
)
def test_everything_else_is_refused_with_a_reason(text: bytes, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        strict_json.decode(text)
    assert str(caught.value).startswith(reason)


def test_a_value_has_one_form() -> None:
    value = {"b": (1, 0.1, 1e-05, 1e16), "a": MappingProxyType({"\u00fc": None})}
    assert strict_json.encode(value) == b'{"a":{"\\u00fc":null},"b":[1,0.1,1e-05,1e+16]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_has_no_form(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        strict_json.encode({"a": value})


def test_what_json_cannot_hold_has_no_form() -> None:
    with pytest.raises(TypeError, match="bytes is not a JSON value"):
        strict_json.encode({"a": b""})
