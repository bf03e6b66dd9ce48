"""Golden updates: one for each codec, and for what only a file of another writer would have."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pockettune import random, tensor_file
from pockettune.codecs import parse_codec
from pockettune.update import HEADER, SIGNATURE, Update, read_update, write_update

__all__ = [
    "BUNDLE_ID",
    "ROUND",
    "describe",
    "file_of",
    "laid_out",
    "members_and_parts",
    "updates",
    "written",
]

_Tensors: TypeAlias = Mapping[str, NDArray[np.float32]]

BUNDLE_ID = "5c" * 32
ROUND = 3

_SEED, _INDEX = 2**63 + 1, ((ROUND * 2**24) + 5) * 2**20
_LARGEST, _SMALLEST = np.finfo(np.float32).max, np.float32(2.0**-149)
# Halfway between two neighbors in float16, both ways; its least value; one that becomes 0.
_HALVES = [1 + 2**-11, 1 + 3 * 2**-11, 65504.0, -65504.0, 65519.0, 2**-24, 2**-25, -0.0]
_METRICS = {
    "accuracy": 1,
    "loss": 0.1,
    "norm": 1e-07,
    "zero": -0.0,
    "\u00fc": 1.7976931348623157e308,
}

_VALUES: _Tensors = {
    "layer.weight": random.normal(1, 5, 0, (3, 5)),
    "layer.bias": random.normal(1, 5, 1, (3,)),
    "gain": np.array(-0.75, np.float32),
}
_CODECS = (
    *("dense:f32", "dense:f16", *(f"affine:{bits}" for bits in range(2, 9))),
    *("affine:3:nearest", "affine:4:channel", "affine:5:channel:nearest"),
    *("sparse:0.25+dense:f32", "sparse:0.000000001+dense:f16", "sparse:1+affine:2"),
    *("sparse:0.3+affine:8", "sparse:0.40+affine:3:nearest"),
)


@dataclass(frozen=True, slots=True)
class Golden:
    """A file, and, when our writer makes it, the tensors that it makes it of."""

    data: bytes
    inputs: _Tensors | None = None


def updates() -> dict[str, Golden]:
    """Name -> golden update."""
    cases = {
        codec.replace(":", "_").replace("+", "_"): (codec, _VALUES, {"loss": 0.5})
        for codec in _CODECS
    }
    cases |= {
        "float32_edges": ("dense:f32", _one([_LARGEST, -_LARGEST, _SMALLEST, -0.0, 0.0]), {}),
        "float16_edges": ("dense:f16", _one(_HALVES), {}),
        "affine_edges": ("affine:2:nearest", _one([_LARGEST, -_LARGEST, _SMALLEST]), {}),
        "affine_alike": ("affine:4", _one([0.1] * 5), {}),
        "affine_scale_underflows": ("affine:8", _one([0.0, _SMALLEST]), {}),
        # Ties: the first of equal magnitudes are kept; a kept value may be 0.
        "sparse_ties": ("sparse:0.5+dense:f32", _one([1, -1, 1, -1, 0]), {}),
        "sparse_zeros": ("sparse:0.5+affine:2", _one([0] * 9), {}),
        # ceil(0.07 * 100) is 7, and 8 for those who multiply floats.
        "sparse_share_exact": ("sparse:0.07+dense:f16", _one(range(100)), {}),
        "eight_dimensions": (
            "affine:3:channel",
            {"a": np.ones((2, 1, 1, 3, 1, 1, 1, 2), "f4")},
            {},
        ),
    }
    files = {
        name: Golden(written(codec, tensors, metrics), tensors)
        for name, (codec, tensors, metrics) in cases.items()
    }
    return files | {name: Golden(data) for name, data in _foreign().items()}


def written(
    codec: str, tensors: _Tensors = _VALUES, metrics: Mapping[str, float] | None = None
) -> bytes:
    """The golden update with this codec."""
    update = Update("a+b", BUNDLE_ID, ROUND, 120, metrics or {}, tensors, "0f" * 16)
    return write_update(update, parse_codec(codec), _SEED, _INDEX)


def members_and_parts(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """A file's header and parts, to be changed."""
    header = tensor_file.header_of(data)
    parts = {name: part.copy() for name, part in tensor_file.tensors_of(data, header).items()}
    return json.loads(header.metadata[HEADER]), parts


def file_of(header: bytes | str, parts: Mapping[str, NDArray[Any]]) -> bytes:
    """A file with any header's text."""
    text = header if isinstance(header, str) else header.decode()
    return tensor_file.encode(parts, {HEADER: text})


def laid_out(data: bytes, order: Callable[[str], Any]) -> bytes:
    """The same parts, sorted otherwise."""
    header = tensor_file.header_of(data)
    names = sorted(header.entries, key=order)
    outer: dict[str, Any] = json.loads(data[8 : header.data])
    body = b""
    for name in names:
        entry = header.entries[name]
        part = data[header.data + entry.begin : header.data + entry.end]
        outer[name]["data_offsets"] = [len(body), len(body) + len(part)]
        body += part
    text = json.dumps(outer).encode()
    return len(text).to_bytes(8, "little") + text + body


def describe(name: str, golden: Golden) -> dict[str, Any]:
    """What ``expected.json`` says about a file. Seeds and indices are texts, as in random.json."""
    members, _ = members_and_parts(golden.data)
    entry: dict[str, Any] = {"name": f"{name}.safetensors", "header": members}
    if golden.inputs is not None:
        entry |= {"seed": str(_SEED), "index": str(_INDEX), "inputs": _bits(golden.inputs)}
    return {**entry, "decoded": _bits(read_update(golden.data).tensors)}


def _bits(tensors: _Tensors) -> list[list[int]]:
    """Each tensor's values as float32 bit patterns, in the header's order."""
    return [values.reshape(-1).view(np.uint32).tolist() for values in tensors.values()]


def _one(values: Any) -> _Tensors:
    return {"a": np.array(list(values), np.float32)}


def _foreign() -> dict[str, bytes]:
    """What another writer need not write alike, or our writer does not make: texts and numbers that
    JSON has several forms of; a signature, unknown members, spaces, another order of the parts."""
    # The first two are one text to those who normalize.
    names = ["\u00e9", "e\u0301", "", "\0", '"\\', "__metadata__", "~signature", "\U0001f438"]
    signed = written("affine:4")[:-64] + bytes(range(1, 65))
    members, parts = members_and_parts(written("affine:4"))
    members |= {"unknown": _nested(31), "signature": "", "round": ROUND}
    text = " " + json.dumps(members, ensure_ascii=False, indent=1) + "\n"
    return {
        "metrics": written("dense:f32", _one([1]), _METRICS),
        "names": written("affine:2", {name: np.ones(2, np.float32) for name in names}),
        "signed": signed,
        "tolerant": file_of(text, parts),
        # One-byte parts first, so that the floats lie at odd offsets.
        "unaligned": laid_out(
            written("affine:3"), lambda name: (name == SIGNATURE, "codes" not in name, name)
        ),
    }


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value
