"""Views in the two forms that the delegate takes: ``reshape`` and ``permute``, plus ``slice``.

The delegate has no views at all: each of these is a copy, so chains are merged, what does nothing
is dropped, and a view that is used far away is made again there instead of being kept.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch.fx import Node

from export.passes.editor import Editor, Rule, apply_rules, arguments

__all__ = ["canonicalize_views", "drop_copies", "merge_views", "repeat_views", "share_views"]

aten = torch.ops.aten


def drop_copies(editor: Editor) -> int:
    """Drop operators that return their input: detach, alias, clone, conversions to the same."""

    def same(_: Editor, node: Node) -> Node | None:
        source = arguments(node)[0]
        if not isinstance(source, Node):
            return None
        old, new = source.meta["val"], node.meta["val"]
        return source if old.shape == new.shape and old.dtype == new.dtype else None

    targets = (
        aten.alias.default,
        aten.clone.default,
        aten.detach.default,
        aten.expand.default,
        aten.lift_fresh_copy.default,
        aten._to_copy.default,
        aten.slice.Tensor,
    )
    return apply_rules(editor, dict.fromkeys(targets, same))


def canonicalize_views(editor: Editor) -> int:
    """Express every view as ``reshape``, ``permute`` or ``slice``."""

    def reshape(editor: Editor, node: Node) -> Node:
        return editor.reshape(arguments(node)[0], node.meta["val"].shape)

    def transpose(editor: Editor, node: Node) -> Node:
        rank = node.meta["val"].dim()
        order = list(range(rank))
        first, second = (int(d) % rank for d in (arguments(node)[1:] or (0, 1)))
        order[first], order[second] = order[second], order[first]
        return editor.permute(arguments(node)[0], order)

    def split(editor: Editor, node: Node) -> tuple[Node, ...]:
        source: Node = arguments(node)[0]
        rank = source.meta["val"].dim()
        dimension = int(arguments(node)[2]) % rank if len(arguments(node)) > 2 else 0
        pieces, start = [], 0
        for value in node.meta["val"]:
            end = start + value.shape[dimension]
            pieces.append(editor.slice(source, dimension, start, end))
            start = end
        return tuple(pieces)

    def select(editor: Editor, node: Node) -> Node:
        source: Node = arguments(node)[0]
        shape = source.meta["val"].shape
        dimension = int(arguments(node)[1]) % len(shape)
        index = int(arguments(node)[2]) % shape[dimension]
        piece = editor.slice(source, dimension, index, index + 1)
        return editor.reshape(piece, node.meta["val"].shape)

    rules: dict[object, Rule] = dict.fromkeys(
        (
            aten.view.default,
            aten._unsafe_view.default,
            aten.squeeze.default,
            aten.squeeze.dim,
            aten.squeeze.dims,
            aten.unsqueeze.default,
            aten.unsqueeze_.default,
        ),
        reshape,
    )
    rules |= dict.fromkeys((aten.t.default, aten.transpose.int), transpose)
    rules |= dict.fromkeys((aten.split.Tensor, aten.split_with_sizes.default), split)
    rules[aten.select.int] = select
    return apply_rules(editor, rules)


def merge_views(editor: Editor) -> int:
    """Merge chains of reshapes and of permutes, and drop those that change nothing.

    A permute that only moves dimensions of size 1 is a reshape.
    """

    def permute(editor: Editor, node: Node) -> Node | None:
        source: Node = arguments(node)[0]
        order: list[int] = list(arguments(node)[1])
        order = [d % len(order) for d in order]
        if source.target is aten.permute.default:
            inner: list[int] = arguments(source)[1]
            return editor.permute(arguments(source)[0], [inner[d] for d in order])
        shape = source.meta["val"].shape
        wide = [d for d in order if shape[d] != 1]
        if wide == sorted(wide):
            return editor.reshape(source, node.meta["val"].shape)
        return None

    def reshape(editor: Editor, node: Node) -> Node | None:
        source: Node = arguments(node)[0]
        shape = node.meta["val"].shape
        if source.target is aten.reshape.default:
            return editor.reshape(arguments(source)[0], shape)
        return source if source.meta["val"].shape == shape else None

    return apply_rules(editor, {aten.permute.default: permute}) + apply_rules(
        editor, {aten.reshape.default: reshape, aten.permute.default: permute}
    )


def share_views(editor: Editor, distance: int = 100) -> int:
    """Use a view again that was made less than ``distance`` nodes ago, or instead of its source.

    The latter is where nothing but such views reads the source. Only views: what looks like a
    repeated computation is a recomputation, and is there to save memory.
    """
    count = 0
    known: dict[object, tuple[int, Node]] = {}
    for index, node in enumerate(list(editor.graph.nodes)):
        if node.target not in _VIEWS:
            continue
        key = (node.target, str(node.args))
        place, first = known.get(key, (-distance, node))
        source: Node = arguments(node)[0]
        alone = source.op == "call_function" and all(
            user.target is node.target and user.args == node.args for user in source.users
        )
        if index - place < distance or (alone and first is not node):
            node.replace_all_uses_with(first)
            editor.graph.erase_node(node)
            count += 1
        else:
            known[key] = (index, node)
    return count


_VIEWS = (aten.reshape.default, aten.permute.default, aten.slice.Tensor)


def repeat_views(editor: Editor, distance: int = 100) -> int:
    """Make a view again in front of each user that is ``distance`` nodes or more away.

    Kept from the forward to the backward pass, a view's copy would cost as much as its source,
    which usually is kept as well. A slice is only made again of a program's input, which lives
    anyhow: of anything else it may be the only part that has to live on. A view that is all there
    is of its source is kept in its place.
    """
    place = {node: index for index, node in enumerate(editor.graph.nodes)}
    count = 0
    # Backwards, so that a chain of views moves as a whole.
    for node in reversed(list(editor.graph.nodes)):
        if node.target not in _VIEWS or arguments(node)[0].op == "get_attr":
            continue
        if node.target is aten.slice.Tensor and arguments(node)[0].op != "placeholder":
            continue
        if _is_only_use(node):
            continue
        far: defaultdict[int, list[Node]] = defaultdict(list)
        for user in node.users:
            if user.op != "output" and place[user] - place[node] > distance:
                far[place[user] // distance].append(user)
        for users in far.values():
            first = min(users, key=place.__getitem__)
            with editor.before(first):
                copy = editor.graph.call_function(node.target, node.args, node.kwargs)
            copy.meta = dict(node.meta)
            place[copy] = place[first]
            for user in users:
                user.replace_input_with(node, copy)
            count += 1
    editor.graph.eliminate_dead_code()
    return count


def _is_only_use(view: Node) -> bool:
    """Whether nothing else reads what ``view`` is a view of."""
    source: Node = arguments(view)[0]
    while source.target in _VIEWS and len(source.users) == 1:
        source = arguments(source)[0]
    return source.op == "call_function" and len(source.users) == 1
