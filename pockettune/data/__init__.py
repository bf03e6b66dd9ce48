"""Data of many users: sets in ``pockettune/data/sets/``, one file each; ways to share them out.

Importing this package needs NumPy only. ``names`` lists the folder, ``load`` imports one file and
calls its ``load``; there is no other registry.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from pockettune.data.dataset import FederatedDataset, Split
from pockettune.data.partition import Partition, partition
from pockettune.errors import ConfigInvalid

__all__ = ["FederatedDataset", "Partition", "Split", "load", "names", "partition"]


def names() -> list[str]:
    """Names of all data sets, sorted: the folder's files with "-" for "_"."""
    folder = Path(__file__).parent / "sets"
    return sorted(path.stem.replace("_", "-") for path in folder.glob("[a-z]*.py"))


def load(name: str, folder: Path | None = None) -> FederatedDataset:
    """The data set of that name. ``folder`` is where its files are, for sets that come as files.

    Raises ConfigInvalid for an unknown name, DataNotFound with the ways to get it, DataInvalid for
    files that are damaged.
    """
    if name not in names():
        raise ConfigInvalid("data", name, names())
    source = importlib.import_module(f"pockettune.data.sets.{name.replace('-', '_')}")
    loaded: FederatedDataset = source.load(folder)
    return loaded
