"""Hostile updates: each breaks one rule of ``spec/update.md``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pockettune import tensor_file
from pockettune.update import HEADER, SIGNATURE
from pockettune.vectors.updates import file_of, laid_out, members_and_parts, written

__all__ = ["Case", "updates"]

_Parts: TypeAlias = dict[str, NDArray[Any]]
_Change: TypeAlias = Callable[[dict[str, Any], _Parts], object]

_DENSE, _AFFINE, _CHANNEL = "dense:f32", "affine:4", "affine:3:channel"
_SPARSE = "sparse:0.3+affine:8"
# Codecs that no reader knows, and spellings that one language's parser would take.
_CODECS = {
    "unknown": "zip:9",
    "empty": "",
    "dense_alone": "dense",
    "float64": "dense:f64",
    "upper_case": "Dense:f32",
    "space": " dense:f32",
    "newline": "dense:f32\n",
    "bits_one": "affine:1",
    "bits_nine": "affine:9",
    "bits_sixteen": "affine:16",
    "bits_zero": "affine:0",
    "bits_negative": "affine:-4",
    "bits_leading_zero": "affine:04",
    "bits_fullwidth": "affine:\uff14",
    "options_swapped": "affine:4:nearest:channel",
    "option_twice": "affine:4:channel:channel",
    "share_zero": "sparse:0.0+affine:8",
    "share_beyond_one": "sparse:1.5+affine:8",
    "share_negative": "sparse:-0.3+affine:8",
    "share_nan": "sparse:nan+affine:8",
    "share_exponent": "sparse:3e-1+affine:8",
    "share_point_first": "sparse:.3+affine:8",
    "share_underscore": "sparse:0.3_0+affine:8",
    "share_arabic": "sparse:0.\u0663+affine:8",
    "share_ten_digits": "sparse:0.3000000000+affine:8",
    "inner_missing": "sparse:0.3",
    "inner_empty": "sparse:0.3+",
    "inner_sparse": "sparse:0.3+sparse:0.3+affine:8",
    "inner_channel": "sparse:0.3+affine:8:channel",
}


@dataclass(frozen=True, slots=True)
class Case:
    """A file, the code that it is refused with, and what the reader was told to expect."""

    data: bytes
    code: str = "update_invalid"
    expected: dict[str, Any] = field(default_factory=dict)


def updates() -> dict[str, Case]:
    """Name -> hostile update."""
    cases = {name: Case(data) for name, data in _invalid()}
    good = written(_AFFINE)
    for name, data in {
        "empty": b"",
        "cut": good[:-1],
        "byte_after_signature": good + b"\0",
        "outer_duplicate_key": _outer(good, b'{"~signature":{},'),
    }.items():
        cases[name] = Case(data, "safetensors_invalid")
    cases["other_round"] = Case(good, "update_mismatch", {"round": 4})
    cases["other_bundle"] = Case(good, "update_mismatch", {"bundle_id": "5d" * 32})
    # The order of the rules: what it belongs to comes before how it is encoded.
    other = _changed(_AFFINE, _member("codec", "zip:9"))
    cases["other_round_and_codec"] = Case(other, "update_mismatch", {"round": 4})
    other = _changed(_AFFINE, _member("samples", 0))
    cases["other_round_and_samples"] = Case(other, "update_invalid", {"round": 4})
    return cases


def _invalid() -> Iterator[tuple[str, bytes]]:
    yield "length_of_header", (2**24 + 1).to_bytes(8, "little") + written(_AFFINE)[8:]
    yield from _bad_texts()
    for name in json.loads(tensor_file.header_of(written(_DENSE)).metadata[HEADER]):
        yield f"without_{name}", _changed(_DENSE, _without(name))
    for name, text in _CODECS.items():
        yield f"codec_{name}", _changed(_AFFINE, _member("codec", text))
    for name, (codec, change) in {**_bad_members(), **_bad_parts()}.items():
        yield name, _changed(codec, change)
    first = laid_out(written(_DENSE), lambda name: name != SIGNATURE)
    yield "signature_not_last", first


def _bad_texts() -> Iterator[tuple[str, bytes]]:
    """Headers whose text is not a JSON object, or not a strict one."""
    members, parts = members_and_parts(written(_DENSE))
    good = json.dumps(members, separators=(",", ":"))
    texts = {
        "list": f"[{good}]",
        "number": "1",
        "null": "null",
        "text": '"format"',
        "nothing": "",
        "cut": good[:-1],
        "two_documents": good + "{}",
        "byte_order_mark": "\ufeff" + good,
        "duplicate_member": good.replace('"round":3', '"round":3,"round":4'),
        "duplicate_escaped": good.replace('"round":3', '"round":3,"r\\u006fund":4'),
        "duplicate_metric": good.replace('"metrics":{', '"metrics":{"a":1,"a":2'),
        "metric_nan": good.replace('"metrics":{', '"metrics":{"a":NaN'),
        "metric_overflows": good.replace('"metrics":{', '"metrics":{"a":1e999'),
        "metric_endless": good.replace('"metrics":{', '"metrics":{"a":' + "9" * 400),
        "lone_surrogate": good.replace('"a+b"', '"\\ud800"'),
        "too_deep": good.replace('"round"', '"x":' + "[" * 32 + "]" * 32 + ',"round"'),
    }
    for name, text in texts.items():
        yield f"header_{name}", file_of(text, parts)
    yield "metadata_none", tensor_file.encode(parts)
    yield "metadata_more", tensor_file.encode(parts, {HEADER: good, "format": "pt"})
    yield "metadata_other", tensor_file.encode(parts, {"pockettune": good})


def _bad_members() -> dict[str, tuple[str, _Change]]:
    values: dict[str, tuple[str, Any]] = {
        "format_two": ("format", 2),
        "format_true": ("format", True),
        "format_float": ("format", 1.0),
        "format_text": ("format", "1"),
        "method_number": ("method", 1),
        "codec_null": ("codec", None),
        "codec_other": ("codec", "dense:f16"),
        "bundle_id_upper_case": ("bundle_id", "5C" * 32),
        "bundle_id_newline": ("bundle_id", "5c" * 32 + "\n"),
        "bundle_id_short": ("bundle_id", "5c" * 31),
        "nonce_short": ("nonce", "0f"),
        "nonce_number": ("nonce", 0),
        "round_negative": ("round", -1),
        "round_float": ("round", 3.0),
        "round_true": ("round", True),
        "round_large": ("round", 2**63),
        "samples_zero": ("samples", 0),
        "samples_text": ("samples", "120"),
        "samples_large": ("samples", 2**53),
        "metrics_list": ("metrics", []),
        "metric_text": ("metrics", {"loss": "low"}),
        "metric_true": ("metrics", {"loss": True}),
        "metric_null": ("metrics", {"loss": None}),
        "tensors_object": ("tensors", {"a": [1]}),
        "tensors_none": ("tensors", []),
        "tensors_twice": ("tensors", [{"name": "a", "shape": [3]}] * 2),
        "tensor_text": ("tensors", ["a"]),
        "tensor_name_number": ("tensors", [{"name": 1, "shape": [3]}]),
        "tensor_without_shape": ("tensors", [{"name": "a"}]),
        "tensor_member_unknown": ("tensors", [{"name": "a", "shape": [3], "dtype": "F32"}]),
        "shape_number": ("tensors", [{"name": "a", "shape": 3}]),
        "shape_zero": ("tensors", [{"name": "a", "shape": [0]}]),
        "shape_negative": ("tensors", [{"name": "a", "shape": [-3, -1]}]),
        "shape_float": ("tensors", [{"name": "a", "shape": [3.0]}]),
        "shape_true": ("tensors", [{"name": "a", "shape": [True]}]),
        "shape_large": ("tensors", [{"name": "a", "shape": [2**31]}]),
        "shape_nine_dimensions": ("tensors", [{"name": "a", "shape": [1] * 9}]),
        # 2^64 and 2^66 elements, which are 0 in 64 bits.
        "elements_wrap": ("tensors", [{"name": "a", "shape": [2**16] * 4}]),
        "elements_wrap_in_sum": ("tensors", [{"name": c, "shape": [2**16] * 4} for c in "abcd"]),
        "elements_enormous": ("tensors", [{"name": "a", "shape": [2**31 - 1] * 8}]),
        "elements_one_too_many": ("tensors", [{"name": "a", "shape": [2**14, 2**14]}, _scalar()]),
    }
    cases = {name: (_DENSE, _member(*value)) for name, value in values.items()}
    for codec in ("affine:2", "sparse:0.000000001+dense:f32"):
        name = "elements_10_to_the_12_" + codec.partition(":")[0]
        shape = [10**6, 10**6]
        cases[name] = (codec, _member("tensors", [{"name": "a", "shape": shape}]))
    return cases


def _bad_parts() -> dict[str, tuple[str, _Change]]:
    def floats(*values: float) -> NDArray[np.float32]:
        return np.array(values, np.float32)

    def codes(*values: int) -> NDArray[np.uint8]:
        return np.array(values, np.uint8)

    # 15 values, of which ceil(0.3 * 15) = 5 are kept.
    parts: dict[str, tuple[str, str, NDArray[Any]]] = {
        "part_extra": (_AFFINE, "0.more", floats(0)),
        "part_of_another_tensor": (_AFFINE, "3.low", floats(0)),
        "part_leading_zero": (_AFFINE, "00.low", floats(0)),
        "values_dtype": (_DENSE, "1.values", np.ones(3, np.int32)),
        "values_half": (_DENSE, "1.values", np.ones(3, np.float16)),
        "values_shape": (_DENSE, "1.values", np.ones((3, 1), np.float32)),
        "value_nan": (_DENSE, "1.values", floats(0, np.nan, 0)),
        "value_infinite": (_DENSE, "1.values", floats(0, 0, -np.inf)),
        "value_half_infinite": ("dense:f16", "1.values", np.array([0, np.inf, 0], np.float16)),
        "value_half_nan": ("dense:f16", "1.values", np.array([0, np.nan, 0], np.float16)),
        "value_kept_nan": ("sparse:0.25+dense:f32", "0.values", floats(1, 2, 3, np.nan)),
        "low_infinite": (_AFFINE, "0.low", floats(-np.inf)),
        "low_nan": (_CHANNEL, "0.low", floats(0, 0, np.nan)),
        "low_scalar": (_AFFINE, "0.low", np.array(0, np.float32)),
        "scale_nan": (_AFFINE, "0.scale", floats(np.nan)),
        "scale_infinite": (_AFFINE, "0.scale", floats(np.inf)),
        "scale_negative": (_AFFINE, "0.scale", floats(-1)),
        "scales_too_few": (_CHANNEL, "0.scale", floats(1, 1)),
        "scales_too_many": (_CHANNEL, "0.scale", floats(1, 1, 1, 1)),
        "value_overflows": (_AFFINE, "0.scale", floats(3e38)),
        "codes_short": (_AFFINE, "0.codes", codes(*[0] * 7)),
        "codes_long": (_AFFINE, "0.codes", codes(*[0] * 9)),
        "codes_dtype": (_AFFINE, "0.codes", np.zeros(8, np.int8)),
        "codes_two_dimensions": (_AFFINE, "0.codes", np.zeros((2, 4), np.uint8)),
        "bits_left_over": (_AFFINE, "0.codes", codes(*[0] * 7, 0x10)),
        "bit_left_over_last": (_CHANNEL, "0.codes", codes(*[0] * 5, 0x80)),
        "mask_short": (_SPARSE, "0.mask", codes(0x1F)),
        "mask_long": (_SPARSE, "0.mask", codes(0x1F, 0, 0)),
        "mask_empty": (_SPARSE, "0.mask", codes(0, 0)),
        "mask_one_fewer": (_SPARSE, "0.mask", codes(0x0F, 0)),
        "mask_one_more": (_SPARSE, "0.mask", codes(0x3F, 0)),
        "mask_full": (_SPARSE, "0.mask", codes(0xFF, 0x7F)),
        "mask_left_over": (_SPARSE, "0.mask", codes(0x0F, 0x80)),
        "kept_more_than_the_share": (_SPARSE, "0.codes", codes(*[0] * 6)),
        "kept_left_over": ("sparse:0.40+affine:3:nearest", "0.codes", codes(0, 0, 0x80)),
        "signature_short": (_AFFINE, SIGNATURE, codes(*[0] * 63)),
        "signature_long": (_AFFINE, SIGNATURE, codes(*[0] * 65)),
        "signature_dtype": (_AFFINE, SIGNATURE, np.zeros(16, np.int32)),
    }
    cases: dict[str, tuple[str, _Change]] = {
        name: (codec, _part(part, value)) for name, (codec, part, value) in parts.items()
    }
    for part in ("0.codes", "0.low", "0.scale", "2.codes", SIGNATURE):
        cases[f"part_missing_{part.strip('~')}"] = (_AFFINE, _part_missing(part))
    cases["share_exceeded"] = ("sparse:0.25+dense:f32", _keep_everything)
    cases["tensor_fewer"] = (_DENSE, lambda members, _: members["tensors"].pop())
    cases["tensor_more"] = (_DENSE, lambda members, _: members["tensors"].append(_scalar()))
    cases["shape_transposed"] = (_DENSE, lambda m, _: m["tensors"][0].update(shape=[5, 3]))
    return cases


def _keep_everything(_: dict[str, Any], parts: _Parts) -> None:
    """Mask and values agree with one another, and not with the codec's share."""
    parts["0.mask"] = np.array([0xFF, 0x7F], np.uint8)
    parts["0.values"] = np.ones(15, np.float32)


def _scalar() -> dict[str, Any]:
    return {"name": "z", "shape": []}


def _member(name: str, value: Any) -> _Change:
    return lambda members, _: members.__setitem__(name, value)


def _without(name: str) -> _Change:
    return lambda members, _: members.pop(name)


def _part(name: str, value: NDArray[Any]) -> _Change:
    return lambda _, parts: parts.__setitem__(name, value)


def _part_missing(name: str) -> _Change:
    return lambda _, parts: parts.pop(name)


def _changed(codec: str, change: _Change) -> bytes:
    members, parts = members_and_parts(written(codec))
    change(members, parts)
    return file_of(json.dumps(members, separators=(",", ":")), parts)


def _outer(data: bytes, start: bytes) -> bytes:
    """The file with another beginning of its safetensors header."""
    header = tensor_file.header_of(data)
    text = start + data[9 : header.data]
    return len(text).to_bytes(8, "little") + text + data[header.data :]
