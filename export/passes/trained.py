"""Convolutions whose filters are trained: products with shifted inputs side by side.

A delegate's convolution wants a constant filter, and here the filter is state. With channels last,
``columns`` lays the shifted inputs of each output pixel side by side, in two steps: columns, then
rows, which takes ``width + height`` copies in place of ``width * height``. Forward, gradient of the
filter and gradient of the input are then one product each, the last followed by the reverse of
``columns``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from export.passes.editor import Editor, apply_rules
from export.passes.reductions import sum_over
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
    def pixels(self) -> int:
        return self.samples * self.result[0] * self.result[1]

    @property
    def taps(self) -> int:
        return self.window[0] * self.window[1] * self.inputs


def expand_trained_convolutions(editor: Editor) -> int:
    """Expand ``convolution`` and ``convolution_backward`` whose filter is computed or state.

    Those with a constant filter stay. Raises ``ModelUnsupported`` for a transposed, strided,
    dilated or grouped convolution.
    """
    # The backward pass reads the forward pass's columns: copies cost more than they weigh.
    known: dict[tuple[Node, _Geometry], Node] = {}

    def columns(x: Node, geometry: _Geometry) -> Node:
        key = (x, geometry)
        if key not in known:
            known[key] = _columns(editor, x, geometry)
        return known[key]

    def forward(editor: Editor, node: Node) -> Node | None:
        x, weight, bias, *how = node.args
        if TracedWeight.at(editor, weight) is not None:
            return None
        geometry = _geometry(x, weight, how)
        matrix = editor.permute(_matrix(editor, weight, geometry), (1, 0))  # type: ignore[arg-type]
        result = editor.call(aten.mm.default, columns(x, geometry), matrix)  # type: ignore[arg-type]
        if bias is not None:
            result = editor.call(aten.add.Tensor, result, bias)
        shaped = editor.reshape(result, (geometry.samples, *geometry.result, geometry.outputs))
        return editor.permute(shaped, (0, 3, 1, 2))

    def backward(editor: Editor, node: Node) -> tuple[Node | None, ...] | None:
        gradient, x, weight, _, *how, mask = node.args
        if TracedWeight.at(editor, weight) is not None:
            return None
        geometry = _geometry(x, weight, how)
        last = editor.permute(gradient, (0, 2, 3, 1))  # type: ignore[arg-type]
        flat = editor.reshape(last, (geometry.pixels, geometry.outputs))
        across = editor.permute(flat, (1, 0))
        results: list[Node | None] = [None, None, None]
        if mask[0]:  # type: ignore[index]
            spread = editor.call(aten.mm.default, flat, _matrix(editor, weight, geometry))  # type: ignore[arg-type]
            results[0] = editor.permute(_uncolumns(editor, spread, geometry), (0, 3, 1, 2))
        if mask[1]:  # type: ignore[index]
            product = editor.call(aten.mm.default, across, columns(x, geometry))  # type: ignore[arg-type]
            shape = (geometry.outputs, *geometry.window, geometry.inputs)
            results[1] = editor.permute(editor.reshape(product, shape), (0, 3, 1, 2))
        if mask[2]:  # type: ignore[index]
            results[2] = sum_over(editor, across, (1,))
        return tuple(results)

    return apply_rules(
        editor,
        {aten.convolution.default: forward, aten.convolution_backward.default: backward},  # type: ignore[dict-item]
    )


def _geometry(x: object, weight: object, how: Sequence[object]) -> _Geometry:
    stride, padding, dilation, transposed, _, groups = how
    strides, paddings, dilations = list(stride), list(padding), list(dilation)  # type: ignore[call-overload]
    if transposed or groups != 1 or set(strides) != {1} or set(dilations) != {1}:
        found = f"stride {strides}, dilation {dilations}, groups {groups}, transposed {transposed}"
        raise ModelUnsupported("trained convolution", found, "stride 1, dilation 1, one group")
    samples, inputs, height, width = x.meta["val"].shape  # type: ignore[attr-defined]
    outputs, _, *window = weight.meta["val"].shape  # type: ignore[attr-defined]
    return _Geometry(
        samples,
        inputs,
        (height, width),
        outputs,
        (window[0], window[1]),
        (paddings[0], paddings[-1]),
    )


def _matrix(editor: Editor, weight: Node, geometry: _Geometry) -> Node:
    """The filter ``[outputs, height * width * inputs]``, in the order of ``_columns``."""
    last = editor.permute(weight, (0, 2, 3, 1))
    return editor.reshape(last, (geometry.outputs, geometry.taps))


def _columns(editor: Editor, x: Node, geometry: _Geometry) -> Node:
    """``[samples, inputs, H, W]`` to ``[pixels, taps]``: what each output pixel sees."""
    above, left = geometry.padding
    padded = editor.pad(editor.permute(x, (0, 2, 3, 1)), (0, 0, left, left, above, above))
    for dimension in (2, 1):
        length, count = geometry.result[dimension - 1], geometry.window[dimension - 1]
        shifted = [editor.slice(padded, dimension, i, i + length) for i in range(count)]
        padded = _beside(editor, shifted)
    return editor.reshape(padded, (geometry.pixels, geometry.taps))


def _beside(editor: Editor, parts: list[Node]) -> Node:
    while len(parts) > 1:
        groups = range(0, len(parts), _WIDEST_CAT)
        cut = [parts[start : start + _WIDEST_CAT] for start in groups]
        parts = [part[0] if len(part) == 1 else _cat(editor, part) for part in cut]
    return parts[0]


def _cat(editor: Editor, parts: list[Node]) -> Node:
    return editor.call(aten.cat.default, parts, 3)


def _uncolumns(editor: Editor, spread: Node, geometry: _Geometry) -> Node:
    """The gradient of ``_columns``: ``[pixels, taps]`` to ``[samples, H, W, inputs]``."""
    value = editor.reshape(spread, (geometry.samples, *geometry.result, geometry.taps))
    for dimension in (1, 2):
        count = geometry.window[dimension - 1]
        channels = value.meta["val"].shape[3] // count
        total: Node | None = None
        for index in range(count):
            piece = editor.slice(value, 3, index * channels, (index + 1) * channels)
            before, after = index, count - 1 - index
            widths = (0, 0, 0, 0, before, after) if dimension == 1 else (0, 0, before, after)
            placed = editor.pad(piece, widths)
            total = placed if total is None else editor.call(aten.add.Tensor, total, placed)
        value = total  # type: ignore[assignment]
    for dimension in (1, 2):
        start = geometry.padding[dimension - 1]
        value = editor.slice(value, dimension, start, start + geometry.size[dimension - 1])
    return value


def move_permutes(editor: Editor) -> int:
    """Move permutes behind elementwise operators, where those of the next layer cancel them."""

    def rule(editor: Editor, node: Node) -> Node | None:
        permutes = [n for n in node.all_input_nodes if n.target is aten.permute.default]
        if not permutes or node.kwargs:
            return None
        order: list[int] = list(permutes[0].args[1])  # type: ignore[arg-type]
        rank, size = node.meta["val"].dim(), node.meta["val"].numel()
        if len(order) != rank:
            return None
        inverse = [order.index(d) for d in range(rank)]
        arguments: list[object] = []
        for argument in node.args:
            if not isinstance(argument, Node):
                arguments.append(argument)
                continue
            value = argument.meta["val"]
            if argument.target is aten.permute.default and list(argument.args[1]) == order:  # type: ignore[arg-type]
                arguments.append(argument.args[0])
            elif value.numel() == 1:
                arguments.append(argument)
            elif value.dim() == rank and value.numel() < size // 8:
                arguments.append(editor.permute(argument, inverse))
            else:
                return None
        return editor.permute(editor.call(node.target, *arguments), order)

    return apply_rules(editor, dict.fromkeys(_ELEMENTWISE, rule))
