"""Convolutions whose filters are trained, as products with shifted inputs.

A delegate's convolution wants a constant filter, and here the filter is state. Pixels come first,
``[height, width, samples, channels]``, so that a shift by rows or columns copies long runs. With
``h`` rows and ``w`` columns of taps, shifts by columns and by rows are taken apart, which makes ``h
+ w`` copies of ``h * w``:

- the inputs of a row of taps are laid side by side once: ``u``, ``[pixels, w * inputs]``;
- forward: ``u`` times each row of the filter, shifted by rows, adds up to the result. Where padding
  does not make up for the rows that a filter takes, ``u`` is shifted, so that none is in vain;
- the result's gradient, shifted by rows, is laid side by side once: ``g``, ``[pixels, h *
  outputs]``. The filter's gradient is ``g' u``; ``g`` times each column of the filter, shifted by
  columns, adds up to the input's.

Only ``u`` is kept from forward to backward. Where a row of taps is narrower than the outputs, as in
a first layer, ``u`` is all taps side by side: that is less than ``h`` products. It is then laid
out across, ``[taps, pixels]``, since few channels make short runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from export.passes.editor import PIXELS_FIRST, Editor, apply_rules, arguments
from export.passes.reductions import column_sums
from export.passes.weights import TracedWeight
from pockettune.errors import ModelUnsupported

__all__ = ["expand_trained_convolutions", "move_permutes"]

aten = torch.ops.aten

_WIDEST_CAT = 5
"""Tensors that the delegate concatenates at once."""
_ELEMENTWISE = (
    aten.relu.default,
    aten.clamp.default,
    aten.add.Tensor,
    aten.sub.Tensor,
    aten.mul.Tensor,
    aten.div.Tensor,
    aten.maximum.default,
)


@dataclass(frozen=True, slots=True)
class _Geometry:
    """``samples`` inputs ``[inputs, *size]``, a filter ``[outputs, inputs, *window]`` that moves by
    1 over the padded input, and what it gives, ``[outputs, *result]``."""

    samples: int
    inputs: int
    size: tuple[int, int]
    outputs: int
    window: tuple[int, int]
    padding: tuple[int, int]

    @property
    def padded(self) -> tuple[int, int]:
        return self.size[0] + 2 * self.padding[0], self.size[1] + 2 * self.padding[1]

    @property
    def result(self) -> tuple[int, int]:
        return self.padded[0] - self.window[0] + 1, self.padded[1] - self.window[1] + 1

    @property
    def row(self) -> int:
        """Pixels of one row of all results."""
        return self.result[1] * self.samples

    @property
    def narrow(self) -> bool:
        rows, columns = self.window
        return columns * self.inputs < self.outputs and rows * columns > 1


def expand_trained_convolutions(editor: Editor) -> int:
    """Expand ``convolution`` and ``convolution_backward`` whose filter is computed or state.

    Those with a constant filter stay. Raises ``ModelUnsupported`` for a transposed, strided,
    dilated or grouped convolution.
    """
    known: dict[tuple[Node, _Geometry], Node] = {}

    def unfolded(x: Node, geometry: _Geometry) -> Node:
        key = (x, geometry)
        if key not in known:
            unfold = _taps_across if geometry.narrow else _row_of_taps
            known[key] = unfold(editor, x, geometry)
        return known[key]

    def forward(editor: Editor, node: Node) -> Node | None:
        x, weight, bias, *how = arguments(node)
        if TracedWeight.at(editor, weight) is not None:
            return None
        geometry = _geometry(x, weight, how)
        inputs = unfolded(x, geometry)
        if geometry.narrow:
            last = editor.permute(weight, (0, 2, 3, 1))
            matrix = editor.reshape(last, (geometry.outputs, inputs.meta["val"].shape[0]))
            result = _linear(editor, editor.permute(inputs, (1, 0)), matrix, bias)
        else:
            result = _from_rows(editor, inputs, weight, bias, geometry)
        shape = (*geometry.result, geometry.samples, geometry.outputs)
        return editor.permute(editor.reshape(result, shape), PIXELS_FIRST)

    def backward(editor: Editor, node: Node) -> tuple[Node | None, ...] | None:
        gradient, x, weight, _, *how, mask = arguments(node)
        if TracedWeight.at(editor, weight) is not None:
            return None
        geometry = _geometry(x, weight, how)
        first = editor.permute(gradient, PIXELS_FIRST)
        flat = editor.reshape(first, (geometry.result[0] * geometry.row, geometry.outputs))
        shifted = _shifted_rows(editor, flat, geometry)
        results: list[Node | None] = [None, None, None]
        if mask[0]:
            results[0] = _from_columns(editor, shifted, weight, geometry)
        if mask[1]:
            inputs = unfolded(x, geometry)
            rows, columns = geometry.window
            if geometry.narrow:
                product = editor.call(aten.mm.default, inputs, flat)
                shape, order = (rows, columns, geometry.inputs, geometry.outputs), (3, 2, 0, 1)
            else:
                product = editor.call(aten.mm.default, editor.permute(shifted, (1, 0)), inputs)
                shape, order = (rows, geometry.outputs, columns, geometry.inputs), (1, 3, 0, 2)
            results[1] = editor.permute(editor.reshape(product, shape), order)
        if mask[2]:
            results[2] = editor.reshape(column_sums(editor, flat), (geometry.outputs,))
        return tuple(results)

    return apply_rules(
        editor,
        {aten.convolution.default: forward, aten.convolution_backward.default: backward},
    )


def _geometry(x: Node, weight: Node, how: Sequence[Any]) -> _Geometry:
    stride, padding, dilation, transposed, _, groups = how
    strides, paddings, dilations = list(stride), list(padding), list(dilation)
    if transposed or groups != 1 or set(strides) != {1} or set(dilations) != {1}:
        found = f"stride {strides}, dilation {dilations}, groups {groups}, transposed {transposed}"
        raise ModelUnsupported("trained convolution", found, "stride 1, dilation 1, one group")
    samples, inputs, height, width = x.meta["val"].shape
    outputs, _, *window = weight.meta["val"].shape
    return _Geometry(
        samples,
        inputs,
        (height, width),
        outputs,
        (window[0], window[1]),
        (paddings[0], paddings[-1]),
    )


def _row_of_taps(editor: Editor, x: Node, geometry: _Geometry) -> Node:
    """``[rows of the input * row, columns of taps * inputs]``."""
    left, count = geometry.padding[1], geometry.window[1]
    first = editor.permute(x, PIXELS_FIRST)
    padded = editor.pad(first, (0, 0, 0, 0, left, left))
    shifted = [editor.slice(padded, 1, i, i + geometry.result[1]) for i in range(count)]
    # As matrices before they are put side by side: both passes read the result as it is.
    shape = (geometry.size[0] * geometry.row, geometry.inputs)
    return _beside(editor, [editor.reshape(part, shape) for part in shifted], 1)


def _taps_across(editor: Editor, x: Node, geometry: _Geometry) -> Node:
    """``[taps * inputs, pixels of the result]``."""
    (above, left), (rows, columns) = geometry.padding, geometry.window
    padded = editor.pad(editor.permute(x, (1, 2, 3, 0)), (0, 0, left, left, above, above))
    shape = (geometry.inputs, geometry.padded[0] * geometry.row)
    shifted = [editor.slice(padded, 2, i, i + geometry.result[1]) for i in range(columns)]
    row = _beside(editor, [editor.reshape(part, shape) for part in shifted], 0)
    count = geometry.result[0] * geometry.row
    starts = [index * geometry.row for index in range(rows)]
    return _beside(editor, [editor.slice(row, 1, start, start + count) for start in starts], 0)


def _moved(editor: Editor, x: Node, dimension: int, offset: int, count: int) -> Node:
    """``x`` from ``offset`` on, ``count`` long, with zeros where ``x`` has nothing."""
    behind = 2 * (x.meta["val"].dim() - 1 - dimension)
    after = max(0, offset + count - x.meta["val"].shape[dimension])
    padded = editor.pad(x, (*[0] * behind, max(0, -offset), after))
    return editor.slice(padded, dimension, max(0, offset), max(0, offset) + count)


def _by_rows(editor: Editor, x: Node, geometry: _Geometry) -> Node:
    """``[pixels, n]`` as ``[rows, row, n]``."""
    pixels, width = x.meta["val"].shape
    return editor.reshape(x, (pixels // geometry.row, geometry.row, width))


def _from_rows(
    editor: Editor, inputs: Node, weight: Node, bias: object, geometry: _Geometry
) -> Node:
    """The convolution of a row of taps ``inputs``, ``[pixels, outputs]``."""
    count, columns = geometry.window
    rows, above = geometry.result[0], geometry.padding[0]
    shape = (count * geometry.outputs, columns * geometry.inputs)
    matrix = editor.reshape(editor.permute(weight, (2, 0, 3, 1)), shape)
    # Moving what comes out copies less than moving what goes in, if as many rows come out as go in.
    late = rows == geometry.size[0] and geometry.outputs < columns * geometry.inputs
    products = []
    for index in range(count):
        start = index * geometry.outputs
        part = editor.slice(matrix, 0, start, start + geometry.outputs)
        # No row without the bias: the middle one is not moved.
        own_bias = bias if index == (above if late else 0) else None
        x = inputs
        if not late:
            moved = _moved(editor, _by_rows(editor, inputs, geometry), 0, index - above, rows)
            x = editor.reshape(moved, (rows * geometry.row, inputs.meta["val"].shape[1]))
        product = _by_rows(editor, _linear(editor, x, part, own_bias), geometry)
        products.append(_moved(editor, product, 0, index - above, rows) if late else product)
    return editor.reshape(editor.sum(products), (rows * geometry.row, geometry.outputs))


def _shifted_rows(editor: Editor, gradient: Node, geometry: _Geometry) -> Node:
    """``[rows of the input * row, rows of taps * outputs]``."""
    above, rows = geometry.padding[0], geometry.size[0]
    by_rows = _by_rows(editor, gradient, geometry)
    offsets = [above - index for index in range(geometry.window[0])]
    beside = _beside(editor, [_moved(editor, by_rows, 0, offset, rows) for offset in offsets], 2)
    return editor.reshape(beside, (rows * geometry.row, beside.meta["val"].shape[2]))


def _from_columns(editor: Editor, shifted: Node, weight: Node, geometry: _Geometry) -> Node:
    """The gradient of a convolution's input from ``_shifted_rows``."""
    rows, count = geometry.window
    taken = rows * geometry.outputs
    matrix = editor.permute(weight, (3, 2, 0, 1))
    matrix = editor.reshape(matrix, (count * taken, geometry.inputs))
    shape = (geometry.size[0], geometry.result[1], geometry.samples, geometry.inputs)
    products = []
    for index in range(count):
        column = editor.slice(matrix, 0, index * taken, (index + 1) * taken)
        product = editor.reshape(editor.call(aten.mm.default, shifted, column), shape)
        offset = geometry.padding[1] - index
        products.append(_moved(editor, product, 1, offset, geometry.size[1]))
    return editor.permute(editor.sum(products), PIXELS_FIRST)


