"""The update's file: what it holds, what its size is, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from pockettune import tensor_file
from pockettune.codecs import parse_codec
from pockettune.errors import SafetensorsInvalid, UpdateInvalid, UpdateMismatch
from pockettune.update import HEADER, SIGNATURE, Limits, Update, feedback, read_update, write_update

TENSORS = {
    "conv.weight": np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32),
    "conv.bias": np.random.default_rng(1).normal(size=4).astype(np.float32),
    "scale": np.array(0.5, np.float32),
}
UPDATE = Update(
    method="fedavg",
    bundle_id="ab" * 32,
    round=7,
    samples=120,
    metrics={"loss": 0.25},
    tensors=TENSORS,
    nonce="0f" * 16,
)
CODECS = ("dense:f32", "dense:f16", "affine:4", "affine:3:channel", "sparse:0.2+affine:8")


def written(codec: str = "dense:f32") -> bytes:
    return write_update(UPDATE, parse_codec(codec), seed=1, index=2)


@pytest.mark.parametrize("codec", CODECS)
def test_an_update_comes_back(codec: str) -> None:
    found = read_update(written(codec))
    for name in ("method", "bundle_id", "round", "samples", "metrics", "nonce"):
        assert getattr(found, name) == getattr(UPDATE, name)
    assert list(found.tensors) == list(TENSORS)
    for name, values in TENSORS.items():
        assert found.tensors[name].shape == values.shape
        assert found.tensors[name].dtype == np.float32
        if codec == "dense:f32":
            assert np.array_equal(found.tensors[name], values)


@pytest.mark.parametrize("codec", CODECS)
def test_same_arguments_same_bytes(codec: str) -> None:
    assert written(codec) == written(codec)
    other = write_update(UPDATE, parse_codec(codec), seed=1, index=3)
    assert (other == written(codec)) == ("affine" not in codec)


@pytest.mark.parametrize(
    ("codec", "parts"),
    [
        ("dense:f32", 4 * 41),
        ("dense:f16", 2 * 41),
        ("affine:4", (18 + 8) + (2 + 8) + (1 + 8)),
        ("affine:3:channel", (14 + 32) + (2 + 32) + (1 + 8)),
        ("sparse:0.2+affine:8", (5 + 8 + 8) + (1 + 1 + 8) + (1 + 1 + 8)),
    ],
)
def test_the_size_is_that_of_the_page(codec: str, parts: int) -> None:
    """spec/update.md, section 4."""
    data = written(codec)
    header = int.from_bytes(data[:8], "little")
    assert header % 8 == 0
    assert len(data) == 8 + header + parts + 64


def test_the_signatures_place_is_the_last_64_bytes() -> None:
    data = written("affine:4")
    assert data[-64:] == bytes(64)
    signed = data[:-64] + bytes(range(64))
    assert np.array_equal(read_update(signed).tensors["scale"], read_update(data).tensors["scale"])


def test_any_safetensors_reader_opens_it() -> None:
    parts = safetensors.numpy.load(written())
    assert np.array_equal(parts["0.values"], TENSORS["conv.weight"])


def test_an_update_for_elsewhere_is_refused() -> None:
    with pytest.raises(UpdateMismatch, match="for round 7, and 8 is expected"):
        read_update(written(), round=8)
    with pytest.raises(UpdateMismatch, match="bundle_id abab"):
        read_update(written(), bundle_id="cd" * 32)
    read_update(written(), round=7, bundle_id="ab" * 32)


def test_values_that_a_codec_cannot_hold_are_told() -> None:
    tensors = {"a": np.array([1.0, np.nan], np.float32)}
    with pytest.raises(UpdateInvalid, match="tensor a: a value is not finite"):
        write_update(Update("m", "0" * 64, 0, 1, {}, tensors), parse_codec("affine:4"), 0, 0)


def edited(change: Callable[[dict[str, Any], dict[str, Any]], None], codec: str) -> bytes:
    """The update with its header or its parts changed, as a consistent file."""
    data = written(codec)
    header = tensor_file.header_of(data)
    parts = {name: part.copy() for name, part in tensor_file.tensors_of(data, header).items()}
    members = json.loads(header.metadata[HEADER])
    change(members, parts)
    return tensor_file.encode(parts, {HEADER: json.dumps(members)})


def member(name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda members, parts: members.__setitem__(name, value)


def part(name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda members, parts: parts.__setitem__(name, value)


HOSTILE: dict[str, tuple[str, Callable[[dict[str, Any], dict[str, Any]], None]]] = {
    "format_two": ("dense:f32", member("format", 2)),
    "format_true": ("dense:f32", member("format", value=True)),
    "codec_unknown": ("dense:f32", member("codec", "zip")),
    "codec_other": ("dense:f32", member("codec", "dense:f16")),
    "bundle_id_upper": ("dense:f32", member("bundle_id", "AB" * 32)),
    "nonce_short": ("dense:f32", member("nonce", "0f")),
    "round_negative": ("dense:f32", member("round", -1)),
    "round_float": ("dense:f32", member("round", 7.0)),
    "samples_zero": ("dense:f32", member("samples", 0)),
    "metrics_text": ("dense:f32", member("metrics", {"loss": "low"})),
    "metrics_list": ("dense:f32", member("metrics", [])),
    "tensors_none": ("dense:f32", member("tensors", [])),
    "tensors_twice": ("dense:f32", member("tensors", [{"name": "a", "shape": [4]}] * 2)),
    "tensor_fewer": ("dense:f32", lambda m, p: m["tensors"].pop()),
    "tensor_more": ("dense:f32", lambda m, p: m["tensors"].append({"name": "z", "shape": [1]})),
    "tensor_enormous": ("affine:2", member("tensors", [{"name": "a", "shape": [2**31 - 1] * 8}])),
    "shape_other": ("affine:4", lambda m, p: m["tensors"][0].update(shape=[40, 3, 3])),
    "shape_zero": ("affine:4", lambda m, p: m["tensors"][0].update(shape=[0])),
    "entry_extra": ("affine:4", lambda m, p: m["tensors"][0].update(dtype="F32")),
    "part_extra": ("affine:4", part("0.more", np.zeros(1, np.float32))),
    "part_missing": ("affine:4", lambda m, p: p.pop("0.low")),
    "signature_missing": ("affine:4", lambda m, p: p.pop(SIGNATURE)),
    "signature_long": ("affine:4", part(SIGNATURE, np.zeros(65, np.uint8))),
    "scale_nan": ("affine:4", part("0.scale", np.array([np.nan], np.float32))),
    "scale_negative": ("affine:4", part("0.scale", np.array([-1.0], np.float32))),
    "low_infinite": ("affine:4", part("0.low", np.array([-np.inf], np.float32))),
    "value_overflows": ("affine:4", part("0.scale", np.array([3e38], np.float32))),
    "value_nan": ("dense:f32", part("1.values", np.full(4, np.nan, np.float32))),
    "codes_long": ("affine:4", part("0.codes", np.zeros(19, np.uint8))),
    "bits_left_over": ("affine:3:channel", part("0.codes", np.full(14, 255, np.uint8))),
    "mask_empty": ("sparse:0.2+affine:8", part("0.mask", np.zeros(5, np.uint8))),
    "mask_full": ("sparse:0.2+affine:8", part("0.mask", np.array([255] * 4 + [15], np.uint8))),
    "mask_left_over": ("sparse:0.2+affine:8", part("0.mask", np.array([0] * 4 + [255], np.uint8))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_updates_are_refused(name: str) -> None:
    codec, change = HOSTILE[name]
    with pytest.raises(UpdateInvalid):
        read_update(edited(change, codec))


def test_limits_hold_before_anything_is_read() -> None:
    data = written()
    for limits in (Limits(bytes=len(data) - 1), Limits(tensors=2), Limits(elements=40)):
        with pytest.raises(UpdateInvalid, match=r"more than|list of 1 to 2"):
            read_update(data, limits=limits)
    read_update(data, limits=Limits(bytes=len(data), tensors=3, elements=41))


def test_mutated_files_raise_nothing_else() -> None:
    random = np.random.default_rng(0)
    originals = [written(codec) for codec in CODECS]
    outcomes = {"read": 0, "refused": 0}
    for case in range(3000):
        data = bytearray(originals[case % len(originals)])
        for _ in range(random.integers(1, 4)):
            position = int(random.integers(0, len(data)))
            match case % 3:
                case 0:
                    data[position] ^= 1 << int(random.integers(0, 8))
                case 1:
                    del data[position : position + int(random.integers(1, 9))]
                case _:
                    data[position:position] = random.bytes(int(random.integers(1, 9)))
            if not data:
                break
        try:
            found = read_update(bytes(data))
            assert all(np.isfinite(values).all() for values in found.tensors.values())
            outcomes["read"] += 1
        except (UpdateInvalid, SafetensorsInvalid):
            outcomes["refused"] += 1
    assert outcomes["read"] > 30
    assert outcomes["refused"] > 1000


def test_error_feedback_loses_nothing_over_time() -> None:
    """What is decoded over the rounds and the last residual add up to all that was to be sent."""
    codec = parse_codec("sparse:0.1+affine:4")
    random = np.random.default_rng(0)
    residual, sent = None, np.zeros(50)
    arrived = np.zeros(50)
    for index in range(30):
        change = {"a": random.normal(size=50).astype(np.float32)}
        sent += change["a"]
        out, residual = feedback(change, residual, codec, 0, index)
        arrived += out["a"] - residual["a"]
    np.testing.assert_allclose(arrived + residual["a"], sent, atol=1e-3)
    assert np.abs(arrived - sent).max() < np.abs(sent).max() * 3
