"""The delegate's graph in its binary format, with whatever occurs twice written once.

The library goes through JSON and a compiler of the format, which write every shape anew: a fifth of
a payload. The format (FlatBuffers) refers to vectors, texts and tables by offsets, so readers do
not see whether two of them are one. Fields with their default value take no room either.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import flatbuffers
from executorch.backends.xnnpack import serialization
from executorch.backends.xnnpack.serialization.xnnpack_graph_schema import XNNGraph
from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader
from flatbuffers import number_types

__all__ = ["payload"]

_HEADER_BYTES = 32
_SCALARS = {
    "short": number_types.Int16Flags,
    "ushort": number_types.Uint16Flags,
    "int": number_types.Int32Flags,
    "uint": number_types.Uint32Flags,
    "uint64": number_types.Uint64Flags,
    "float": number_types.Float32Flags,
}
_DEFINITION = re.compile(r"\b(table|union|enum)\s+(\w+)[^{]*\{([^}]*)\}")
_FIELD = re.compile(r"(\w+)\s*:\s*(\[?)(\w+)\]?([^;]*);")
_MEMBER = re.compile(r"(\w+)\s*(?::\s*(\w+))?\s*(?:,|$)")


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a table: where it is, and what it holds (a vector of it, if ``repeated``)."""

    name: str
    slot: int
    kind: str
    repeated: bool


@dataclass(frozen=True, slots=True)
class _Schema:
    """The format: fields by table, and tables by union and member, with the member's number."""

    identifier: bytes
    tables: Mapping[str, tuple[_Field, ...]]
    unions: Mapping[str, Mapping[str, tuple[int, str]]]
    slots: Mapping[str, int]
    scalars: Mapping[str, Any]


@functools.cache
def _schema() -> _Schema:
    """The library's own description of the format."""
    text = resources.files(serialization).joinpath("schema.fbs").read_text(encoding="utf-8")
    (identifier,) = re.findall(r'file_identifier\s+"(\w{4})"', text)
    bodies: dict[str, dict[str, str]] = {"table": {}, "union": {}, "enum": {}}
    for kind, name, body in _DEFINITION.findall(re.sub(r"//.*", "", text)):
        bodies[kind][name] = body.strip()
    unions = {
        name: {
            member: (number, table or member)
            for number, (member, table) in enumerate(_MEMBER.findall(body), 1)
        }
        for name, body in bodies["union"].items()
    }
    tables: dict[str, tuple[_Field, ...]] = {}
    slots: dict[str, int] = {}
    for name, body in bodies["table"].items():
        fields, slot = [], 0
        for field, bracket, kind, rest in _FIELD.findall(body):
            # A union takes two places: first which member it is.
            slot += kind in unions
            if "deprecated" not in rest:
                fields.append(_Field(field, slot, kind, bool(bracket)))
            slot += 1
        tables[name], slots[name] = tuple(fields), slot
    # The one enumeration of the format is a short number.
    scalars = _SCALARS | dict.fromkeys(bodies["enum"], _SCALARS["short"])
    return _Schema(identifier.encode(), tables, unions, slots, scalars)


class _Writer:
    """Writes records, the innermost first; equal parts get the place of the first."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(2**16)
        self._schema = _schema()
        self._places: dict[Any, int] = {}

    def _once(self, key: Any, write: Callable[[], int]) -> int:
        if key not in self._places:
            self._places[key] = write()
        return self._places[key]

    def table(self, name: str, record: Any) -> int:
        """Write a record as the table ``name``; returns its place."""
        references: list[tuple[int, int]] = []
        numbers: list[tuple[int, int, Any, float]] = []
        for field in self._schema.tables[name]:
            value = getattr(record, field.name, None)
            if value is None:
                continue
            if field.kind in self._schema.unions:
                number, table = self._schema.unions[field.kind][type(value).__name__]
                numbers.append((1, field.slot - 1, number_types.Uint8Flags, number))
                references.append((field.slot, self.table(table, value)))
            elif field.repeated or field.kind not in self._schema.scalars:
                references.append((field.slot, self._reference(field, value)))
            else:
                flags = self._schema.scalars[field.kind]
                numbers.append((flags.bytewidth, field.slot, flags, _number(flags, value)))
        numbers.sort(key=lambda entry: -entry[0])  # so that the least lies between them

        def write() -> int:
            self.builder.StartObject(self._schema.slots[name])
            for width, slot, flags, number in numbers:
                if width >= 4:
                    self.builder.PrependSlot(flags, slot, number, 0)
            for slot, place in references:
                self.builder.PrependUOffsetTRelativeSlot(slot, place, 0)
            for width, slot, flags, number in numbers:
                if width < 4:
                    self.builder.PrependSlot(flags, slot, number, 0)
            return int(self.builder.EndObject())

        return self._once((name, *references, *numbers), write)

    def _reference(self, field: _Field, value: Any) -> int:
        """Write what a field refers to; returns its place."""
        if field.kind == "string" and not field.repeated:
            return self._once(value, lambda: int(self.builder.CreateString(value)))
        if not field.repeated:
            return self.table(field.kind, value)
        if field.kind in self._schema.scalars:
            flags = self._schema.scalars[field.kind]
            items = tuple(_number(flags, item) for item in value)
            return self._vector((field.kind, items), flags.bytewidth, items, flags)
        places = tuple(self.table(field.kind, item) for item in value)
        return self._vector((field.kind, places), 4, places, None)

    def _vector(self, key: Any, width: int, items: tuple[Any, ...], flags: Any) -> int:
        def write() -> int:
            self.builder.StartVector(width, len(items), width)
            for item in reversed(items):
                if flags is None:
                    self.builder.PrependUOffsetTRelative(item)
                else:
                    self.builder.Prepend(flags, item)
            return int(self.builder.EndVector())

        return self._once(("vector", *key), write)


def _number(flags: Any, value: Any) -> Any:
    """A number as its type stores it: the library writes "inf", and -1 for the largest one."""
    if flags.py_type is float:
        return float(value)
    return int(value) & flags.max_val if flags.min_val == 0 else int(value)


def payload(graph: XNNGraph) -> bytes:
    """A graph whose constants are named data, as the delegate reads it: header and graph."""
    writer = _Writer()
    writer.builder.Finish(writer.table("XNNGraph", graph), _schema().identifier)
    encoded = bytes(writer.builder.Output())
    header = XNNHeader(
        flatbuffer_offset=_HEADER_BYTES,
        flatbuffer_size=len(encoded),
        constant_data_offset=_HEADER_BYTES + len(encoded),
        constant_data_size=0,
    )
    return header.to_bytes().ljust(_HEADER_BYTES, b"\0") + encoded
