"""Shoulder exercises seen by a watch: the set that the package ``seglearn`` ships (BSD-3-Clause).

D. Burns et al., "Shoulder physiotherapy exercise recognition: machine learning the inertial signals
from a smartwatch", Physiological Measurement 39(7), 2018, doi 10.1088/1361-6579/aacfd9. 10 people,
7 exercises, 140 series of 6 channels (acceleration, rotation) at 50 Hz.

Series are cut into windows of 2 s, one beginning every second. The second of a person's two series
of an exercise is for testing, so no series is on both sides. Channels are standardized by the
training windows.
"""

from __future__ import annotations

import hashlib
import io
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pockettune.data.dataset import FederatedDataset, Split
from pockettune.errors import DataInvalid, DataNotFound

WINDOW, STRIDE = 100, 50  # readings: 2 s and 1 s

_FILE = "watch_dataset.npy"
_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"


def load(folder: Path | None = None) -> FederatedDataset:
    """Inputs ``[6, 100]``. ``folder`` holds ``watch_dataset.npy`` where seglearn is not installed.

    Raises DataNotFound or DataInvalid.
    """
    train, test, classes = _windows(folder)
    mean, deviation = _scale(train)
    for split in (train, test):
        split.inputs[:] = (split.inputs - mean[:, None]) / deviation[:, None]
    return FederatedDataset(
        name="watch",
        task="classification",
        train=train,
        test=test,
        classes=classes,
        source="Burns et al. 2018, through seglearn 1.2.5",
        license="BSD-3-Clause",
        user="person",
    )


def scale(folder: Path | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What `load` subtracts from each of the 6 channels, and what it then divides them by.

    In the watch's units: acceleration in multiples of gravity, rotation in radians a second.
    """
    return _scale(_windows(folder)[0])


def _scale(train: Split) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return (
        train.inputs.mean(axis=(0, 2), dtype=np.float64),
        train.inputs.std(axis=(0, 2), dtype=np.float64),
    )


def _windows(folder: Path | None) -> tuple[Split, Split, int]:
    data = _read(folder)
    # The file is pickled: only these very bytes are ever unpickled.
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise DataInvalid("watch", _FILE, "it is not the file of seglearn 1.2.5")
    raw = np.load(io.BytesIO(data), allow_pickle=True).item()
    people = np.unique(raw["subject"])
    sides: dict[bool, list[tuple[NDArray[np.float32], int, int]]] = {False: [], True: []}
    seen: set[tuple[int, int]] = set()
    for series, label, subject in zip(raw["X"], raw["y"], raw["subject"], strict=True):
        key = (int(subject), int(label))
        for start in range(0, len(series) - WINDOW + 1, STRIDE):
            window = series[start : start + WINDOW].T.astype(np.float32)
            user = int(np.searchsorted(people, subject))
            sides[key in seen].append((window, int(label), user))
        seen.add(key)
    train, test = (_split(sides[tested]) for tested in (False, True))
    return train, test, len(raw["y_labels"])


def _read(folder: Path | None) -> bytes:
    ways = ["pip install seglearn==1.2.5", f"a folder that holds its data/{_FILE}"]
    if folder is not None:
        path = folder / _FILE
    else:
        try:
            found = [file for file in files("seglearn") or () if file.name == _FILE]
        except PackageNotFoundError:
            found = []
        if not found:
            raise DataNotFound("watch", ways)
        path = Path(str(found[0].locate()))
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataNotFound("watch", ways) from error


def _split(windows: list[tuple[NDArray[np.float32], int, int]]) -> Split:
    inputs, labels, users = zip(*windows, strict=True)
    return Split(np.stack(inputs), np.array(labels, np.int64), np.array(users, np.int64))
