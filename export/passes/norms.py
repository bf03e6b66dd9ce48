"""Group norm and layer norm from sums and elementwise operators, which the delegate has."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Node

from export.passes.editor import Editor, apply_rules
from export.passes.reductions import sum_over

__all__ = ["expand_norms"]

aten = torch.ops.aten


def expand_norms(editor: Editor) -> int:
    """Expand ``native_group_norm`` and ``native_layer_norm`` into two-pass mean and variance."""

    def group_norm(editor: Editor, node: Node) -> tuple[Node, ...]:
        x, weight, bias, samples, channels, _, groups, epsilon = node.args
        shape = x.meta["val"].shape  # type: ignore[union-attr]
        output, mean, scale = _normalize(editor, x, samples * groups, epsilon)  # type: ignore[operator, arg-type]
        output = editor.reshape(output, shape)
        affine = [1, channels] + [1] * (len(shape) - 2)
        output = _affine(editor, output, weight, bias, affine)
        statistics = (samples, groups)
        return output, editor.reshape(mean, statistics), editor.reshape(scale, statistics)  # type: ignore[arg-type]

    def layer_norm(editor: Editor, node: Node) -> tuple[Node, ...]:
        x, normalized, weight, bias, epsilon = node.args
        shape = x.meta["val"].shape  # type: ignore[union-attr]
        rows = math.prod(shape) // math.prod(normalized)  # type: ignore[arg-type]
        output, mean, scale = _normalize(editor, x, rows, epsilon)  # type: ignore[arg-type]
        output = editor.reshape(output, shape)
        output = _affine(editor, output, weight, bias, None)
        statistics = node.meta["val"][1].shape
        return output, editor.reshape(mean, statistics), editor.reshape(scale, statistics)

    return apply_rules(
        editor,
        {aten.native_group_norm.default: group_norm, aten.native_layer_norm.default: layer_norm},
    )


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
