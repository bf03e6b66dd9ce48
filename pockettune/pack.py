"""Named tensors as one flat vector, the *pack*: how state travels (``spec/bundle.md``, section 3).

A pack keeps an optimizer at a dozen operators and a checkpoint at one write, however many tensors a
model has. ``views`` say which part is which tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pockettune.method import View

__all__ = ["concatenate", "pack_size", "unpack", "views_of"]

_LARGEST_CONCATENATION = 4


def views_of(shapes: Iterable[tuple[str, Sequence[int]]]) -> tuple[View, ...]:
    """Views for tensors of these names and shapes, one after the other, in the order given."""
    views: list[View] = []
    offset = 0
    for name, shape in shapes:
        views.append(View(name, tuple(shape), offset))
        offset += math.prod(shape)
    return tuple(views)


def pack_size(views: Sequence[View]) -> int:
    """Number of elements of a pack with these views."""
    return sum(math.prod(view.shape) for view in views)


def unpack(views: Sequence[View], pack: Tensor) -> dict[str, Tensor]:
    """The named tensors of a pack ``[size]``: views, no copies."""
    return {
        view.name: pack.narrow(0, view.offset, math.prod(view.shape)).reshape(view.shape)
        for view in views
    }


def concatenate(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors' elements in one flat vector, as a tree of concatenations of at most 4 operands:
    the widest that runtimes do in one operator."""
    level = [tensor.reshape(-1) for tensor in tensors]
    while len(level) > 1:
        groups = range(0, len(level), _LARGEST_CONCATENATION)
        level = [torch.cat(level[start : start + _LARGEST_CONCATENATION]) for start in groups]
    return level[0]
