"""Reading and writing the update, what a client sends (``spec/update.md``); NumPy only.

``read_update`` is strict: it checks sizes before it parses, the header before any tensor, and
allocates nothing that the limits do not allow. ``write_update`` writes only what it takes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pockettune import random, strict_json, tensor_file
from pockettune.codecs import Codec, OutOfRange, parse_codec
from pockettune.errors import (
    ConfigInvalid,
    TensorMismatch,
    UpdateInvalid,
    UpdateMismatch,
    UpdateOutOfRange,
)
from pockettune.files import open_plain, storage_errors

__all__ = ["HEADER", "SIGNATURE", "Limits", "Update", "feedback", "read_update", "write_update"]

HEADER, SIGNATURE = "pockettune.update", "~signature"

_FORMAT = 1
_STREAM = 48
_HEX64, _HEX32 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{32}")
_SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader takes at most: a file's bytes, those of its safetensors header, its tensors,
    and their elements together."""

    bytes: int = 2**30
    header: int = 2**24
    tensors: int = 10_000
    elements: int = 2**28


@dataclass(frozen=True, slots=True)
class Update:
    """What a client has learnt, ``tensors`` being the differences to what it was sent, float32.

    ``bundle_id`` is 64 lower-case hex digits, ``nonce`` 32: the server's word for this one update.
    ``samples`` is the number of examples it learnt from; ``metrics`` are finite numbers.
    """

    method: str
    bundle_id: str
    round: int
    samples: int
    metrics: Mapping[str, float]
    tensors: Mapping[str, NDArray[np.float32]]
    nonce: str = field(default="0" * 32)


