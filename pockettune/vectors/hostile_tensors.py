"""Hostile tensor files: each breaks one rule of ``spec/bundle.md``, section 7."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["tensor_files"]


def tensor_files() -> dict[str, bytes]:
    """Name -> bytes; a reader refuses every one with ``safetensors_invalid``."""
    return {**_bad_lengths(), **_bad_json(), **_bad_layouts(), **_bad_entries()}


def _file(header: bytes | dict[str, Any], data: int = 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(range(data))


def _entry(begin: int = 0, end: int = 8, **members: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [(end - begin) // 4], "data_offsets": [begin, end], **members}


def _bad_lengths() -> dict[str, bytes]:
    good = _file({"a": _entry()})
    return {
        "empty": b"",
        "no_length": good[:7],
        "no_header": bytes(8),
        "length_beyond_file": (len(good) - 7).to_bytes(8, "little") + good[8:],
        "length_negative_as_signed": (2**64 - 1).to_bytes(8, "little") + good[8:],
        "length_wraps": (2**64 - 8).to_bytes(8, "little") + good[8:],
        "length_large": (100_000_001).to_bytes(8, "little") + good[8:],
        "length_one_short": (len(good) - 17).to_bytes(8, "little") + good[8:],
        "data_short": good[:-1],
        "data_long": good + b"\0",
        "data_missing": good[:-8],
    }


def _bad_json() -> dict[str, bytes]:
    one = json.dumps(_entry()).encode()
    good = b'{"a":' + one + b"}"
    return {
        "not_json": _file(b"{a}"),
        "not_an_object": _file(b"[" + one + b"]"),
        "not_utf8": _file(b'{"\xff":' + one + b"}"),
        "overlong_utf8": _file(b'{"\xc0\xaf":' + one + b"}"),
        "byte_order_mark": _file(b"\xef\xbb\xbf" + good),
        "space_before": _file(b" " + good),
        "newline_after": _file(good + b"\n"),
        "zeros_after": _file(good + bytes(3)),
        "two_documents": _file(good + good),
        "trailing_comma": _file(good[:-1] + b",}"),
        "comment": _file(good[:-1] + b"/**/}"),
        "duplicate_tensor": _file(b'{"a":' + one + b',"a":' + one + b"}"),
        "duplicate_tensor_escaped": _file(b'{"a":' + one + b',"\\u0061":' + one + b"}"),
        "duplicate_metadata": _file(b'{"__metadata__":{},"__metadata__":{},' + good[1:]),
        "duplicate_member": _file(good.replace(b'"dtype"', b'"dtype":"F32","dtype"')),
        # With the other 9 of the document, one value more than is allowed.
        "too_many_values": _file(b'{"__metadata__":' + _texts(2**16 - 8) + b"," + good[1:]),
        "too_deep": _file(b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
        "control_character": _file(b'{"\n":' + one + b"}"),
        "lone_surrogate": _file(b'{"\\ud800":' + one + b"}"),
        "number_infinite": _file(good.replace(b"[2]", b"[1e999]")),
        "number_nan": _file(good.replace(b"[2]", b"[NaN]")),
        "number_leading_zero": _file(good.replace(b"[2]", b"[02]")),
        "number_endless": _file(good.replace(b"[2]", b"[" + b"9" * 5000 + b"]")),
    }


def _texts(count: int) -> bytes:
    return json.dumps({f"{key:x}": "" for key in range(count)}, separators=(",", ":")).encode()


def _bad_layouts() -> dict[str, bytes]:
    return {
        "hole_at_start": _file({"a": _entry(4, 8)}),
        "hole_between": _file({"a": _entry(0, 4), "b": _entry(8, 12)}, 12),
        "hole_at_end": _file({"a": _entry(0, 4)}),
        "overlap": _file({"a": _entry(0, 8), "b": _entry(4, 12)}, 12),
        "same_bytes_twice": _file({"a": _entry(), "b": _entry()}),
        "beyond_data": _file({"a": _entry(0, 12)}),
        "offsets_swapped": _file({"a": _entry(shape=[2], data_offsets=[8, 0])}),
        "no_tensors_but_data": _file({}),
        "metadata_only_but_data": _file({"__metadata__": {"format": "pt"}}),
    }


def _bad_entries() -> dict[str, bytes]:
    def without(key: str) -> dict[str, Any]:
        return {name: value for name, value in _entry().items() if name != key}

    broken: dict[str, Any] = {
        "entry_null": None,
        "entry_list": ["F32", [2], [0, 8]],
        "no_dtype": without("dtype"),
        "no_shape": without("shape"),
        "no_offsets": without("data_offsets"),
        "member_unknown": _entry(stride=1),
        "dtype_unknown": _entry(dtype="F64", shape=[1]),
        "dtype_bfloat16": _entry(dtype="BF16", shape=[4]),
        "dtype_lower_case": _entry(dtype="f32"),
        "dtype_number": _entry(dtype=32),
        "shape_short": _entry(shape=[1]),
        "shape_long": _entry(shape=[3]),
        "shape_number": _entry(shape=2),
        "shape_float": _entry(shape=[2.0]),
        "shape_boolean": _entry(shape=[True, 2]),
        "shape_text": _entry(shape=["2"]),
        "shape_null": _entry(shape=[None]),
        "shape_negative": _entry(shape=[-1, -2]),
        "shape_nested": _entry(shape=[[2]]),
        "shape_nine_dimensions": _entry(shape=[1] * 8 + [2]),
        "shape_too_large": _entry(shape=[2**31], dtype="U8", data_offsets=[0, 2**31]),
        # (2^30 + 1) * 2^30 * 4 elements * 4 bytes = 2^64 + 2^34, which is 2^34 in 64 bits.
        "shape_wraps_to_small": _entry(0, 2**34, shape=[2**30 + 1, 2**30, 4]),
        "offsets_one": _entry(data_offsets=[8]),
        "offsets_three": _entry(data_offsets=[0, 8, 8]),
        "offsets_negative": _entry(data_offsets=[-8, 0]),
        "offsets_float": _entry(data_offsets=[0.0, 8.0]),
        "offsets_exponent": b'{"dtype":"F32","shape":[2],"data_offsets":[0,8e0]}',
        "offsets_text": _entry(data_offsets=["0", "8"]),
        "offsets_object": _entry(data_offsets={"begin": 0, "end": 8}),
        "offsets_wrap": _entry(data_offsets=[2**64, 2**64 + 8]),
    }
    files = {
        name: _file({"a": entry})
        if not isinstance(entry, bytes)
        else _file(b'{"a":' + entry + b"}")
        for name, entry in broken.items()
    }
    # These claim no data and get none: data alone would be a reason to refuse them.
    for name, shape in {
        "shape_zero": [0],
        "shape_wraps": [2**31 - 1, 2**31 - 1, 4, 4],
        # 65536^4 = 2^64 elements, which is 0 in 64 bits.
        "shape_wraps_to_zero": [65536] * 4,
        # 2^62 elements fit, and their 2^64 bytes are 0 in 64 bits.
        "shape_bytes_wrap_to_zero": [2**30, 2**30, 4],
    }.items():
        files[name] = _file({"a": _entry(0, 0, shape=shape)}, 0)
    for name, metadata in {
        "metadata_text": "pt",
        "metadata_list": ["pt"],
        "metadata_null": None,
        "metadata_number": {"step": 1},
        "metadata_nested": {"format": {"name": "pt"}},
    }.items():
        files[name] = _file({"__metadata__": metadata, "a": _entry()})
    return files
