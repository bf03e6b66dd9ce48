"""Sums and means as products with ones, in stages.

The delegate has no general sum. ``x @ ones`` is one, and adding at most 128 numbers at a time keeps
float32 rounding small, which norms pass on to every number of a group alike (pairwise summation:
Higham, "The accuracy of floating point summation", SIAM J. Sci. Comput. 14, 1993).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.fx import Node

from export.passes.editor import Editor, Rule, apply_rules, arguments

__all__ = ["column_sums", "expand_reductions", "sum_over"]

aten = torch.ops.aten

_STAGE = 128
_FEW = 1024


def _row_sums(editor: Editor, x: Node, factor: float) -> Node:
    """``[rows, columns]`` to ``[rows, 1]``: the sum of each row times ``factor``."""
    rows, columns = x.meta["val"].shape
    if columns <= _STAGE:
        ones = editor.constant(torch.full((1, columns), factor))
        return editor.call(aten.linear.default, x, ones)
    if columns > _STAGE * _STAGE:
        stage = max(d for d in range(1, _STAGE + 1) if columns % d == 0)
    else:
        divisors = (d for d in range(1, _STAGE + 1) if columns % d == 0)
        stage = min(divisors, key=lambda d: abs(d - math.sqrt(columns)))
    if stage < 8:  # nearly prime: a few zeros more
        return _row_sums(editor, editor.pad(x, (0, -columns % _STAGE)), factor)
    partial = _row_sums(editor, editor.reshape(x, (rows * columns // stage, stage)), 1.0)
    return _row_sums(editor, editor.reshape(partial, (rows, columns // stage)), factor)


def column_sums(editor: Editor, x: Node, factor: float = 1.0) -> Node:
    """``[rows, columns]`` to ``[1, columns]``: the sum of each column times ``factor``.

    Ones times ``x``, which the delegate packs; a permute for sums of rows would cost more.
    """
    rows, columns = x.meta["val"].shape
    stage = min(
        (d for d in range(1, rows + 1) if rows % d == 0), key=lambda d: abs(d - math.sqrt(rows))
    )
    if rows <= _FEW or stage == 1:  # a prime number
        return editor.call(aten.mm.default, editor.constant(torch.full((1, rows), factor)), x)
    folded = editor.reshape(x, (stage, rows // stage * columns))
    partial = editor.call(aten.mm.default, editor.constant(torch.ones(1, stage)), folded)
    return column_sums(editor, editor.reshape(partial, (rows // stage, columns)), factor)


def sum_over(
    editor: Editor, x: Node, dimensions: Sequence[int], factor: float = 1.0, keep: bool = False
) -> Node:
    """The sum of ``x`` over ``dimensions`` times ``factor``; ``keep`` leaves them with size 1."""
    shape = list(x.meta["val"].shape)
    summed = {d % len(shape) for d in dimensions}
    kept = [d for d in range(len(shape)) if d not in summed]
    result_shape = [1 if d in summed else shape[d] for d in range(len(shape)) if keep or d in kept]
    columns = math.prod(shape[d] for d in summed)
    rows = math.prod(shape[d] for d in kept)
    wide = [d for d in range(len(shape)) if shape[d] != 1]
    if wide != [d for d in wide if d in kept] + [d for d in wide if d in summed]:
        x = editor.permute(x, kept + sorted(summed))
    if columns == 1 and factor == 1.0:
        return editor.reshape(x, result_shape)
    sums = _row_sums(editor, editor.reshape(x, (rows, columns)), factor)
    return editor.reshape(sums, result_shape)


def expand_reductions(editor: Editor) -> int:
    """Expand ``sum`` and ``mean`` of float32 tensors, whole or over dimensions."""

    def reduce(mean: bool) -> Rule:
        def rule(editor: Editor, node: Node) -> Node | None:
            x: Node = arguments(node)[0]
            value = x.meta["val"]
            if value.dtype != torch.float32:
                return None
            dimensions: Sequence[int] = arguments(node)[1] if len(arguments(node)) > 1 else ()
            dimensions = dimensions or range(value.dim())
            count = math.prod(value.shape[d] for d in dimensions)
            keep = len(arguments(node)) > 2 and bool(arguments(node)[2])
            return sum_over(editor, x, dimensions, 1.0 / count if mean else 1.0, keep)

        return rule

    return apply_rules(
        editor,
        {
            aten.sum.default: reduce(mean=False),
            aten.sum.dim_IntList: reduce(mean=False),
            aten.mean.default: reduce(mean=True),
            aten.mean.dim: reduce(mean=True),
        },
    )
