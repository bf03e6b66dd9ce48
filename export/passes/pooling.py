"""Pooling without overlap, and the gradient of rectifiers, in slices and elementwise operators.

Pixels first (``trained.py``), a window's columns are folded, then its rows: ``[.., 2, ..]`` is cut
in its halves. Of equal values the gradient goes to the first in the order of rows, as in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from export.passes.editor import Editor, apply_rules, arguments
from pockettune.errors import ModelUnsupported

__all__ = ["expand_pooling"]

aten = torch.ops.aten

# Turns any difference that counts into more than 1, so that a clamp makes a mask of it.
_LARGE = 1e30


def expand_pooling(editor: Editor) -> int:
    """Expand maximum and mean pooling and the gradient of ``relu``.

    The maximum of rectified numbers is taken before the rectifier, which gives the same and leaves
    it less to do. Raises ``ModelUnsupported`` for windows other than 1 or 2 wide and high, moved by
    themselves.
    """
    known: dict[tuple[Node, tuple[int, int]], _Maxima] = {}
    # Gradients of rectified numbers that are those of the numbers themselves, by the rectifier.
    rectified: dict[Node, Node] = {}

    def maxima(x: Node, window: tuple[int, int]) -> _Maxima:
        # The backward pass reads the forward pass's masks.
        if (x, window) not in known:
            known[x, window] = _maxima(editor, x, window)
        return known[x, window]

    def maximum(editor: Editor, node: Node) -> tuple[Node, ...]:
        x: Node = arguments(node)[0]
        result = maxima(_before_rectifier(x), _window(arguments(node)[1:], node)).result
        if x.target is aten.relu.default:
            result = editor.call(aten.relu.default, result)
        # The second stands for the indices, which only the gradient reads: it has the masks.
        return (result,) * 2

    def maximum_backward(editor: Editor, node: Node) -> Node:
        gradient, x, *how, _ = arguments(node)
        window = _window(how, node)
        if not all(_is_rectifiers_gradient(user, x) for user in node.users):
            return _spread(editor, gradient, maxima(x, window))
        found = maxima(_before_rectifier(x), window)
        positive = _mask(editor, editor.call(aten.relu.default, found.result))
        result = _spread(editor, editor.call(aten.mul.Tensor, gradient, positive), found)
        rectified[result] = x
        return result

    def mean(editor: Editor, node: Node) -> Node:
        window = _window(arguments(node)[1:], node)
        value, shape = _pixels_first(editor, arguments(node)[0])
        for axis in _axes(window):
            left, right = _halves(editor, value, shape, axis)
            value = editor.call(aten.add.Tensor, left, right)
            shape = _halved(shape, axis)
        return _samples_first(editor, editor.binary(aten.mul.Tensor, value, _share(window)), shape)

    def mean_backward(editor: Editor, node: Node) -> Node:
        gradient, _, *how = arguments(node)
        window = _window(how, node)
        value, shape = _pixels_first(editor, gradient)
        value = editor.binary(aten.mul.Tensor, value, _share(window))
        for axis in reversed(_axes(window)):
            shape = _doubled(shape, axis)
            before, _, behind = _pairs(shape, axis)
            one = editor.reshape(value, (before, 1, behind))
            value = editor.call(aten.mul.Tensor, one, editor.constant(torch.ones(1, 2, 1)))
        return _samples_first(editor, value, shape)

    def threshold_backward(editor: Editor, node: Node) -> Node | None:
        gradient, result, threshold = arguments(node)
        if threshold != 0:
            return None
        if rectified.get(gradient) is result:
            return gradient
        return editor.call(aten.mul.Tensor, gradient, _mask(editor, result))

    return apply_rules(
        editor,
        {
            aten.max_pool2d_with_indices.default: maximum,
            aten.max_pool2d_with_indices_backward.default: maximum_backward,
            aten.avg_pool2d.default: mean,
            aten.avg_pool2d_backward.default: mean_backward,
            aten.threshold_backward.default: threshold_backward,
        },
    )


@dataclass(frozen=True, slots=True)
class _Maxima:
    """The ``result`` of pooling; of each fold the axis, the shape before it, and a mask: 1 where
    the second half is larger. Of equal ones the first gets the gradient."""

    result: Node
    folds: tuple[tuple[int, tuple[int, ...], Node], ...]


def _maxima(editor: Editor, x: Node, window: tuple[int, int]) -> _Maxima:
    value, shape = _pixels_first(editor, x)
    folds = []
    for axis in _axes(window):
        first, second = _halves(editor, value, shape, axis)
        value = editor.call(aten.maximum.default, first, second)
        folds.append((axis, shape, _mask(editor, editor.call(aten.sub.Tensor, value, first))))
        shape = _halved(shape, axis)
    return _Maxima(_samples_first(editor, value, shape), tuple(folds))


def _spread(editor: Editor, gradient: Node, maxima: _Maxima) -> Node:
    """The gradient of what was pooled."""
    left, whole = _pixels_first(editor, gradient)
    for axis, shape, second in reversed(maxima.folds):
        flat = editor.reshape(left, second.meta["val"].shape)
        to_second = editor.call(aten.mul.Tensor, flat, second)
        to_first = editor.call(aten.sub.Tensor, flat, to_second)
        left, whole = _joined(editor, to_first, to_second, shape, axis), shape
    return _samples_first(editor, left, whole)


def _before_rectifier(x: Node) -> Node:
    """What ``x`` is the ``relu`` of, else ``x``."""
    return arguments(x)[0] if x.target is aten.relu.default else x


def _is_rectifiers_gradient(node: Node, rectifier: object) -> bool:
    return node.target is aten.threshold_backward.default and arguments(node)[1:] == (rectifier, 0)


def _window(how: Sequence[Any], node: Node) -> tuple[int, int]:
    """The window of pooling with arguments ``kernel, stride, padding, ...``."""
    kernel: list[int] = list(how[0])
    stride: list[int] = list(how[1]) if len(how) > 1 and how[1] else kernel
    padding: list[int] = list(how[2]) if len(how) > 2 else [0]
    kernel, stride = (kernel * 2)[:2], (stride * 2)[:2]
    if stride != kernel or any(padding) or not set(kernel) <= {1, 2}:
        found = f"window {kernel}, stride {stride}, padding {padding}"
        raise ModelUnsupported(str(node.target), found, "windows of 1 or 2 that do not overlap")
    return kernel[0], kernel[1]


def _axes(window: tuple[int, int]) -> list[int]:
    """What is folded, in order: 1 for columns, 0 for rows."""
    return [axis for axis in (1, 0) if window[axis] == 2]


def _share(window: tuple[int, int]) -> float:
    return 1.0 / (window[0] * window[1])


def _pixels_first(editor: Editor, x: Node) -> tuple[Node, tuple[int, ...]]:
    """``x`` as ``[height, width, samples, channels]``, and that shape."""
    moved = editor.permute(x, (2, 3, 0, 1))
    return moved, tuple(moved.meta["val"].shape)


def _samples_first(editor: Editor, x: Node, shape: Sequence[int]) -> Node:
    return editor.permute(editor.reshape(x, shape), (2, 3, 0, 1))


def _halved(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return tuple(size // 2 if index == axis else size for index, size in enumerate(shape))


def _doubled(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return tuple(size * 2 if index == axis else size for index, size in enumerate(shape))


def _pairs(shape: Sequence[int], axis: int) -> tuple[int, int, int]:
    """``shape`` with pairs along ``axis`` as ``[before, 2, behind]``."""
    return math.prod(shape[: axis + 1]) // 2, 2, math.prod(shape[axis + 1 :])


def _halves(editor: Editor, x: Node, shape: Sequence[int], axis: int) -> tuple[Node, Node]:
    """The even and the odd positions along ``axis``, each ``[before, 1, behind]``.

    Raises ``ModelUnsupported`` for an odd size.
    """
    if shape[axis] % 2:
        raise ModelUnsupported("pooling", f"{shape[axis]} rows or columns", "an even number")
    pairs = editor.reshape(x, _pairs(shape, axis))
    return editor.slice(pairs, 1, 0, 1), editor.slice(pairs, 1, 1, 2)


def _joined(editor: Editor, first: Node, second: Node, shape: Sequence[int], axis: int) -> Node:
    """The reverse of ``_halves``, ``shape``."""
    before, _, behind = _pairs(shape, axis)
    halves = [editor.reshape(half, (before, 1, behind)) for half in (first, second)]
    return editor.reshape(editor.call(aten.cat.default, halves, 1), shape)


def _mask(editor: Editor, x: Node) -> Node:
    """1 where ``x``, which is not negative, is above 0, else 0."""
    return editor.call(aten.clamp.default, editor.binary(aten.mul.Tensor, x, _LARGE), 0.0, 1.0)
