"""Gradients of convolutions' inputs, from the same constants as the convolutions themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import Node

from export.passes.editor import Editor
from export.passes.filters import Filter
from export.passes.pixels import from_line, lines_of, row_operands, side_by_side
from export.passes.weights import StoredWeight

__all__ = ["input_gradient", "strided_input_gradient"]

aten = torch.ops.aten


def input_gradient(editor: Editor, moved: Filter, gradient: Node, shape: Sequence[int]) -> Node:
    """Gradient of an input ``shape`` ``[N, C, H, W]`` as ``[N, H, W, C]``, for stride 1.

    ``dx[p] = sum over taps k of g[p + padding - k] W_k``, with zeros outside of ``g``.
    """
    samples, channels, height, width = shape
    out_height, out_width = gradient.meta["val"].shape[2:]
    last = editor.reshape(
        _scaled_gradient(editor, moved, gradient),
        (samples, out_height, out_width, moved.outputs),
    )
    above, left = (moved.height - 1 - moved.padding[0], moved.width - 1 - moved.padding[1])
    below = height + moved.padding[0] - out_height
    right_of = width + moved.padding[1] - out_width
    # Padding beyond the filter's reach gives gradients that fall outside of the input.
    padded = editor.pad(last, (0, 0, max(left, 0), max(right_of, 0), max(above, 0), max(below, 0)))
    if moved.is_joined:
        first_rows = [moved.height - 1 - down + max(-above, 0) for down in range(moved.height)]
        first_columns = [moved.width - 1 - right + max(-left, 0) for right in range(moved.width)]
        if moved.is_stacked:
            return _backward_stacked(editor, moved, padded, first_rows, first_columns, shape)
        beside = side_by_side(
            editor, [editor.slice(padded, 2, first, first + width) for first in first_columns]
        )
        operands = row_operands(editor, beside, first_rows, height, 1)
        products = [
            _times_joined(editor, moved, operand, row)
            for operand, row in zip(operands, moved.taps, strict=True)
        ]
        return editor.reshape(editor.sum(products), (samples, height, width, channels))

    def product(index: int) -> Node:
        down, right = divmod(index, moved.width)
        first_row = moved.height - 1 - down + max(-above, 0)
        first_column = moved.width - 1 - right + max(-left, 0)
        piece = editor.slice(padded, 1, first_row, first_row + height)
        piece = editor.slice(piece, 2, first_column, first_column + width)
        flat = editor.reshape(piece, (samples * height * width, moved.outputs))
        return _times(editor, moved, flat, index)

    total = editor.sum(map(product, range(len(moved.taps))))
    return editor.reshape(total, (samples, height, width, channels))


def _backward_stacked(
    editor: Editor,
    moved: Filter,
    padded: Node,
    first_rows: Sequence[int],
    first_columns: Sequence[int],
    shape: Sequence[int],
) -> Node:
    """The end of :func:`input_gradient` with one product: every column's part of each pixel."""
    samples, channels, height, width = shape
    columns = padded.meta["val"].shape[2]
    lines = lines_of(editor, padded)
    rows = [from_line(editor, lines, first, height, columns) for first in first_rows]
    beside = editor.call(aten.cat.default, rows, lines.meta["val"].dim() - 1)
    flat = editor.reshape(beside, (samples * height * columns, moved.height * moved.outputs))
    matrix = editor.permute(moved.taps[0].node(editor), (1, 0))
    product = editor.call(aten.linear.default, flat, matrix)
    of_columns = editor.reshape(product, (samples, height, columns, moved.width * channels))
    terms = []
    for right, first in enumerate(first_columns):
        part = editor.slice(of_columns, 2, first, first + width)
        terms.append(editor.slice(part, 3, right * channels, (right + 1) * channels))
    return editor.sum(terms)


def strided_input_gradient(
    editor: Editor, moved: Filter, gradient: Node, shape: Sequence[int]
) -> Node:
    """As :func:`input_gradient`, for a stride over 1.

    Each tap's product lands in one of ``stride * stride`` phases of the padded input; the phases
    are then interleaved, columns first.
    """
    samples, channels, height, width = shape
    out_height, out_width = gradient.meta["val"].shape[2:]
    stride = moved.stride
    above, left = moved.padding
    rows = -(-max(height + 2 * above, (out_height - 1) * stride + moved.height) // stride)
    columns = -(-max(width + 2 * left, (out_width - 1) * stride + moved.width) // stride)
    flat = _scaled_gradient(editor, moved, gradient)
    phases: dict[tuple[int, int], Node] = {}
    for index in range(moved.height * moved.width):
        down, right = divmod(index, moved.width)
        product = editor.reshape(
            _times(editor, moved, flat, index), (samples, out_height, out_width, channels)
        )
        row, column = down // stride, right // stride
        widths = (0, 0, column, columns - out_width - column, row, rows - out_height - row)
        placed = editor.pad(product, widths)
        phase = (down % stride, right % stride)
        phases[phase] = (
            editor.call(aten.add.Tensor, phases[phase], placed) if phase in phases else placed
        )
    strips = []
    for row in range(stride):
        missing = editor.constant(torch.zeros(samples, rows, columns, channels))
        strip = [phases.get((row, column), missing) for column in range(stride)]
        interleaved = editor.call(aten.cat.default, strip, 3)
        strips.append(editor.reshape(interleaved, (samples * rows, 1, columns * stride * channels)))
    whole = editor.reshape(
        editor.call(aten.cat.default, strips, 1),
        (samples, rows * stride, columns * stride, channels),
    )
    whole = editor.slice(whole, 1, above, above + height)
    return editor.slice(whole, 2, left, left + width)


def _scaled_gradient(editor: Editor, moved: Filter, gradient: Node) -> Node:
    """``gradient`` ``[N, outputs, H', W']`` to ``[N * H' * W', outputs]``, times the scales."""
    last = editor.permute(gradient, (0, 2, 3, 1))
    samples, height, width, outputs = last.meta["val"].shape
    flat = editor.reshape(last, (samples * height * width, outputs))
    return moved.taps[0].scaled(editor, flat)


def _times(editor: Editor, moved: Filter, gradient: Node, index: int) -> Node:
    """Gradients ``[n, outputs]`` times a tap, ``[n, inputs]``."""
    joined = moved.height * moved.width // len(moved.taps)
    part, place = divmod(index, joined)
    matrix = moved.taps[part].node(editor)
    matrix = editor.slice(matrix, 1, place * moved.inputs, (place + 1) * moved.inputs)
    return editor.call(aten.linear.default, gradient, editor.permute(matrix, (1, 0)))


def _times_joined(editor: Editor, moved: Filter, gradient: Node, part: StoredWeight) -> Node:
    """Gradients side by side ``[n, taps * outputs]`` times a part with as many taps."""
    taps = moved.height * moved.width // len(moved.taps)
    split = editor.reshape(part.node(editor), (moved.outputs, taps, moved.inputs))
    matrix = editor.reshape(editor.permute(split, (1, 0, 2)), (taps * moved.outputs, moved.inputs))
    return editor.call(aten.mm.default, gradient, matrix)
