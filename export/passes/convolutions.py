"""Convolutions as sums of shifted products, one for each tap of the filter or each row of taps.

With channels last, ``y[p] = sum over taps k of W_k x[stride * p + k - padding]``: a ``linear`` with
a slice of the padded input. Where its input is small, the taps of a row are one product, with the
shifted inputs side by side: fewer, larger operators. The gradient of the input reads the same
constants, so a filter is stored once, and no convolution operator is left: a delegate that
serializes a constant for a convolution and a transposed one lays it out for the first only and
computes the second wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from export.passes.editor import Editor, apply_rules
from export.passes.weights import FrozenWeights, StoredWeight, TracedWeight
from pockettune.errors import ModelUnsupported

__all__ = ["expand_convolutions"]

aten = torch.ops.aten

# Elements of the shifted inputs side by side, 8 MB: beyond it they would be a program's largest
# workspace.
_LARGEST_ROW = 2**21


@dataclass(frozen=True, slots=True)
class _Filter:
    """A frozen filter ``[outputs, inputs, height, width]`` and how it moves.

    ``taps`` has a part for each tap, or for each row of them.
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
        """Whether a part is a row of taps."""
        return self.width > 1 and len(self.taps) == self.height


def expand_convolutions(editor: Editor, weights: FrozenWeights) -> int:
    """Expand ``convolution`` and, for its input, ``convolution_backward`` with frozen filters.

    Raises ``ModelUnsupported`` for a transposed, dilated or grouped convolution, unequal strides,
    or a filter that is trained.
    """

    def forward(editor: Editor, node: Node) -> Node:
        x, weight, bias, stride, padding, dilation, transposed, _, groups = node.args
        moved = _filter(editor, weights, x, weight, stride, padding, dilation, transposed, groups)
        run = _forward_joined if moved.is_joined else _forward
        result = run(editor, moved, x, node.meta["val"].shape)  # type: ignore[arg-type]
        if bias is not None:
            result = editor.call(aten.add.Tensor, result, bias)
        return editor.permute(result, (0, 3, 1, 2))

    def backward(editor: Editor, node: Node) -> tuple[Node, ...]:
        gradient, x, weight, _, stride, padding, dilation, transposed, _, groups, mask = node.args
        if mask[1] or mask[2]:  # type: ignore[index]
            raise ModelUnsupported("convolution", "a trained filter", "frozen filters")
        moved = _filter(editor, weights, x, weight, stride, padding, dilation, transposed, groups)
        shape = x.meta["val"].shape  # type: ignore[union-attr]
        spread = _backward if moved.stride == 1 else _backward_strided
        return (editor.permute(spread(editor, moved, gradient, shape), (0, 3, 1, 2)),)  # type: ignore[arg-type]

    return apply_rules(
        editor,
        {aten.convolution.default: forward, aten.convolution_backward.default: backward},
    )


def _filter(
    editor: Editor,
    weights: FrozenWeights,
    x: object,
    weight: object,
    stride: object,
    padding: object,
    dilation: object,
    transposed: object,
    groups: object,
) -> _Filter:
    frozen = TracedWeight.at(editor, weight)
    if frozen is None:
        raise ModelUnsupported("convolution", "a trained filter", "frozen filters")
    strides, paddings, dilations = list(stride), list(padding), list(dilation)  # type: ignore[call-overload]
    if transposed or groups != 1 or set(dilations) != {1} or len(set(strides)) != 1:
        found = f"stride {strides}, dilation {dilations}, groups {groups}, transposed {transposed}"
        raise ModelUnsupported("convolution", found, "equal strides, dilation 1, one group")
    outputs, inputs, height, width = frozen.values.shape
    area = x.meta["val"][:, 0].numel()  # type: ignore[attr-defined]
    joined = width > 1 and strides[0] == 1 and area * width * max(inputs, outputs) <= _LARGEST_ROW
    taps, edges = weights.taps(frozen, joined=joined), (paddings[0], paddings[1])
    return _Filter(taps, outputs, inputs, height, width, strides[0], edges)


def _rows(
    editor: Editor, padded: Node, starts: tuple[list[int], list[int]], shape: Sequence[int]
) -> list[Node]:
    """For each row of taps its operand ``[N * H * W, width * C]``.

    ``padded`` is channels last; ``starts`` are the first row of each row of taps and the first
    column of each tap within one; ``shape`` is ``(N, H, W, C)``.
    """
    samples, height, width, channels = shape
    columns = [editor.slice(padded, 2, start, start + width) for start in starts[1]]
    beside = editor.call(aten.cat.default, columns, 3)
    flat = (samples * height * width, len(columns) * channels)
    return [
        editor.reshape(editor.slice(beside, 1, start, start + height), flat) for start in starts[0]
    ]


def _sum(editor: Editor, terms: Sequence[Node]) -> Node:
    total, *others = terms
    for term in others:
        total = editor.call(aten.add.Tensor, total, term)
    return total


