"""Nearest-neighbor upsampling by whole factors, and its gradient, without views of rank 6."""

from __future__ import annotations

import torch
from torch.fx import Node

from export.passes.editor import Editor, apply_rules, arguments
from pockettune.errors import ModelUnsupported

__all__ = ["expand_upsampling"]

aten = torch.ops.aten


def expand_upsampling(editor: Editor) -> int:
    """Upsampling multiplies with a row of ones, channels last; its gradient adds slices.

    Channels last, because the convolutions around it are: their permutes then cancel.
    Raises ``ModelUnsupported`` for a factor that is not whole.
    """

    def forward(editor: Editor, node: Node) -> Node:
        x: Node = arguments(node)[0]
        samples, channels, height, width = x.meta["val"].shape
        down, right = _factors(x.meta["val"].shape, node.meta["val"].shape)
        last = editor.permute(x, (0, 2, 3, 1))
        pixels = editor.reshape(last, (samples * height * width, channels))
        repeated = _repeat(editor, pixels, right)
        rows = editor.reshape(repeated, (samples * height, width * right * channels))
        repeated = _repeat(editor, rows, down)
        shape = (samples, height * down, width * right, channels)
        return editor.permute(editor.reshape(repeated, shape), (0, 3, 1, 2))

    def backward(editor: Editor, node: Node) -> Node:
        gradient: Node = arguments(node)[0]
        samples, channels, height, width = node.meta["val"].shape
        down, right = _factors(node.meta["val"].shape, gradient.meta["val"].shape)
        last = editor.permute(gradient, (0, 2, 3, 1))
        line = width * right * channels
        rows = _add_parts(editor, editor.reshape(last, (samples * height, down * line)), down)
        pixels = editor.reshape(rows, (samples * height * width, right * channels))
        summed = _add_parts(editor, pixels, right)
        shape = (samples, height, width, channels)
        return editor.permute(editor.reshape(summed, shape), (0, 3, 1, 2))

    return apply_rules(
        editor,
        {
            aten.upsample_nearest2d.default: forward,
            aten.upsample_nearest2d.vec: forward,
            aten.upsample_nearest2d_backward.default: backward,
        },
    )


def _factors(small: torch.Size, large: torch.Size) -> tuple[int, int]:
    if large[2] % small[2] or large[3] % small[3]:
        raise ModelUnsupported("upsampling", f"{small[2:]} to {large[2:]}", "whole factors")
    return large[2] // small[2], large[3] // small[3]


def _repeat(editor: Editor, rows: Node, times: int) -> Node:
    """``[n, columns]`` to ``[n, times, columns]``."""
    if times == 1:
        return rows
    count, columns = rows.meta["val"].shape
    ones = editor.constant(torch.ones(1, times, 1))
    # Not cat of the same tensor, which the partitioner takes for a cat of one.
    return editor.call(aten.mul.Tensor, editor.reshape(rows, (count, 1, columns)), ones)


def _add_parts(editor: Editor, rows: Node, parts: int) -> Node:
    """``[n, parts * columns]`` to ``[n, columns]``."""
    columns = rows.meta["val"].shape[1] // parts
    total = editor.slice(rows, 1, 0, columns)
    for part in range(1, parts):
        piece = editor.slice(rows, 1, part * columns, (part + 1) * columns)
        total = editor.call(aten.add.Tensor, total, piece)
    return total
