"""One workspace of the right size from the start, instead of one that grows while it is used.

All delegates share the memory for their inner values. When one needs more than any before it, the
runtime makes a larger workspace while the old one lives, so the peak is about the sum of both, and
worst where sizes grow slightly. Program order is given (``chunks.py``), so the first delegate is
made to ask for as much as the largest: a number that it reads is padded to that size and cut again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import fx

from export.lowering.chunks import Stage
from export.lowering.private import edge_operator

__all__ = ["reserve", "workspace_bytes"]

_aten = torch.ops.aten
# Each value is padded by this much.
_PADDING = 128


def workspace_bytes(chunk: Sequence[fx.Node]) -> int:
    """Bytes of the inner values of a chunk that live at once: about what its delegate asks for."""
    place = {node: index for index, node in enumerate(chunk)}
    change = [0] * (len(chunk) + 1)
    for node, index in place.items():
        value = node.meta["val"]
        if isinstance(value, torch.Tensor) and all(user in place for user in node.users):
            size = value.numel() * value.element_size() + _PADDING
            change[index] += size
            change[max((place[user] for user in node.users), default=index) + 1] -= size
    peak = live = 0
    for step in change:
        live += step
        peak = max(peak, live)
    return peak


def reserve(graph: fx.Graph, plan: Sequence[Stage]) -> tuple[Stage, ...]:
    """The plan with the first delegate asking for the largest workspace; ``graph`` is changed.

    Nothing changes when it does already, or when it reads no single number from outside.
    """
    needs = [workspace_bytes(chunk) for stage in plan for chunk in stage.chunks]
    index = next((index for index, stage in enumerate(plan) if stage.chunks), None)
    if index is None or needs[0] == max(needs):
        return tuple(plan)
    first, *others = plan[index].chunks
    reads = (
        (node, value)
        for node in first
        for value in node.all_input_nodes
        if value not in first and _is_number(value)
    )
    for node, number in reads:
        more = max(needs) // number.meta["val"].element_size() - 1
        with graph.inserting_before(node):
            padded = graph.call_function(
                edge_operator(_aten.constant_pad_nd.default), (number, [0, more], 0.0)
            )
            same = graph.call_function(edge_operator(_aten.slice_copy.Tensor), (padded, 0, 0, 1))
        padded.meta["val"] = torch.empty(1 + more, device="meta")
        same.meta["val"] = number.meta["val"]
        node.replace_input_with(number, same)
        place = first.index(node)
        chunk = (*first[:place], padded, same, *first[place:])
        return (*plan[:index], replace(plan[index], chunks=(chunk, *others)), *plan[index + 1 :])
    return tuple(plan)


def _is_number(node: fx.Node) -> bool:
    value = node.meta["val"]
    return tuple(value.shape) == (1,) and bool(value.dtype == torch.float32)
