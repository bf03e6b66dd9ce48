"""Elementwise operators on the shape that their operand was computed in.

Layers compute on matrices, and the nets between them on tensors of rank 3 or 4: most reshapes are
there for one elementwise operator and undone behind it. Each is a copy to the delegate.
"""

from __future__ import annotations

from typing import Any

from torch.fx import Node

from export.passes.editor import Editor, Rule, apply_rules, arguments, aten, elements

__all__ = ["sink_reshapes"]

_ELEMENTWISE = (
    aten.abs.default,
    aten.add.Tensor,
    aten.div.Tensor,
    aten.exp.default,
    aten.gelu.default,
    aten.mul.Tensor,
    aten.neg.default,
    aten.rsqrt.default,
    aten.sigmoid.default,
    aten.sqrt.default,
    aten.sub.Tensor,
    aten.tanh.default,
)


def sink_reshapes(editor: Editor) -> int:
    """``f(reshape(x), y)`` becomes ``reshape(f(x, y))`` where ``y`` means the same to both shapes.

    Reshapes move behind elementwise operators until they meet another one (``merge_views``) or an
    operator that needs them.
    """

    def sink(editor: Editor, node: Node) -> Node | None:
        shape = node.meta["val"].shape
        operands = [operand for operand in node.args if isinstance(operand, Node)]
        if len(operands) < len(node.args):
            return None
        for operand in operands:
            if operand.target is not aten.reshape.default or operand.meta["val"].shape != shape:
                continue
            inner = arguments(operand)[0].meta["val"].shape
            if len(inner) > len(shape):
                continue
            moved = [_as_of(editor, each, tuple(shape), tuple(inner)) for each in operands]
            if None not in moved:
                target: Any = node.target
                result = editor.graph.call_function(target, tuple(moved), dict(node.kwargs))
                result.meta["val"] = node.meta["val"].reshape(inner)
                return editor.reshape(result, shape)
        return None

    rules: dict[object, Rule] = dict.fromkeys(_ELEMENTWISE, sink)
    return apply_rules(editor, rules)


def _as_of(
    editor: Editor, operand: Node, shape: tuple[int, ...], inner: tuple[int, ...]
) -> Node | None:
    """What stands for ``operand`` when the result has the shape ``inner`` instead of ``shape``."""
    own = tuple(operand.meta["val"].shape)
    source: Node | None = None
    if operand.target is aten.reshape.default:
        source = arguments(operand)[0]
    if own == shape and source is not None and tuple(source.meta["val"].shape) == inner:
        return source
    if len(own) <= 1 and (elements(operand) == 1 or own[0] == inner[-1] == shape[-1]):
        return operand
    fewer = len(shape) - len(inner)
    if shape != (1,) * fewer + inner:
        return None
    if len(own) <= len(inner):
        return operand
    without = own[len(own) - len(inner) :]
    if source is not None and tuple(source.meta["val"].shape) == without:
        return source
    return editor.reshape(operand, without)
