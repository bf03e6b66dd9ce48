"""What every pass edits a captured graph with: emit nodes, know their shapes, keep constants once.

Every node of a graph under an editor has ``node.meta["val"]``: a meta tensor (or a tuple of them).
An emitted node gets it by running its operator on the meta device, so a pass never traces again and
each pass is linear in the nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial, reduce
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_aggregate

__all__ = ["PIXELS_FIRST", "Editor", "Rule", "apply_rules", "arguments"]

aten = torch.ops.aten

# Constants of at most this many elements are kept once by value, larger ones by storage.
_SMALL = 64

PIXELS_FIRST = (2, 3, 0, 1)
"""The order of ``[samples, channels, height, width]`` in which layers lie whose filters are trained
(``trained.py``); its own inverse."""


class Editor:
    """A graph under edit. ``frozen`` holds the nodes that are never folded (``weights.py``)."""

    def __init__(self, module: GraphModule) -> None:
        self.module = module
        self.graph = module.graph
        self.frozen: set[Node] = set()
        self._last_input = next(
            (node for node in reversed(module.graph.nodes) if node.op == "placeholder"), None
        )
        self._by_value: dict[tuple[Any, ...], Node] = {}
        self._by_name: dict[str, Node] = {}

    @contextmanager
    def before(self, node: Node) -> Iterator[None]:
        """Emit in front of ``node``."""
        with self.graph.inserting_before(node):
            yield

    def call(self, target: Any, *arguments: Any) -> Node:
        """Emit ``target(*arguments)``; runs it on the meta device for shape and dtype."""
        node = self.graph.call_function(target, arguments)
        node.meta["val"] = target(*map_aggregate(arguments, _meta))
        return node

    def constant(self, value: Tensor, name: str | None = None) -> Node:
        """The node of a constant; equal small constants and equal names share one node.

        ``name`` is for constants that programs share: the same name must mean the same tensor.
        """
        key: tuple[Any, ...] | None = None
        if name is not None:
            if name in self._by_name:
                return self._by_name[name]
        elif value.numel() <= _SMALL or (value == value.flatten()[0]).all():
            values = value.flatten()[:_SMALL].tolist()
            key = (value.dtype, tuple(value.shape), *map(repr, values))
            if key in self._by_value:
                return self._by_value[key]
        name = name or f"constant_{len(self._by_name)}"
        self.module.register_buffer(name, value)
        # All constants stand right behind the inputs, so that a later pass may use one anywhere.
        with self.graph.inserting_after(self._last_input):
            node = self.graph.get_attr(name)
        node.meta["val"] = value.to("meta")
        self._by_name[name] = node
        if key is not None:
            self._by_value[key] = node
        return node

    def forget(self, names: set[str]) -> None:
        """Constants of these names are gone from the graph: never hand them out again."""
        self._by_name = {k: node for k, node in self._by_name.items() if k not in names}
        self._by_value = {k: n for k, n in self._by_value.items() if n.target not in names}

    def scalar(self, value: float) -> Node:
        """A float32 constant of shape ``[1]``: delegates take tensors, not numbers."""
        return self.constant(torch.tensor([value], dtype=torch.float32))

    def constant_value(self, node: Node) -> Tensor | None:
        """The tensor behind a constant's node, or None for any other node."""
        return getattr(self.module, str(node.target)) if node.op == "get_attr" else None

    def reshape(self, node: Node, shape: Sequence[int]) -> Node:
        """``node`` in another shape; itself when it has that shape."""
        if list(node.meta["val"].shape) == list(shape):
            return node
        return self.call(aten.reshape.default, node, list(shape))

    def permute(self, node: Node, order: Sequence[int]) -> Node:
        """``node`` with its dimensions in another order."""
        if list(order) == list(range(len(order))):
            return node
        return self.call(aten.permute.default, node, list(order))

    def slice(self, node: Node, dimension: int, start: int, end: int) -> Node:
        """``start`` to ``end`` of a dimension; the node itself when that is all of it."""
        if start == 0 and end == node.meta["val"].shape[dimension]:
            return node
        return self.call(aten.slice.Tensor, node, dimension, start, end)

    def pad(self, node: Node, widths: Sequence[int]) -> Node:
        """Zeros around ``node``; ``widths`` as for ``torch.nn.functional.pad``."""
        if not any(widths):
            return node
        return self.call(aten.constant_pad_nd.default, node, list(widths), 0.0)

    def binary(self, target: Any, left: Node, right: Node | float) -> Node:
        """An elementwise operator, a number as a constant; keeps the shape of ``left`` for one."""
        if isinstance(right, Node):
            return self.call(target, left, right)
        return self.reshape(self.call(target, left, self.scalar(right)), left.meta["val"].shape)

    def sum(self, terms: Iterable[Node]) -> Node:
        """One or more nodes added up, each as soon as it is emitted: few are alive at a time."""
        return reduce(partial(self.call, aten.add.Tensor), terms)

    def replace(self, node: Node, new: Node | tuple[Node | None, ...]) -> None:
        """Put ``new`` in the place of ``node``; a tuple in the place of its ``getitem`` users."""
        if isinstance(new, tuple):
            for user in list(node.users):
                user.replace_all_uses_with(new[arguments(user)[1]])
                self.graph.erase_node(user)
        elif new is not node:
            node.replace_all_uses_with(new)
        if new is not node:
            self.graph.erase_node(node)


Rule: TypeAlias = Callable[[Editor, Node], "Node | tuple[Node | None, ...] | None"]
"""Emits the replacement of a node, in front of it, and returns it; None leaves the node. In a tuple
None stands for what nobody asked for."""


def arguments(node: Node) -> tuple[Any, ...]:
    """What a node's operator is called with, each as the operator's schema says."""
    return node.args


def apply_rules(editor: Editor, rules: Mapping[Any, Rule]) -> int:
    """Apply to each node the rule of its operator, in program order; returns the replacements."""
    count = 0
    for node in list(editor.graph.nodes):
        rule = rules.get(node.target) if node.op == "call_function" else None
        if rule is None:
            continue
        with editor.before(node):
            new = rule(editor, node)
        if new is not None and new is not node:
            if isinstance(new, Node):
                _check_same_kind(node, new)
            editor.replace(node, new)
            count += 1
    editor.graph.eliminate_dead_code()
    return count


def elements(node: Node) -> int:
    """The number of elements of a node's tensor."""
    return math.prod(node.meta["val"].shape)


def _check_same_kind(old: Node, new: Node) -> None:
    before, after = old.meta["val"], new.meta["val"]
    if before.shape != after.shape or before.dtype != after.dtype:
        raise RuntimeError(
            f"a rule for {old.target} gave {after.dtype} {tuple(after.shape)} in the place of"
            f" {before.dtype} {tuple(before.shape)}"
        )


def _meta(argument: Any) -> Any:
    return argument.meta["val"] if isinstance(argument, Node) else argument
