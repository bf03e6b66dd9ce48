"""A model's parameters as a file: one tensor a view, as clients write them and start from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pockettune import tensor_file
from pockettune.errors import ModelNotFinite, TensorMismatch
from pockettune.method import View
from pockettune.pack import concatenate

__all__ = ["read_pack"]


def read_pack(path: Path, views: Sequence[View]) -> Tensor:
    """The pack of a file with exactly the tensors of ``views``, all float32.

    Raises SafetensorsInvalid, TensorMismatch, IoFailed, and ModelNotFinite for a number that is not
    finite.
    """
    tensors = tensor_file.read(path)
    names = [view.name for view in views]
    for name in sorted(set(tensors) - set(names)):
        raise TensorMismatch(name, "there", f"one of {', '.join(names)}")
    tensors = tensor_file.read(path, {view.name: ("float32", view.shape) for view in views})
    parts = [torch.from_numpy(tensors[name].copy()) for name in names]
    for name, part in zip(names, parts, strict=True):
        if not torch.isfinite(part).all():
            raise ModelNotFinite(path, name)
    return concatenate(parts)
