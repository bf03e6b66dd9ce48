"""Fashion-MNIST: H. Xiao, K. Rasul, R. Vollgraf, arXiv 1708.07747 (MIT).

60,000 and 10,000 pictures of clothes, 28x28, 10 classes; no users. The split is the published one.
The four ``idx`` files, packed or not, come from a folder or from Debian's package
``dataset-fashion-mnist``; else two parquet files come from the Hugging Face hub. A side of the
published size must have the published bytes; fewer pictures are taken as they are.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pockettune.data.dataset import FederatedDataset, Split
from pockettune.errors import DataInvalid, DataNotFound

ENVIRONMENT = "POCKETTUNE_DATA"
"""Names a folder of data sets, of which ``fashion-mnist`` is one."""

_NAME = "fashion-mnist"
_DEBIAN = Path("/usr/share/datasets") / _NAME
_HUB = "zalando-datasets/fashion_mnist"
_FILES = ("images-idx3-ubyte", "labels-idx1-ubyte")
_WAYS = (
    "apt-get install dataset-fashion-mnist",
    f"${ENVIRONMENT}/{_NAME} or a folder with the four idx files",
    f"be online with pyarrow installed, for {_HUB} of the Hugging Face hub",
)
# Examples, and sha256 of all pixels and all labels, without headers.
_PUBLISHED = {
    "train": (
        60_000,
        "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
        "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
    ),
    "t10k": (
        10_000,
        "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
    ),
}

_Bytes = NDArray[np.uint8]


def load(folder: Path | None = None) -> FederatedDataset:
    """Inputs ``[1, 28, 28]``, standardized: mean 0 and deviation 1 over the training pictures.

    Raises DataNotFound with the ways to get it, DataInvalid for a damaged file.
    """
    place = _place(folder)
    sides = []
    for side in _PUBLISHED:
        pixels, labels = _from_hub(side) if place is None else _from_folder(place, side)
        _check(side, pixels, labels)
        sides.append((pixels, labels))
    table = _standardized(sides[0][0])
    train, test = (
        Split(table[pixels][:, None], labels.astype(np.int64), np.full(len(labels), -1, np.int64))
        for pixels, labels in sides
    )
    return FederatedDataset(
        name=_NAME,
        task="classification",
        train=train,
        test=test,
        classes=10,
        source="Xiao et al. 2017",
        license="MIT",
    )


def _standardized(pixels: _Bytes) -> NDArray[np.float32]:
    """What each of the 256 values becomes, float32: no second copy of the pictures is needed."""
    counts = np.zeros(256, np.int64)
    for picture in pixels:
        counts += np.bincount(picture.reshape(-1), minlength=256)
    levels = np.arange(256, dtype=np.float64)
    mean = counts @ levels / counts.sum()
    deviation = math.sqrt(counts @ (levels - mean) ** 2 / counts.sum())
    if deviation == 0.0:
        raise DataInvalid(_NAME, f"train-{_FILES[0]}", "all its pixels are the same")
    table: NDArray[np.float32] = (levels.astype(np.float32) - np.float32(mean)) / np.float32(
        deviation
    )
    return table


def _place(given: Path | None) -> Path | None:
    """The folder to read; None for the hub, which is asked only where no folder was given."""
    from_environment = os.environ.get(ENVIRONMENT)
    places = [given] if given else [_DEBIAN]
    if from_environment and not given:
        places.insert(0, Path(from_environment) / _NAME)
    for place in places:
        if any(place.glob(f"*{_FILES[0]}*")):
            return place
    if given:
        raise DataNotFound(_NAME, _WAYS)
    return None


def _check(side: str, pixels: _Bytes, labels: _Bytes) -> None:
    if pixels.ndim != 3 or pixels.shape[1:] != (28, 28) or labels.shape != pixels.shape[:1]:
        raise DataInvalid(_NAME, f"{side}-*", f"{pixels.shape} pictures, {labels.shape} labels")
    if not len(labels):
        raise DataInvalid(_NAME, f"{side}-{_FILES[0]}", "it has no picture")
    if labels.max() > 9:
        raise DataInvalid(_NAME, f"{side}-{_FILES[1]}", f"the label {labels.max()}")
    examples, *published = _PUBLISHED[side]
    if len(labels) == examples:
        for file, array, sha256 in zip(_FILES, (pixels, labels), published, strict=True):
            if hashlib.sha256(array.tobytes()).hexdigest() != sha256:
                raise DataInvalid(_NAME, f"{side}-{file}", "it is not what was published")


def _from_folder(folder: Path, side: str) -> tuple[_Bytes, _Bytes]:
    pixels, labels = (_idx(folder, f"{side}-{name}") for name in _FILES)
    return pixels, labels


def _idx(folder: Path, name: str) -> _Bytes:
    """An ``idx`` file of bytes: 0, 0, 8, dimensions; their sizes, big-endian; the bytes."""
    packed, plain = folder / f"{name}.gz", folder / name
    try:
        data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataInvalid(_NAME, name, error) from error
    dimensions = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    start = 4 + 4 * dimensions
    if dimensions and len(data) >= start:
        shape = np.frombuffer(data, ">u4", dimensions, offset=4).tolist()
        if len(data) == start + math.prod(shape):
            return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
    raise DataInvalid(_NAME, name, "it is not a whole idx file of bytes")


def _from_hub(side: str) -> tuple[_Bytes, _Bytes]:
    """A parquet file of the hub, kept in the hub's own cache: PNGs and labels."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise DataNotFound(_NAME, _WAYS) from error
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError
    from PIL import Image

    name = f"{'train' if side == 'train' else 'test'}-00000-of-00001.parquet"
    try:
        path = hf_hub_download(_HUB, f"fashion_mnist/{name}", repo_type="dataset")
    except (HfHubHTTPError, OSError) as error:
        raise DataNotFound(_NAME, _WAYS) from error
    try:
        rows = parquet.read_table(path, columns=["image", "label"])
        pictures = [
            np.asarray(Image.open(io.BytesIO(cell["bytes"]))) for cell in rows["image"].to_pylist()
        ]
        pixels = np.stack(pictures).astype(np.uint8, casting="safe")
        labels = np.array(rows["label"].to_pylist(), np.uint8)
    except (ArrowException, OSError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataInvalid(_NAME, name, error) from error
    return pixels, labels
