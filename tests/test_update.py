"""The update's file: what it holds, what its size is, and what is refused."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from pockettune.codecs import parse_codec
from pockettune.errors import (
    IoFailed,
    SafetensorsInvalid,
    TensorMismatch,
    UpdateInvalid,
    UpdateMismatch,
    UpdateOutOfRange,
)
from pockettune.update import Limits, Update, feedback, read_update, write_update
from pockettune.vectors.updates import file_of, members_and_parts

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
    with pytest.raises(UpdateOutOfRange, match="tensor a: a value is not finite"):
        write_update(Update("m", "0" * 64, 0, 1, {}, tensors), parse_codec("affine:4"), 0, 0)


UNWRITABLE: dict[str, dict[str, Any]] = {
    "metric_nan": {"metrics": {"loss": float("nan")}},
    "metric_text": {"metrics": {"loss": "low"}},
    "metric_of_numpy": {"metrics": {"loss": np.float32(1)}},
    "bundle_id": {"bundle_id": "ab"},
    "nonce": {"nonce": "0F" * 16},
    "round": {"round": -1},
    "samples": {"samples": 0},
    "no_tensors": {"tensors": {}},
    "empty_tensor": {"tensors": {"a": np.zeros((0, 3), np.float32)}},
    "float64": {"tensors": {"a": np.zeros(3)}},
    "nine_dimensions": {"tensors": {"a": np.zeros((1,) * 9, np.float32)}},
    "lone_surrogate": {"tensors": {"\ud800": np.zeros(3, np.float32)}},
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_what_no_reader_takes_is_not_written(name: str) -> None:
    with pytest.raises(UpdateInvalid) as caught:
        write_update(replace(UPDATE, **UNWRITABLE[name]), parse_codec("dense:f32"), 0, 0)
    assert str(caught.value).isprintable()


def test_limits_hold_before_anything_is_read() -> None:
    data = written()
    for limits in (Limits(bytes=len(data) - 1), Limits(tensors=2), Limits(elements=40)):
        with pytest.raises(UpdateInvalid, match=r"more than|list of 1 to 2"):
            read_update(data, limits=limits)
    read_update(data, limits=Limits(bytes=len(data), tensors=3, elements=41))


def test_limits_hold_whatever_a_header_declares() -> None:
    """A small file that declares 10^12 elements costs no memory, even to a reader with no limit."""
    members, parts = members_and_parts(written("affine:2"))
    members["tensors"][0]["shape"] = [10**6, 10**6]
    data = file_of(json.dumps(members), parts)
    tracemalloc.start()
    for limits in (Limits(), Limits(elements=2**62)):
        with pytest.raises(UpdateInvalid):
            read_update(data, limits=limits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_long_header_is_refused_before_it_is_parsed() -> None:
    data = written()
    length = int.from_bytes(data[:8], "little")
    read_update(data, limits=Limits(header=length))
    broken = data[:8] + b"[" * length + data[8 + length :]
    with pytest.raises(UpdateInvalid, match=f"a header of {length} bytes, more than {length - 1}"):
        read_update(broken, limits=Limits(header=length - 1))
    with pytest.raises(SafetensorsInvalid):
        read_update(broken)


def test_a_file_is_read_as_its_bytes_are(tmp_path: Path) -> None:
    path = tmp_path / "update.safetensors"
    path.write_bytes(written())
    assert np.array_equal(read_update(path).tensors["conv.weight"], TENSORS["conv.weight"])
    with pytest.raises(UpdateInvalid, match="more than 100 bytes"):
        read_update(path, limits=Limits(bytes=100))
    with pytest.raises(IoFailed):
        read_update(tmp_path / "none")


@pytest.mark.parametrize("residual", [{}, {"a": np.zeros(1, np.float32)}, {"b": np.zeros(3)}])
def test_error_feedback_of_other_tensors_is_refused(residual: dict[str, Any]) -> None:
    """One number would be added to each of three."""
    tensors = {"a": np.ones(3, np.float32)}
    with pytest.raises(TensorMismatch, match="Tensor 'a' is"):
        feedback(tensors, residual, parse_codec("dense:f32"), 0, 0)


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
