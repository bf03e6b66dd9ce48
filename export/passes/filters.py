"""A convolution's frozen filter: whether it can be expanded, and in which parts it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.fx import Node

from export.passes.editor import Editor
from export.passes.weights import FrozenWeights, StoredWeight, TracedWeight
from pockettune.errors import ModelUnsupported

__all__ = ["Filter", "read_filter"]

# Elements of the shifted inputs side by side: beyond 8 MB they would be a program's largest
# workspace. One product for all rows computes some lines in vain and is worth it for fewer nodes
# only, so what it gives (2 MB) and the filter as float32 (1 MB) are to take little room.
_LARGEST_ROW = 2**21
_LARGEST_STACKED = 2**19
_LARGEST_FILTER = 2**18


@dataclass(frozen=True, slots=True)
class Filter:
    """A frozen filter ``[outputs, inputs, height, width]`` and how it moves.

    ``taps`` has a part for each tap, for each row of them, or one with all rows, stacked.
    """

    taps: tuple[StoredWeight, ...]
    outputs: int
    inputs: int
    height: int
    width: int
    stride: int
    padding: tuple[int, int]

    @property
    def is_joined(self) -> bool:
        """Whether a part is a row of taps, or all rows."""
        return len(self.taps) < self.height * self.width

    @property
    def is_stacked(self) -> bool:
        """Whether the one part has several rows of taps, each a block of ``outputs`` rows."""
        return len(self.taps) == 1 < self.height


def read_filter(
    editor: Editor,
    weights: FrozenWeights,
    x: Node,
    weight: Node,
    how: Sequence[Any],
) -> Filter:
    """The filter of a convolution from its operands; ``x`` is the input, ``how`` what follows the
    bias.

    Raises ``ModelUnsupported`` as ``expand_convolutions`` says.
    """
    frozen = TracedWeight.at(editor, weight)
    if frozen is None:
        raise ModelUnsupported("convolution", "a trained filter", "frozen filters")
    stride, padding, dilation, transposed, _, groups = how
    strides, paddings, dilations = list(stride), list(padding), list(dilation)
    if transposed or groups != 1 or set(dilations) != {1} or len(set(strides)) != 1:
        found = f"stride {strides}, dilation {dilations}, groups {groups}, transposed {transposed}"
        raise ModelUnsupported("convolution", found, "equal strides, dilation 1, one group")
    outputs, inputs, height, width = frozen.values.shape
    area = x.meta["val"][:, 0].numel()
    row = area * width * max(inputs, outputs)
    stacked = row * height <= _LARGEST_STACKED and frozen.values.numel() <= _LARGEST_FILTER
    taps = weights.taps(frozen, joined=row <= _LARGEST_ROW, stacked=stacked and strides[0] == 1)
    edges = (paddings[0], paddings[1])
    return Filter(taps, outputs, inputs, height, width, strides[0], edges)
