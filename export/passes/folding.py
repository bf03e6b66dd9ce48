"""Compute at export what depends on constants only, and keep each constant once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from export.passes.editor import Editor, Rule, apply_rules, arguments

__all__ = ["fold_constants", "fold_fills", "merge_constants"]

aten = torch.ops.aten

# A folded constant above this size must not be larger than what it was computed from.
_FREE_ELEMENTS = 64 * 1024
# Stands for minus infinity in masks: far below any score, yet finite, so that a fast exponential
# that scales its argument first never meets an infinity.
_MASKED = -1e30


def merge_constants(editor: Editor) -> int:
    """One node for each constant tensor, behind the inputs, whatever names it was traced under."""
    count = 0
    known: dict[tuple[Any, ...], Node] = {}
    for node in list(editor.graph.nodes):
        if node.op != "get_attr":
            continue
        value = getattr(editor.module, node.target)
        key = (
            value.untyped_storage().data_ptr(),
            value.storage_offset(),
            value.dtype,
            tuple(value.shape),
            tuple(value.stride()),
        )
        if key not in known:
            known[key] = editor.constant(value.detach(), f"traced_{len(known)}")
        node.replace_all_uses_with(known[key])
        editor.graph.erase_node(node)
        count += 1
    return count


def fold_constants(editor: Editor) -> int:
    """Evaluate every operator whose inputs are all constants, except on frozen weights.

    Frozen weights are stored as they are: a permuted or dequantized copy would be stored twice.
    """
    values: dict[Node, Tensor] = {}
    sizes: dict[Node, int] = {}
    for node in editor.graph.nodes:
        if node.op == "get_attr" and node not in editor.frozen:
            values[node] = getattr(editor.module, node.target)
            sizes[node] = values[node].numel()
        elif node.op == "call_function" and all(n in values for n in node.all_input_nodes):
            if not isinstance(node.meta["val"], Tensor):
                continue
            source_size = sum(sizes[n] for n in node.all_input_nodes)
            if node.meta["val"].numel() > max(source_size, _FREE_ELEMENTS):
                continue
            arguments = map_arg(node.args, values.__getitem__)
            keywords = map_arg(node.kwargs, values.__getitem__)
            keywords = {k: v for k, v in keywords.items() if k != "device"}
            values[node] = node.target(*arguments, **keywords)
            sizes[node] = max(source_size, _FREE_ELEMENTS)
    count = 0
    for node, value in values.items():
        if node.op != "call_function" or all(user in values for user in node.users):
            continue
        folded = value.detach().contiguous()
        if folded.dtype == torch.float32:
            folded = folded.clamp_min(_MASKED)
        node.replace_all_uses_with(editor.constant(folded))
        count += 1
    editor.graph.eliminate_dead_code()
    return count


def fold_fills(editor: Editor) -> int:
    """Tensors filled with one number (``full_like``, ``zeros_like``, ...) become constants."""

    def fill(number: float | None) -> Rule:
        def rule(editor: Editor, node: Node) -> Node | None:
            value = node.meta["val"]
            if value.numel() > _FREE_ELEMENTS:
                return None
            filled = arguments(node)[1] if number is None else number
            return editor.constant(torch.full(value.shape, filled, dtype=value.dtype))

        return rule

    return apply_rules(
        editor,
        {
            aten.full_like.default: fill(None),
            aten.ones_like.default: fill(1),
            aten.zeros_like.default: fill(0),
            aten.new_zeros.default: fill(0),
            aten.new_ones.default: fill(1),
        },
    )
