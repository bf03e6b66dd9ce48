"""Convolutions as sums of shifted products: for each tap of the filter, each row of taps, or all.

With channels last, ``y[p] = sum over taps k of W_k x[stride * p + k - padding]``: a ``linear`` with
a slice of the padded input. Where its input is small, the taps of a row are one product, with the
shifted inputs side by side, and where it is very small one product gives every row's part of each
line: fewer, larger operators. It never sums over all taps at once: the delegate adds one number
after the other, and rounding grows with how many. The gradient of the input reads the same
constants, so a filter is stored once, and no convolution operator is left: a delegate that
serializes a constant for a convolution and a transposed one lays it out for the first only and
computes the second wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import Node

from export.passes.convolution_gradients import input_gradient, strided_input_gradient
from export.passes.editor import Editor, apply_rules, arguments
from export.passes.filters import Filter, read_filter
from export.passes.pixels import from_line, lines_of, row_operands, side_by_side
from export.passes.weights import FrozenWeights, StoredWeight
from pockettune.errors import ModelUnsupported

__all__ = ["expand_convolutions"]

aten = torch.ops.aten


def expand_convolutions(editor: Editor, weights: FrozenWeights) -> int:
    """Expand ``convolution`` and, for its input, ``convolution_backward`` with frozen filters.

    Raises ``ModelUnsupported`` for a transposed, dilated or grouped convolution, unequal strides,
    or a filter that is trained.
    """

    def forward(editor: Editor, node: Node) -> Node:
        x, weight, bias, *how = arguments(node)
        moved = read_filter(editor, weights, x, weight, how)
        run = _forward_joined if moved.is_joined else _forward
        result = run(editor, moved, x, node.meta["val"].shape)
        if bias is not None:
            result = editor.call(aten.add.Tensor, result, bias)
        return editor.permute(result, (0, 3, 1, 2))

    def backward(editor: Editor, node: Node) -> tuple[Node, ...]:
        gradient, x, weight, _, *how, mask = arguments(node)
        if mask[1] or mask[2]:
            raise ModelUnsupported("convolution", "a trained filter", "frozen filters")
        moved = read_filter(editor, weights, x, weight, how)
        shape = x.meta["val"].shape
        spread = input_gradient if moved.stride == 1 else strided_input_gradient
        return (editor.permute(spread(editor, moved, gradient, shape), (0, 3, 1, 2)),)

    return apply_rules(
        editor,
        {aten.convolution.default: forward, aten.convolution_backward.default: backward},
    )


def _padded(editor: Editor, moved: Filter, x: Node) -> Node:
    """``x`` ``[N, C, H, W]`` as ``[N, rows, columns, C]`` with its padding.

    Rows and columns that no tap reads are cut; the padded sizes are multiples of the stride.
    """
    above, left = moved.padding
    height, width = x.meta["val"].shape[2:]
    more_below = -(height + 2 * above) % moved.stride
    more_right = -(width + 2 * left) % moved.stride
    return editor.pad(
        editor.permute(x, (0, 2, 3, 1)), (0, 0, left, left + more_right, above, above + more_below)
    )


def _forward_joined(editor: Editor, moved: Filter, x: Node, shape: Sequence[int]) -> Node:
    """As :func:`_forward`, with a product for each row of taps, or one for all rows."""
    samples, outputs, out_height, out_width = shape
    stride, channels = moved.stride, moved.inputs
    padded = _padded(editor, moved, x)
    rows, columns = padded.meta["val"].shape[1:3]
    # The taps of one stride are side by side already.
    strides = editor.reshape(padded, (samples, rows, columns // stride, stride * channels))
    pieces = []
    for first in range(0, moved.width, stride):
        place, taps = first // stride, min(stride, moved.width - first)
        piece = editor.slice(strides, 2, place, place + out_width)
        pieces.append(editor.slice(piece, 3, 0, taps * channels))
    beside = side_by_side(editor, pieces)
    if moved.is_stacked:
        flat = editor.reshape(beside, (samples * rows * out_width, moved.width * channels))
        product = editor.call(aten.linear.default, flat, moved.taps[0].node(editor))
        of_rows = (samples, rows, out_width, moved.height * outputs)
        lines = lines_of(editor, editor.reshape(product, of_rows))
        terms = []
        for down in range(moved.height):
            part = from_line(editor, lines, down, out_height, out_width)
            last = part.meta["val"].dim() - 1
            terms.append(editor.slice(part, last, down * outputs, (down + 1) * outputs))
    else:
        operands = row_operands(editor, beside, range(moved.height), out_height, stride)
        terms = [
            editor.call(aten.linear.default, operand, part.node(editor))
            for operand, part in zip(operands, moved.taps, strict=True)
        ]
    pixels = (samples * out_height * out_width, outputs)
    scaled = moved.taps[0].scaled(editor, editor.reshape(editor.sum(terms), pixels))
    return editor.reshape(scaled, (samples, out_height, out_width, outputs))


def _forward(editor: Editor, moved: Filter, x: Node, shape: Sequence[int]) -> Node:
    """``x`` ``[N, C, H, W]`` to ``[N, H', W', outputs]``; ``shape`` is ``[N, outputs, H', W']``."""
    samples, _, out_height, out_width = shape
    channels, stride = moved.inputs, moved.stride
    padded = _padded(editor, moved, x)
    rows, columns = padded.meta["val"].shape[1:3]
    phases = editor.reshape(
        padded, (samples * rows // stride, stride, columns // stride, stride * channels)
    )

    def product(index: int, tap: StoredWeight) -> Node:
        down, right = divmod(index, moved.width)
        piece = padded
        if stride > 1:
            phase = right % stride * channels
            piece = editor.slice(phases, 1, down % stride, down % stride + 1)
            piece = editor.slice(piece, 3, phase, phase + channels)
            piece = editor.reshape(piece, (samples, rows // stride, columns // stride, channels))
        piece = editor.slice(piece, 1, down // stride, down // stride + out_height)
        piece = editor.slice(piece, 2, right // stride, right // stride + out_width)
        flat = editor.reshape(piece, (samples * out_height * out_width, channels))
        return editor.call(aten.linear.default, flat, tap.node(editor))

    total = editor.sum(product(index, tap) for index, tap in enumerate(moved.taps))
    scaled = moved.taps[0].scaled(editor, total)
    return editor.reshape(scaled, (samples, out_height, out_width, moved.outputs))