def _forward_joined(editor: Editor, moved: _Filter, x: Node, shape: Sequence[int]) -> Node:
    """As :func:`_forward`, for stride 1, with a product for each row of taps."""
    samples, outputs, out_height, out_width = shape
    above, left = moved.padding
    padded = editor.pad(editor.permute(x, (0, 2, 3, 1)), (0, 0, left, left, above, above))
    starts = (list(range(moved.height)), list(range(moved.width)))
    operands = _rows(editor, padded, starts, (samples, out_height, out_width, moved.inputs))
    total = _sum(
        editor,
        [
            editor.call(aten.linear.default, operand, row.node(editor))
            for operand, row in zip(operands, moved.taps, strict=True)
        ],
    )
    scaled = moved.taps[0].scaled(editor, total)
    return editor.reshape(scaled, (samples, out_height, out_width, outputs))


def _forward(editor: Editor, moved: _Filter, x: Node, shape: Sequence[int]) -> Node:
    """``x`` ``[N, C, H, W]`` to ``[N, H', W', outputs]``; ``shape`` is ``[N, outputs, H', W']``."""
    samples, _, out_height, out_width = shape
    channels, stride = moved.inputs, moved.stride
    above, left = moved.padding
    height, width = x.meta["val"].shape[2:]
    # Rows and columns that no tap reads are cut; the padded sizes are multiples of the stride.
    more_below = -(height + 2 * above) % stride
    more_right = -(width + 2 * left) % stride
    padded = editor.pad(
        editor.permute(x, (0, 2, 3, 1)), (0, 0, left, left + more_right, above, above + more_below)
    )
    rows, columns = padded.meta["val"].shape[1:3]
    phases = editor.reshape(
        padded, (samples * rows // stride, stride, columns // stride, stride * channels)
    )
    total: Node | None = None
    for index, tap in enumerate(moved.taps):
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
        product = editor.call(aten.linear.default, flat, tap.node(editor))
        total = product if total is None else editor.call(aten.add.Tensor, total, product)
    scaled = moved.taps[0].scaled(editor, total)  # type: ignore[arg-type]
    return editor.reshape(scaled, (samples, out_height, out_width, moved.outputs))


def _scaled_gradient(editor: Editor, moved: _Filter, gradient: Node) -> Node:
    """``gradient`` ``[N, outputs, H', W']`` to ``[N * H' * W', outputs]``, times the scales."""
    last = editor.permute(gradient, (0, 2, 3, 1))
    samples, height, width, outputs = last.meta["val"].shape
    flat = editor.reshape(last, (samples * height * width, outputs))
    return moved.taps[0].scaled(editor, flat)


def _times(editor: Editor, gradient: Node, tap: StoredWeight) -> Node:
    return editor.call(aten.linear.default, gradient, editor.permute(tap.node(editor), (1, 0)))


def _times_row(editor: Editor, moved: _Filter, gradient: Node, row: StoredWeight) -> Node:
    """Gradients side by side ``[n, width * outputs]`` times a row of taps, ``[n, inputs]``."""
    split = editor.reshape(row.node(editor), (moved.outputs, moved.width, moved.inputs))
    matrix = editor.reshape(
        editor.permute(split, (1, 0, 2)), (moved.width * moved.outputs, moved.inputs)
    )
    return editor.call(aten.mm.default, gradient, matrix)


def _backward(editor: Editor, moved: _Filter, gradient: Node, shape: Sequence[int]) -> Node:
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
        starts = (
            [moved.height - 1 - down + max(-above, 0) for down in range(moved.height)],
            [moved.width - 1 - right + max(-left, 0) for right in range(moved.width)],
        )
        operands = _rows(editor, padded, starts, (samples, height, width, moved.outputs))
        products = [
            _times_row(editor, moved, operand, row)
            for operand, row in zip(operands, moved.taps, strict=True)
        ]
        return editor.reshape(_sum(editor, products), (samples, height, width, channels))
    total: Node | None = None
    for index, tap in enumerate(moved.taps):
        down, right = divmod(index, moved.width)
        first_row = moved.height - 1 - down + max(-above, 0)
        first_column = moved.width - 1 - right + max(-left, 0)
        piece = editor.slice(padded, 1, first_row, first_row + height)
        piece = editor.slice(piece, 2, first_column, first_column + width)
        flat = editor.reshape(piece, (samples * height * width, moved.outputs))
        product = _times(editor, flat, tap)
        total = product if total is None else editor.call(aten.add.Tensor, total, product)
    return editor.reshape(total, (samples, height, width, channels))  # type: ignore[arg-type]


def _backward_strided(editor: Editor, moved: _Filter, gradient: Node, shape: Sequence[int]) -> Node:
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
    for index, tap in enumerate(moved.taps):
        down, right = divmod(index, moved.width)
        product = editor.reshape(
            _times(editor, flat, tap), (samples, out_height, out_width, channels)
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
