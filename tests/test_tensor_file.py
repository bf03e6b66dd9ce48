"""Safetensors files against the reference library."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from pockettune import tensor_file
from pockettune.errors import IoFailed, SafetensorsInvalid, TensorMismatch


def tensors() -> dict[str, NDArray[Any]]:
    numbers = np.random.default_rng(0).integers(0, 100, (2, 3))
    return {
        "a.weight": numbers.astype(np.float32) / 7,
        "b.half": numbers[:, :1].astype(np.float16) / 3,
        "c.steps": np.array([2**62 + 1]),
        "d.scalar": np.array(1.5, np.float32),
        "e.transposed": numbers.T.astype(np.int32),
        "f.bytes": numbers.astype(np.uint8),
        "g.signed": -numbers.astype(np.int8),
    }


def same(left: dict[str, NDArray[Any]], right: dict[str, NDArray[Any]]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and np.array_equal(left[name], right[name])
        for name in left
    )


def test_the_reference_library_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensor_file.write(path, tensors(), {"format": "pt", "who": "\u00fc"})
    assert same(safetensors.numpy.load_file(path), tensors())
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"format": "pt", "who": "\u00fc"}


def test_we_read_what_the_reference_library_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    arrays = {name: np.ascontiguousarray(tensor) for name, tensor in tensors().items()}
    arrays["d.scalar"] = tensors()["d.scalar"]
    safetensors.numpy.save_file(arrays, path, {"format": "pt"})
    assert same(tensor_file.read(path), arrays)
    assert tensor_file.read_header(path).metadata == {"format": "pt"}


def test_bytes_depend_on_contents_only_and_tensors_lie_aligned(tmp_path: Path) -> None:
    forward = tensor_file.encode(tensors(), {"b": "1", "a": "2"})
    backward = tensor_file.encode(dict(reversed(tensors().items())), {"a": "2", "b": "1"})
    assert forward == backward
    path = tmp_path / "a.safetensors"
    path.write_bytes(forward)
    header = tensor_file.read_header(path)
    for entry in header.entries.values():
        assert (header.data + entry.begin) % tensor_file.ITEM_BYTES[entry.dtype] == 0


def test_read_tensors_cannot_be_written_to(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensor_file.write(path, tensors())
    assert not any(array.flags.writeable for array in tensor_file.read(path).values())


def test_only_what_is_expected_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensor_file.write(path, tensors())
    assert list(tensor_file.read(path, {"c.steps": ("int64", (1,))})) == ["c.steps"]


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "sentence"),
    [
        ("none", "float32", (1,), "Tensor 'none' is missing, not float32 [1];"),
        ("a.weight", "float32", (3, 2), "Tensor 'a.weight' is float32 [2, 3], not float32 [3, 2];"),
        ("a.weight", "int32", (2, 3), "Tensor 'a.weight' is float32 [2, 3], not int32 [2, 3];"),
    ],
)
def test_what_is_not_as_expected_is_a_mismatch(
    tmp_path: Path, name: str, dtype: str, shape: tuple[int, ...], sentence: str
) -> None:
    path = tmp_path / "a.safetensors"
    tensor_file.write(path, tensors())
    with pytest.raises(TensorMismatch) as caught:
        tensor_file.read(path, {name: (dtype, shape)})
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("array", [np.zeros(1), np.zeros(1, bool), np.zeros(1, np.complex64)])
def test_dtypes_that_the_format_lacks_are_refused(array: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=f"cannot hold the tensor 'a' with dtype {array.dtype}"):
        tensor_file.encode({"a": array})


def test_a_tensor_cannot_bear_the_name_of_the_metadata() -> None:
    with pytest.raises(ValueError, match="cannot hold the tensor '__metadata__'"):
        tensor_file.encode({"__metadata__": np.zeros(1, np.float32)})


def test_a_flipped_byte_of_the_header_is_refused_or_changes_a_name(tmp_path: Path) -> None:
    data = tensor_file.encode({"a": np.zeros(3, np.float32)})
    path = tmp_path / "a.safetensors"
    for position in range(len(data) - 12):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        try:
            names = list(tensor_file.read(path))
        except SafetensorsInvalid:
            continue
        assert names != ["a"]


def test_a_file_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(IoFailed, match=r"Cannot read .*none: No such file"):
        tensor_file.read(tmp_path / "none")


def test_a_pipe_in_its_place_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(IoFailed, match="it is not a plain file"):
        tensor_file.read(tmp_path / "pipe")
