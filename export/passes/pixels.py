"""Pixels of images in rows and columns, as products take them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import Node

from export.passes.editor import Editor

__all__ = ["from_line", "lines_of", "row_operands", "side_by_side"]

aten = torch.ops.aten


def row_operands(
    editor: Editor, beside: Node, starts: Sequence[int], height: int, stride: int
) -> list[Node]:
    """For each row of the filter its operand ``[N * height * W, width * C]``.

    ``beside`` ``[N, H, W, width * C]`` has the inputs of a row of taps side by side; a row of the
    filter starts at each of ``starts`` and takes every ``stride``-th line.
    """
    samples, lines, width, channels = beside.meta["val"].shape
    if stride > 1:
        shape = (samples, lines // stride, stride, width * channels)
        by_phase = editor.reshape(beside, shape)
        rows = []
        for start in starts:
            first, phase = divmod(start, stride)
            row = editor.slice(by_phase, 1, first, first + height)
            rows.append(editor.slice(row, 2, phase, phase + 1))
    else:
        flat = lines_of(editor, beside)
        rows = [from_line(editor, flat, start, height, width) for start in starts]
    return [editor.reshape(row, (samples * height * width, channels)) for row in rows]


def lines_of(editor: Editor, x: Node) -> Node:
    """``[N, H, W, C]`` with a sample's pixels in one dimension.

    Some lines of one sample are then a plain slice.
    """
    samples, height, width, channels = x.meta["val"].shape
    pixels = (height * width, channels)
    return editor.reshape(x, pixels if samples == 1 else (samples, *pixels))


def from_line(editor: Editor, lines: Node, start: int, height: int, width: int) -> Node:
    """``height`` lines of ``width`` pixels, the first of them ``start``."""
    dimension = lines.meta["val"].dim() - 2
    return editor.slice(lines, dimension, start * width, (start + height) * width)


def side_by_side(editor: Editor, columns: Sequence[Node]) -> Node:
    return columns[0] if len(columns) == 1 else editor.call(aten.cat.default, columns, 3)