def _linear(editor: Editor, x: Node, matrix: Node, bias: object) -> Node:
    return editor.call(aten.linear.default, x, matrix, *(() if bias is None else (bias,)))


def _beside(editor: Editor, parts: list[Node], dimension: int) -> Node:
    while len(parts) > 1:
        groups = range(0, len(parts), _WIDEST_CAT)
        cut = [parts[start : start + _WIDEST_CAT] for start in groups]
        parts = [
            part[0] if len(part) == 1 else editor.call(aten.cat.default, part, dimension)
            for part in cut
        ]
    return parts[0]


def move_permutes(editor: Editor) -> int:
    """Move permutes behind elementwise operators, where those of the next layer cancel them."""

    def rule(editor: Editor, node: Node) -> Node | None:
        permutes = [n for n in node.all_input_nodes if n.target is aten.permute.default]
        if not permutes or node.kwargs:
            return None
        order: list[int] = list(arguments(permutes[0])[1])
        rank, size = node.meta["val"].dim(), node.meta["val"].numel()
        if len(order) != rank:
            return None
        inverse = [order.index(d) for d in range(rank)]
        moved: list[object] = []
        for argument in arguments(node):
            if not isinstance(argument, Node):
                moved.append(argument)
                continue
            value = argument.meta["val"]
            if argument.target is aten.permute.default and list(arguments(argument)[1]) == order:
                moved.append(arguments(argument)[0])
            elif value.numel() == 1:
                moved.append(argument)
            elif value.dim() == rank and value.numel() < size // 8:
                moved.append(editor.permute(argument, inverse))
            else:
                return None
        return editor.permute(editor.call(node.target, *moved), order)

    return apply_rules(editor, dict.fromkeys(_ELEMENTWISE, rule))
