"""Golden updates, read and written; their header's schema; and a second reader of a few lines."""

from __future__ import annotations

import json
import math
import struct
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from pockettune import strict_json
from pockettune.codecs import parse_codec
from pockettune.errors import UpdateInvalid
from pockettune.update import Limits, Update, _codec, _members, read_update, write_update
from pockettune.vectors.fuzz import mutated_header

SPEC = Path(__file__).parents[2] / "spec"
FOLDER = SPEC / "vectors" / "updates"
EXPECTED: list[dict[str, Any]] = json.loads((FOLDER / "expected.json").read_text())
WIDTHS = {"F32": 4, "F16": 2, "U8": 1}

golden = pytest.mark.parametrize("entry", EXPECTED, ids=lambda entry: entry["name"])


def as_float32(value: float) -> int:
    return int(np.array(value, np.float64).astype(np.float32).view(np.uint32))


class Reader:
    """spec/update.md once more, by the letter: whole numbers, ``struct``, one value at a time."""

    def __init__(self, data: bytes) -> None:
        length = int.from_bytes(data[:8], "little")
        self.outer = json.loads(data[8 : 8 + length])
        self.body = data[8 + length :]
        self.header = json.loads(self.outer.pop("__metadata__")["pockettune.update"])
        self.size = 8 + length + 64

    def floats(self, name: str) -> list[float]:
        begin, end = self.outer[name]["data_offsets"]
        form = {"F32": "f", "F16": "e"}[self.outer[name]["dtype"]]
        return [value for (value,) in struct.iter_unpack(f"<{form}", self.body[begin:end])]

    def codes(self, name: str, bits: int, count: int) -> list[int]:
        begin, end = self.outer[name]["data_offsets"]
        stream = int.from_bytes(self.body[begin:end], "little")
        return [stream >> (index * bits) & (2**bits - 1) for index in range(count)]

    def tensors(self) -> list[list[int]]:
        return [
            self.tensor(str(position), entry["shape"], self.header["codec"])
            for position, entry in enumerate(self.header["tensors"])
        ]

    def tensor(self, position: str, shape: list[int], codec: str) -> list[int]:
        count = math.prod(shape)
        kind, *options = codec.partition("+")[0].split(":")
        if kind == "dense":
            self.size += count * {"f32": 4, "f16": 2}[options[0]]
            return [as_float32(value) for value in self.floats(f"{position}.values")]
        if kind == "affine":
            bits, groups = int(options[0]), shape[0] if "channel" in options and shape else 1
            low, scale = self.floats(f"{position}.low"), self.floats(f"{position}.scale")
            self.size += -(-count * bits // 8) + 8 * groups
            codes = self.codes(f"{position}.codes", bits, count)
            row = count // groups
            return [as_float32(low[i // row] + scale[i // row] * c) for i, c in enumerate(codes)]
        kept = int((Decimal(options[0]) * count).to_integral_value(ROUND_CEILING))
        self.size += -(-count // 8)
        values = iter(self.tensor(position, [kept], codec.partition("+")[2]))
        mask = self.codes(f"{position}.mask", 1, count)
        return [next(values) if bit else 0 for bit in mask]


@golden
def test_golden_updates_are_decoded_bit_for_bit(entry: dict[str, Any]) -> None:
    update = read_update(FOLDER / entry["name"])
    header = entry["header"]
    for name in ("method", "bundle_id", "round", "samples", "nonce", "metrics"):
        assert getattr(update, name) == header[name]
    assert [[n, list(v.shape)] for n, v in update.tensors.items()] == [
        [tensor["name"], tensor["shape"]] for tensor in header["tensors"]
    ]
    found = [values.reshape(-1).view(np.uint32).tolist() for values in update.tensors.values()]
    assert found == entry["decoded"]


@golden
def test_a_second_reader_finds_the_same_values_and_size(entry: dict[str, Any]) -> None:
    data = (FOLDER / entry["name"]).read_bytes()
    reader = Reader(data)
    assert reader.header == entry["header"]
    assert reader.tensors() == entry["decoded"]
    assert reader.size == len(data)


@pytest.mark.parametrize(
    "entry", [entry for entry in EXPECTED if "inputs" in entry], ids=lambda entry: entry["name"]
)
def test_golden_updates_are_written_byte_for_byte(entry: dict[str, Any]) -> None:
    header = dict(entry["header"])
    codec = parse_codec(header.pop("codec"))
    tensors = {
        tensor["name"]: np.array(bits, np.uint32).view(np.float32).reshape(tensor["shape"])
        for tensor, bits in zip(header.pop("tensors"), entry["inputs"], strict=True)
    }
    assert header.pop("format") == 1
    written = write_update(
        Update(**header, tensors=tensors), codec, int(entry["seed"]), int(entry["index"])
    )
    assert written == (FOLDER / entry["name"]).read_bytes()


def test_every_golden_update_is_in_the_list() -> None:
    found = {path.name for path in FOLDER.glob("*.safetensors")}
    assert found == {entry["name"] for entry in EXPECTED}


def test_the_schema_and_the_reader_take_the_same_headers() -> None:
    """Apart from what a schema cannot say: strict JSON, names that differ, and limits."""
    schema = json.loads((SPEC / "update.schema.json").read_text())
    base = jsonschema.Draft202012Validator
    base.check_schema(schema)
    # To the plain validator 1.0 is an integer, which the page excludes.
    checker = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    validator = jsonschema.validators.extend(base, type_checker=checker)(schema)
    random = np.random.default_rng(0)
    unlimited = Limits(tensors=2**62, elements=2**512)
    outcomes = {True: 0, False: 0}
    for case in range(4000):
        header = EXPECTED[case % len(EXPECTED)]["header"]
        members = json.loads(
            mutated_header(header, random) if case >= len(EXPECTED) else json.dumps(header)
        )
        try:
            strict_json.decode(json.dumps(members).encode())
        except ValueError:
            continue
        try:
            _codec(_members(json.dumps(members), unlimited)["codec"])
            taken = True
        except UpdateInvalid as error:
            if "there twice" in str(error):
                continue
            taken = False
        assert validator.is_valid(members) == taken, members
        outcomes[taken] += 1
    assert min(outcomes.values()) > 300