def write_update(update: Update, codec: Codec, seed: int, index: int) -> bytes:
    """The update's file, its signature left empty. ``seed`` and ``index`` decide how values are
    rounded (``spec/random.md``, stream 48); the same arguments give the same bytes.

    Raises UpdateInvalid for what a reader would refuse, and of these UpdateOutOfRange for values
    that the codec cannot hold.
    """
    header = _header(update, codec)
    parts: dict[str, NDArray[Any]] = {}
    first_block = 0
    for position, (name, values) in enumerate(update.tensors.items()):

        def words(count: int, first: int = first_block) -> NDArray[np.uint64]:
            blocks = random.words(seed, _STREAM, index, first, -(-count // 4))
            return blocks.reshape(-1)[:count].astype(np.uint64)

        try:
            encoded = codec.encode(values, words)
        except OutOfRange as error:
            raise UpdateOutOfRange(f"tensor {name}", error) from error
        parts |= {f"{position}.{part}": value for part, value in encoded.items()}
        first_block += -(-values.size // 4)
    parts[SIGNATURE] = np.zeros(_SIGNATURE_BYTES, np.uint8)
    return tensor_file.encode(parts, {HEADER: header})


def read_update(
    source: bytes | Path,
    *,
    bundle_id: str | None = None,
    round: int | None = None,
    limits: Limits | None = None,
) -> Update:
    """The update in a file or its bytes; with ``bundle_id`` or ``round`` only for these.

    Raises SafetensorsInvalid, UpdateInvalid, UpdateMismatch when it belongs elsewhere, or IoFailed.
    """
    limits = limits or Limits()
    data = _bounded(source, limits)
    header = tensor_file.header_of(data)
    if set(header.metadata) != {HEADER}:
        raise UpdateInvalid("the file", f"its metadata is not {HEADER} alone")
    members = _members(header.metadata[HEADER], limits)
    for name, wanted in (("bundle_id", bundle_id), ("round", round)):
        if wanted is not None and members[name] != wanted:
            raise UpdateMismatch(name, members[name], wanted)
    codec = _codec(members["codec"])
    shapes = {entry["name"]: tuple(entry["shape"]) for entry in members["tensors"]}
    _check_parts(header, codec, list(shapes.values()))
    parts = tensor_file.tensors_of(data, header)
    tensors = {}
    for position, (name, shape) in enumerate(shapes.items()):
        own = {part: parts[f"{position}.{part}"] for part in codec.sizes(shape)}
        try:
            tensors[name] = codec.decode(own, shape)
        except ValueError as error:
            raise UpdateInvalid(f"tensor {name}", error) from error
    return Update(
        method=members["method"],
        bundle_id=members["bundle_id"],
        round=members["round"],
        samples=members["samples"],
        metrics={name: float(value) for name, value in members["metrics"].items()},
        tensors=tensors,
        nonce=members["nonce"],
    )


def feedback(
    tensors: Mapping[str, NDArray[np.float32]],
    residual: Mapping[str, NDArray[np.float32]] | None,
    codec: Codec,
    seed: int,
    index: int,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Error feedback (F. Seide et al., Interspeech 2014; S. Karimireddy et al., arXiv 1901.09847).

    Adds what earlier updates lost to ``tensors``. Returns what to send and what ``codec`` will lose
    of it when it is written with the same ``seed`` and ``index``: the next call's ``residual``.
    Raises TensorMismatch for a ``residual`` of other tensors, and as ``write_update`` does.
    """
    for name, values in tensors.items():
        kept = values if residual is None else residual.get(name)
        if kept is None or kept.shape != values.shape:
            found = "missing in the residual" if kept is None else f"float32 {list(kept.shape)}"
            raise TensorMismatch(name, found, f"float32 {list(values.shape)}")
    sent = {
        name: values if residual is None else values + residual[name]
        for name, values in tensors.items()
    }
    probe = Update("", "0" * 64, 0, 1, {}, sent)
    arrived = read_update(write_update(probe, codec, seed, index)).tensors
    return sent, {name: values - arrived[name] for name, values in sent.items()}


def _bounded(source: bytes | Path, limits: Limits) -> bytes:
    """The file's bytes, unless it or its safetensors header is longer than the limits."""
    if isinstance(source, bytes):
        data = source
    else:
        with storage_errors("read", source), open_plain(source) as file:
            data = file.read(limits.bytes + 1)
    if len(data) > limits.bytes:
        raise UpdateInvalid("the file", f"it has more than {limits.bytes} bytes")
    length = int.from_bytes(data[:8], "little")
    if len(data) >= 8 and length > limits.header:
        raise UpdateInvalid("the file", f"a header of {length} bytes, more than {limits.header}")
    return data


def _header(update: Update, codec: Codec) -> str:
    """The header's text, which has passed the reader's own rules."""
    for name, values in update.tensors.items():
        if values.dtype != np.float32:
            raise UpdateInvalid(f"tensor {name}", f"it is {values.dtype}, not float32")
    members = {
        "format": _FORMAT,
        "method": update.method,
        "codec": codec.name,
        "bundle_id": update.bundle_id,
        "round": update.round,
        "samples": update.samples,
        "nonce": update.nonce,
        "metrics": dict(update.metrics),
        "tensors": [
            {"name": name, "shape": list(values.shape)} for name, values in update.tensors.items()
        ],
    }
    try:
        text = strict_json.encode(members).decode("ascii")
    except (ValueError, TypeError) as error:
        raise UpdateInvalid("the header", error) from error
    _members(text, Limits())
    return text


def _codec(text: str) -> Codec:
    try:
        codec = parse_codec(text)
    except ConfigInvalid as error:
        raise UpdateInvalid("codec", error) from error
    if codec.name != text:
        raise UpdateInvalid("codec", f"it is written {codec.name}")
    return codec


def _members(text: str, limits: Limits) -> dict[str, Any]:
    """The header's members, each checked."""
    try:
        members = strict_json.decode(text.encode())
    except ValueError as error:
        raise UpdateInvalid("the header", error) from error
    if not isinstance(members, dict):
        raise UpdateInvalid("the header", "it is not a JSON object")
    whole = {"round": (0, 2**63), "samples": (1, 2**53)}
    if type(members.get("format")) is not int or members["format"] != _FORMAT:
        raise UpdateInvalid("format", f"it is not {_FORMAT}")
    for name in ("method", "codec", "bundle_id", "nonce"):
        if not isinstance(members.get(name), str):
            raise UpdateInvalid(name, "it is not a text")
    for name, (low, high) in whole.items():
        if type(members.get(name)) is not int or not low <= members[name] < high:
            raise UpdateInvalid(name, f"it is not an integer from {low} to below {high}")
    for name, pattern in (("bundle_id", _HEX64), ("nonce", _HEX32)):
        if not pattern.fullmatch(members[name]):
            raise UpdateInvalid(name, "it is not lower-case hex of its length")
    metrics = members.get("metrics")
    if not isinstance(metrics, dict) or not all(
        type(value) in (int, float) for value in metrics.values()
    ):
        raise UpdateInvalid("metrics", "it is not an object of numbers")
    _check_tensors(members.get("tensors"), limits)
    return members


def _check_tensors(tensors: Any, limits: Limits) -> None:
    if not isinstance(tensors, list) or not 1 <= len(tensors) <= limits.tensors:
        raise UpdateInvalid("tensors", f"it is not a list of 1 to {limits.tensors}")
    names: set[str] = set()
    elements = 0
    for entry in tensors:
        if not isinstance(entry, dict) or entry.keys() != {"name", "shape"}:
            raise UpdateInvalid("tensors", "an entry does not have exactly name and shape")
        name, shape = entry["name"], entry["shape"]
        if not isinstance(name, str) or name in names:
            raise UpdateInvalid("tensors", "a name is not a text, or there twice")
        valid = isinstance(shape, list) and len(shape) <= 8
        if not valid or not all(type(size) is int and 1 <= size < 2**31 for size in shape):
            raise UpdateInvalid(f"tensor {name}", "its shape is not valid")
        names.add(name)
        elements += math.prod(shape)
        if elements > limits.elements:
            raise UpdateInvalid("tensors", f"they have more than {limits.elements} elements")


def _check_parts(header: tensor_file.Header, codec: Codec, shapes: list[tuple[int, ...]]) -> None:
    """The file holds exactly the parts that the header and the codec ask for."""
    wanted = {
        f"{position}.{part}": size
        for position, shape in enumerate(shapes)
        for part, size in codec.sizes(shape).items()
    }
    wanted[SIGNATURE] = ("uint8", (_SIGNATURE_BYTES,))
    if header.entries.keys() != wanted.keys():
        odd = min(header.entries.keys() ^ wanted.keys())
        raise UpdateInvalid(f"part {odd}", "it is missing, or not of this codec")
    for name, (dtype, shape) in wanted.items():
        entry = header.entries[name]
        if (entry.dtype, entry.shape) != (dtype, shape):
            expected = f"{dtype} {list(shape)}"
            raise UpdateInvalid(f"part {name}", f"it is {entry.describe()}, not {expected}")
    if list(header.entries)[-1] != SIGNATURE:
        raise UpdateInvalid("the signature", "it is not the last part")
