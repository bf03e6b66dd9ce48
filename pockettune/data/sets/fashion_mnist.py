"""Fashion-MNIST: H. Xiao, K. Rasul, R. Vollgraf, arXiv 1708.07747 (MIT).

60,000 and 10,000 pictures of clothes, 28x28, 10 classes; no users. The four ``idx`` files, packed
or not, come from a folder or from Debian's package ``dataset-fashion-mnist``.
"""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pockettune.data.dataset import FederatedDataset, Split
from pockettune.errors import DataInvalid, DataNotFound

ENVIRONMENT = "POCKETTUNE_DATA"
"""Names a folder of data sets, of which ``fashion-mnist`` is one."""

_NAME = "fashion-mnist"
_DEBIAN = Path("/usr/share/datasets") / _NAME
_FILES = ("images-idx3-ubyte", "labels-idx1-ubyte")


def load(folder: Path | None = None) -> FederatedDataset:
    """Inputs ``[1, 28, 28]``, standardized: mean 0 and deviation 1 over the training pictures.

    Raises DataNotFound with the ways to get it, DataInvalid for a damaged file.
    """
    train, test = (_split(_folder(folder), side) for side in ("train", "t10k"))
    mean = train.inputs.mean(dtype=np.float64)
    deviation = train.inputs.std(dtype=np.float64)
    for split in (train, test):
        split.inputs[:] = (split.inputs - np.float32(mean)) / np.float32(deviation)
    return FederatedDataset(
        name=_NAME,
        task="classification",
        train=train,
        test=test,
        classes=10,
        source="Xiao et al. 2017",
        license="MIT",
    )


def _folder(given: Path | None) -> Path:
    from_environment = os.environ.get(ENVIRONMENT)
    places = [given] if given else [_DEBIAN]
    if from_environment and not given:
        places.insert(0, Path(from_environment) / _NAME)
    for place in places:
        if any(place.glob(f"*{_FILES[0]}*")):
            return place
    raise DataNotFound(
        _NAME,
        [
            "apt-get install dataset-fashion-mnist",
            f"${ENVIRONMENT}/{_NAME} or a folder with the four idx files",
        ],
    )


def _split(folder: Path, side: str) -> Split:
    images, labels = (_idx(folder, f"{side}-{name}") for name in _FILES)
    if images.ndim != 3 or images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise DataInvalid(_NAME, f"{side}-*", f"{images.shape} pictures, {labels.shape} labels")
    if labels.max(initial=0) > 9:
        raise DataInvalid(_NAME, f"{side}-{_FILES[1]}", f"the label {labels.max()}")
    inputs = images[:, None].astype(np.float32)
    return Split(inputs, labels.astype(np.int64), np.full(len(labels), -1, np.int64))


def _idx(folder: Path, name: str) -> NDArray[np.uint8]:
    """An ``idx`` file of bytes: 0, 0, 8, dimensions; their sizes, big-endian; the bytes."""
    packed, plain = folder / f"{name}.gz", folder / name
    try:
        data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    except (OSError, EOFError) as error:
        raise DataInvalid(_NAME, name, error) from error
    dimensions = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    shape = np.frombuffer(data[4 : 4 + 4 * dimensions], ">u4").tolist()
    start = 4 + 4 * dimensions
    if not dimensions or len(data) != start + math.prod(shape):
        raise DataInvalid(_NAME, name, "it is not a whole idx file of bytes")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
