"""Safetensors files, read strictly and written deterministically (``spec/bundle.md``, section 7).

A file comes from a stranger as often as from us. The usual readers accept what this project cannot:
what one of them takes, all of ours have to take in the same way. So the header is policed here, and
the data is then mapped, not copied.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pockettune import strict_json
from pockettune.errors import SafetensorsInvalid, TensorMismatch
from pockettune.files import open_plain, storage_errors, write_atomically

__all__ = [
    "ITEM_BYTES",
    "Entry",
    "Header",
    "check_entries",
    "encode",
    "header_of",
    "read",
    "read_header",
    "tensors_of",
    "write",
]

ITEM_BYTES = {"float32": 4, "float16": 2, "int64": 8, "int32": 4, "uint8": 1, "int8": 1}

_NAMES = {
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "I32": "int32",
    "U8": "uint8",
    "I8": "int8",
}
_CODES = {name: code for code, name in _NAMES.items()}
_MEMBERS = {"dtype", "shape", "data_offsets"}
_ALIGNMENT = 8
_MOST_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file; ``begin`` and ``end`` are bytes from the start of the data."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    def describe(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about itself: entries in order of offset; the data starts at ``data``."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    data: int


def read_header(path: Path) -> Header:
    """The checked header of a file; no tensor is read.

    Raises ``SafetensorsInvalid`` for a broken rule, ``IoFailed`` when the file cannot be read.
    """
    with storage_errors("read", path), open_plain(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        prefix = file.read(8)
        if len(prefix) < 8:
            raise SafetensorsInvalid(path, f"{len(prefix)} bytes are too few for a header length")
        length = int.from_bytes(prefix, "little")
        if length > min(strict_json.LONGEST, size - 8):
            raise SafetensorsInvalid(path, f"a header of {length} bytes in a file of {size}")
        text = file.read(length)
    try:
        return _checked(text, size - 8 - length)
    except ValueError as error:
        raise SafetensorsInvalid(path, str(error)) from None


def header_of(data: bytes) -> Header:
    """The checked header of a file that is in memory. Raises ``SafetensorsInvalid``."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(strict_json.LONGEST, len(data) - 8):
        reason = f"{len(data)} bytes do not hold a header of {length}"
        raise SafetensorsInvalid("The file", reason)
    try:
        return _checked(data[8 : 8 + length], len(data) - 8 - length)
    except ValueError as error:
        raise SafetensorsInvalid("The file", str(error)) from None


def tensors_of(data: bytes, header: Header) -> dict[str, NDArray[Any]]:
    """The tensors of a file in memory by name, as read-only views of ``data``."""
    return _views(np.frombuffer(data, np.uint8), header, header.entries)


def read(
    path: Path, expected: Mapping[str, tuple[str, tuple[int, ...]]] | None = None
) -> dict[str, NDArray[Any]]:
    """The tensors of a file by name, as read-only views of the mapped file.

    With ``expected`` (name -> dtype and shape) only those are returned, and one that is not there
    or is something else raises ``TensorMismatch``.
    """
    header = read_header(path)
    if expected is not None:
        check_entries(header, expected)
    with storage_errors("read", path), open_plain(path) as file:
        mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    return _views(mapped, header, header.entries if expected is None else expected)


def _views(
    file: NDArray[np.uint8], header: Header, names: Iterable[str]
) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {}
    for name in names:
        entry = header.entries[name]
        data = file[header.data + entry.begin : header.data + entry.end]
        tensors[name] = data.view(_little_endian(entry.dtype)).reshape(entry.shape)
    return tensors


def check_entries(header: Header, expected: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Raises ``TensorMismatch`` unless every expected name is there with its dtype and shape."""
    for name, (dtype, shape) in expected.items():
        entry = header.entries.get(name)
        if entry is None or (entry.dtype, entry.shape) != (dtype, shape):
            found = "missing" if entry is None else entry.describe()
            raise TensorMismatch(name, found, f"{dtype} {list(shape)}")


def write(
    path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes ``encode(tensors, metadata)`` to a file. Raises ``DiskFull`` or ``IoFailed``, too."""
    write_atomically(path, encode(tensors, metadata))


def encode(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> bytes:
    """A file's bytes, which depend on names, values and metadata only.

    Wide dtypes come first, then names, so that every tensor lies aligned. Raises ``ValueError`` for
    a dtype that the format lacks, or more tensors than a header can name.
    """
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    pieces: list[bytes] = []
    end = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        dtype = str(tensors[name].dtype)
        if dtype not in _CODES or name == "__metadata__":
            raise ValueError(f"a file cannot hold the tensor {name!r} with dtype {dtype}")
        pieces.append(np.asarray(tensors[name], _little_endian(dtype)).tobytes())
        begin, end = end, end + len(pieces[-1])
        header[name] = {
            "dtype": _CODES[dtype],
            "shape": tensors[name].shape,
            "data_offsets": (begin, end),
        }
    text = strict_json.encode(header)
    strict_json.check_size(text)
    text += b" " * (-len(text) % _ALIGNMENT)
    return b"".join((len(text).to_bytes(8, "little"), text, *pieces))


def _little_endian(dtype: str) -> np.dtype[Any]:
    return np.dtype(dtype).newbyteorder("<")


def _checked(text: bytes, data_bytes: int) -> Header:
    """The header of a file with ``data_bytes`` after it; ``ValueError`` names the broken rule."""
    padded = text.rstrip(b" ")
    if not (padded.startswith(b"{") and padded.endswith(b"}")):
        raise ValueError("its header is not a JSON object with spaces after it")
    members = strict_json.decode(padded)
    metadata = members.pop("__metadata__", {})
    if not (isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())):
        raise ValueError("__metadata__ is not an object of texts")
    found = {name: _entry(name, member) for name, member in members.items()}
    entries = dict(sorted(found.items(), key=lambda item: (item[1].begin, item[1].end)))
    position = 0
    for name, entry in entries.items():
        if entry.begin != position:
            raise ValueError(f"tensor {ascii(name)[:80]} begins at {entry.begin}, not {position}")
        position = entry.end
    if position != data_bytes:
        raise ValueError(f"its tensors take {position} bytes, and {data_bytes} are there")
    return Header(entries, metadata, 8 + len(text))


def _entry(name: str, member: Any) -> Entry:
    label = f"tensor {ascii(name)[:80]}"
    if not (isinstance(member, dict) and member.keys() == _MEMBERS):
        raise ValueError(f"{label} does not have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = member["dtype"], member["shape"], member["data_offsets"]
    if not (isinstance(dtype, str) and dtype in _NAMES):
        raise ValueError(f"{label} has none of the dtypes {', '.join(_NAMES)}")
    if not (_integers(shape, 1, 2**31) and len(shape) <= _MOST_DIMENSIONS):
        raise ValueError(f"{label} has no valid shape")
    if not (_integers(offsets, 0, 2**53) and len(offsets) == 2):
        raise ValueError(f"{label} has no valid data_offsets")
    begin, end = offsets
    if end - begin != prod(shape) * ITEM_BYTES[_NAMES[dtype]]:
        raise ValueError(f"{label} has {end - begin} bytes, which do not fit its shape {shape}")
    return Entry(_NAMES[dtype], tuple(shape), begin, end)


def _integers(value: Any, low: int, high: int) -> bool:
    return isinstance(value, list) and all(type(x) is int and low <= x < high for x in value)
