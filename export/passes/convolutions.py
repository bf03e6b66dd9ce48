"""Convolutions as sums of shifted products: for each tap of the filter, each row of taps, or all.

With channels last, ``y[p] = sum over taps k of W_k x[stride * p + k - padding]``: a ``linear`` with
a slice of the padded input. Where its input is small, the taps of a row are one product, with the
shifted inputs side by side, and where it is very small all taps are: fewer, larger operators. The
gradient of the input reads the same constants, so a filter is stored once, and no convolution
operator is left: a delegate that serializes a constant for a convolution and a transposed one lays
it out for the first only and computes the second wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import Node

from export.passes.editor import Editor, apply_rules, arguments
from export.passes.filters import Filter, read_filter
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
        spread = _backward if moved.stride == 1 else _backward_strided
        return (editor.permute(spread(editor, moved, gradient, shape), (0, 3, 1, 2)),)

    return apply_rules(
        editor,
        {aten.convolution.default: forward, aten.convolution_backward.default: backward},
    )


def _operands(
    editor: Editor, moved: Filter, beside: Node, starts: Sequence[int], height: int, stride: int
) -> list[Node]:
    """For each part of the filter its operand ``[N * height * W, taps * C]``.

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
        # Pixels of a sample in one dimension: of one sample a row's operand is then a plain slice.
        pixels = (lines * width, channels)
        flat = editor.reshape(beside, pixels if samples == 1 else (samples, *pixels))
        dimension = flat.meta["val"].dim() - 2
        rows = [
            editor.slice(flat, dimension, start * width, (start + height) * width)
            for start in starts
        ]
    operands = [editor.reshape(row, (samples * height * width, channels)) for row in rows]
    if len(moved.taps) == 1 and len(operands) > 1:
        operands = [editor.call(aten.cat.default, operands, 1)]
    return operands


def _beside(editor: Editor, columns: Sequence[Node]) -> Node:
    return columns[0] if len(columns) == 1 else editor.call(aten.cat.default, columns, 3)


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
    """As :func:`_forward`, with a product for each row of taps, or one for all."""
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
    beside = _beside(editor, pieces)
    operands = _operands(editor, moved, beside, range(moved.height), out_height, stride)
    products = [
        editor.call(aten.linear.default, operand, part.node(editor))
        for operand, part in zip(operands, moved.taps, strict=True)
    ]
    scaled = moved.taps[0].scaled(editor, editor.sum(products))
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


def _backward(editor: Editor, moved: Filter, gradient: Node, shape: Sequence[int]) -> Node:
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
        beside = _beside(
            editor, [editor.slice(padded, 2, first, first + width) for first in first_columns]
        )
        operands = _operands(editor, moved, beside, first_rows, height, 1)
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


def _backward_strided(editor: Editor, moved: Filter, gradient: Node, shape: Sequence[int]) -> Node:
    """As :func:`_backward`, for a stride over 1.

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
