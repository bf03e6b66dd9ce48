"""Products of two computed matrices in the forms that the delegate runs without a copy."""

from __future__ import annotations

import torch
from torch.fx import Node

from export.passes.editor import Editor, apply_rules, arguments

__all__ = ["expand_products", "read_transposed"]

aten = torch.ops.aten


def expand_products(editor: Editor) -> int:
    """``mm`` and ``addmm``, and ``bmm`` of one matrix, become ``linear`` of a permuted operand.

    The permute cancels against the one that a transposed operand brings along (``merge_views``).
    """

    def linear(editor: Editor, left: Node, right: Node) -> Node:
        return editor.call(aten.linear.default, left, editor.permute(right, (1, 0)))

    def mm(editor: Editor, node: Node) -> Node:
        return linear(editor, *arguments(node))

    def addmm(editor: Editor, node: Node) -> Node | None:
        if node.kwargs:
            return None
        bias, left, right = arguments(node)
        return editor.call(aten.add.Tensor, linear(editor, left, right), bias)

    def bmm(editor: Editor, node: Node) -> Node | None:
        if node.meta["val"].shape[0] != 1:
            return None
        left, right = (editor.reshape(n, n.meta["val"].shape[1:]) for n in arguments(node))
        return editor.reshape(linear(editor, left, right), node.meta["val"].shape)

    return apply_rules(
        editor, {aten.mm.default: mm, aten.addmm.default: addmm, aten.bmm.default: bmm}
    )


def read_transposed(editor: Editor) -> int:
    """``linear`` with the permute of a computed matrix becomes ``mm`` with the matrix itself.

    The delegate packs a computed matrix for each product anyhow, and can read it either way round,
    so the permute's copy is saved. A constant keeps its permute: packed from the constant, it would
    be laid out once more in memory when the program is loaded.
    """

    def linear(editor: Editor, node: Node) -> Node | None:
        left, right, *bias = arguments(node)
        if bias or right.target is not aten.permute.default:
            return None
        matrix = arguments(right)[0]
        if matrix.op == "get_attr" or left.meta["val"].dim() != 2:
            return None
        return editor.call(aten.mm.default, left, matrix)

    return apply_rules(editor, {aten.linear.default: linear})
