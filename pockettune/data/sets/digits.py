"""Handwritten digits, 8x8: scikit-learn's ``load_digits``, the test part of the UCI set
"Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998; CC BY 4.0).

1,797 pictures of 10 digits by 13 people. The writers are not named; the order of the labels shows
14 blocks of forms, which serve as users ("form blocks": inferred, not given). Of each block every
fourth picture is for testing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pockettune.data.dataset import FederatedDataset, Split
from pockettune.errors import ConfigInvalid, ToolMissing

_STARTS = (0, 130, 256, 386, 516, 646, 776, 902, 1029, 1157, 1287, 1415, 1541, 1667)


def load(folder: Path | None = None) -> FederatedDataset:
    """Inputs ``[1, 8, 8]`` from 0 to 1. Raises ToolMissing without scikit-learn, ConfigInvalid for
    a folder, which could only be ignored."""
    if folder is not None:
        raise ConfigInvalid("folder", folder, "none: the digits come with scikit-learn")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ToolMissing("scikit-learn", "pip install 'pockettune[federated]'") from error
    raw = load_digits()
    inputs = (raw.images / 16.0).astype(np.float32)[:, None]
    labels = raw.target.astype(np.int64)
    order = np.arange(len(labels))
    users = np.searchsorted(_STARTS, order, side="right").astype(np.int64) - 1
    tested = (order - np.array(_STARTS)[users]) % 4 == 3
    whole = Split(inputs, labels, users)
    return FederatedDataset(
        name="digits",
        task="classification",
        train=whole.take(order[~tested]),
        test=whole.take(order[tested]),
        classes=10,
        source="UCI Optical Recognition of Handwritten Digits, through scikit-learn",
        license="CC BY 4.0",
        user="form block",
    )
