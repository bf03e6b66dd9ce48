"""Group norm and layer norm from sums and elementwise operators, which the delegate has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from export.passes.editor import PIXELS_FIRST, Editor, apply_rules, arguments
from export.passes.reductions import column_sums, sum_over

__all__ = ["expand_norms"]

aten = torch.ops.aten


def expand_norms(editor: Editor) -> int:
    """Expand ``native_group_norm`` with its gradient, and ``native_layer_norm``, into two-pass mean
    and variance."""

    def group_norm(editor: Editor, node: Node) -> tuple[Node, ...]:
        x, weight, bias, samples, channels, _, groups, epsilon = arguments(node)
        shape = x.meta["val"].shape
        layout = _Layout.of(editor, x, samples, channels, groups)
        if layout.pixels_first:
            return _normalize_pixels_first(layout, x, weight, bias, epsilon)
        output, mean, scale = _normalize(editor, x, samples * groups, epsilon)
        output = editor.reshape(output, shape)
        affine = [1, channels] + [1] * (len(shape) - 2)
        output = _affine(editor, output, weight, bias, affine)
        statistics = (samples, groups)
        return output, editor.reshape(mean, statistics), editor.reshape(scale, statistics)

    def group_norm_backward(editor: Editor, node: Node) -> tuple[Node | None, ...]:
        gradient, x, mean, scale, weight, samples, channels, _, groups, mask = arguments(node)
        layout = _Layout.of(editor, x, samples, channels, groups)
        return _gradients(layout, gradient, x, mean, scale, weight, mask)

    def layer_norm(editor: Editor, node: Node) -> tuple[Node, ...]:
        x, normalized, weight, bias, epsilon = arguments(node)
        shape = x.meta["val"].shape
        rows = math.prod(shape) // math.prod(normalized)
        output, mean, scale = _normalize(editor, x, rows, epsilon)
        output = editor.reshape(output, shape)
        output = _affine(editor, output, weight, bias, None)
        statistics = node.meta["val"][1].shape
        return output, editor.reshape(mean, statistics), editor.reshape(scale, statistics)

    return apply_rules(
        editor,
        {
            aten.native_group_norm.default: group_norm,
            aten.native_group_norm_backward.default: group_norm_backward,
            aten.native_layer_norm.default: layer_norm,
        },
    )


@dataclass(frozen=True, slots=True)
class _Layout:
    """A group norm's values as matrices: ``[samples * channels, pixels]``, or, where ``x`` lies
    pixels first (``trained.py``), ``[pixels, samples * channels]``.

    What there is of each channel of a sample is ``[samples, channels]``.
    """

    editor: Editor
    samples: int
    channels: int
    groups: int
    shape: tuple[int, ...]
    pixels_first: bool

    @staticmethod
    def of(editor: Editor, x: Node, samples: int, channels: int, groups: int) -> _Layout:
        moved = x.target is aten.permute.default and arguments(x)[1] == list(PIXELS_FIRST)
        return _Layout(editor, samples, channels, groups, tuple(x.meta["val"].shape), moved)

    @property
    def share(self) -> float:
        """Of a number in its group's mean."""
        return self.groups * self.samples / math.prod(self.shape)

    def matrix(self, x: Node) -> Node:
        rows = self.samples * self.channels
        pixels = math.prod(self.shape) // rows
        if self.pixels_first:
            return self.editor.reshape(self.editor.permute(x, PIXELS_FIRST), (pixels, rows))
        return self.editor.reshape(x, (rows, pixels))

    def back(self, matrix: Node) -> Node:
        if not self.pixels_first:
            return self.editor.reshape(matrix, self.shape)
        moved = self.editor.reshape(matrix, [self.shape[d] for d in PIXELS_FIRST])
        return self.editor.permute(moved, PIXELS_FIRST)

    def sums(self, matrix: Node) -> Node:
        """Over pixels, ``[samples, channels]``."""
        over_rows = column_sums if self.pixels_first else sum_over
        arguments = () if self.pixels_first else ((1,),)
        sums = over_rows(self.editor, matrix, *arguments)
        return self.editor.reshape(sums, (self.samples, self.channels))

    def beside(self, each: Node) -> Node:
        """``[samples, channels]`` as an operand of a matrix."""
        rows = self.samples * self.channels
        return self.editor.reshape(each, (1, rows) if self.pixels_first else (rows, 1))

    def group_sums(self, each: Node, factor: float = 1.0) -> Node:
        """``[samples, groups]``."""
        parts = (self.samples, self.groups, self.channels // self.groups)
        return sum_over(self.editor, self.editor.reshape(each, parts), (2,), factor)

    def of_groups(self, each: Node) -> Node:
        """The group's for each channel: ``[samples, groups]`` to ``[samples, channels]``."""
        ones = self.editor.constant(torch.ones(1, self.channels // self.groups))
        column = self.editor.reshape(each, (self.samples * self.groups, 1))
        wide = self.editor.call(aten.mul.Tensor, column, ones)
        return self.editor.reshape(wide, (self.samples, self.channels))


def _normalize_pixels_first(
    layout: _Layout, x: Node, weight: Node | None, bias: Node | None, epsilon: float
) -> tuple[Node, Node, Node]:
    editor, matrix = layout.editor, layout.matrix(x)
    mean = layout.group_sums(layout.sums(matrix), layout.share)
    centered = editor.call(aten.sub.Tensor, matrix, layout.beside(layout.of_groups(mean)))
    squares = editor.call(aten.mul.Tensor, centered, centered)
    variance = layout.group_sums(layout.sums(squares), layout.share)
    scale = editor.call(aten.rsqrt.default, editor.binary(aten.add.Tensor, variance, epsilon))
    factor = layout.of_groups(scale)
    if weight is not None:
        factor = editor.call(aten.mul.Tensor, factor, weight)
    result = editor.call(aten.mul.Tensor, centered, layout.beside(factor))
    if bias is not None:
        # A row of all samples: the delegate broadcasts long rows well, and short ones badly.
        rows = editor.call(aten.mul.Tensor, editor.constant(torch.ones(layout.samples, 1)), bias)
        result = editor.call(aten.add.Tensor, result, layout.beside(rows))
    return layout.back(result), mean, scale


def _gradients(
    layout: _Layout,
    gradient: Node,
    x: Node,
    mean: Node,
    scale: Node,
    weight: Node | None,
    mask: list[bool],
) -> tuple[Node | None, ...]:
    """Of input, weight and bias, those that ``mask`` asks for."""
    editor, above, below = layout.editor, layout.matrix(gradient), layout.matrix(x)

    def mul(left: Node, right: Node | float) -> Node:
        return editor.binary(aten.mul.Tensor, left, right)

    def minus(left: Node, right: Node) -> Node:
        return editor.call(aten.sub.Tensor, left, right)

    products, sums = layout.sums(mul(above, below)), layout.sums(above)
    results: list[Node | None] = [None, None, None]
    if mask[0]:
        weighted = [part if weight is None else mul(part, weight) for part in (products, sums)]
        of_products, of_sums = (layout.group_sums(part, layout.share) for part in weighted)
        # The gradient is ``above * direct + below * slope + rest``.
        cubed = mul(mul(scale, scale), scale)
        slope = mul(minus(mul(of_sums, mean), of_products), cubed)
        rest = editor.call(aten.add.Tensor, mul(slope, mean), mul(of_sums, scale))
        direct = layout.of_groups(scale)
        if weight is not None:
            direct = mul(direct, weight)
        total = editor.call(
            aten.add.Tensor,
            mul(above, layout.beside(direct)),
            mul(below, layout.beside(layout.of_groups(slope))),
        )
        results[0] = layout.back(minus(total, layout.beside(layout.of_groups(rest))))
    if mask[1]:
        centered = minus(products, mul(sums, layout.of_groups(mean)))
        results[1] = sum_over(editor, mul(centered, layout.of_groups(scale)), (0,))
    if mask[2]:
        results[2] = sum_over(editor, sums, (0,))
    return tuple(results)


def _normalize(editor: Editor, x: Node, rows: int, epsilon: float) -> tuple[Node, Node, Node]:
    """``(x - mean) * scale`` as ``[rows, ...]``, the mean and ``1 / sqrt(variance + epsilon)``."""
    columns = math.prod(x.meta["val"].shape) // rows
    x = editor.reshape(x, (rows, columns))
    mean = sum_over(editor, x, (1,), 1.0 / columns, keep=True)
    centered = editor.call(aten.sub.Tensor, x, mean)
    squares = editor.call(aten.mul.Tensor, centered, centered)
    variance = sum_over(editor, squares, (1,), 1.0 / columns, keep=True)
    scale = editor.call(aten.rsqrt.default, editor.binary(aten.add.Tensor, variance, epsilon))
    return editor.call(aten.mul.Tensor, centered, scale), mean, scale


def _affine(editor: Editor, x: Node, weight: Any, bias: Any, shape: list[Any] | None) -> Node:
    for target, operand in ((aten.mul.Tensor, weight), (aten.add.Tensor, bias)):
        if operand is not None:
            x = editor.call(target, x, editor.reshape(operand, shape) if shape else operand)
    return x
