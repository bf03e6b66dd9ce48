"""Where a program is cut into delegates.

Everything stays in program order, which is the order that recomputation was arranged in: moving
operators to make fewer, larger delegates would bring back the memory that recomputation saved.
A delegate of a whole program would hold all its values at once; many small ones copy at each
border. So the delegated operators are cut into runs of about equal size (equal workspaces, see
``tests/export/test_hazards.py``), at the borders that the fewest bytes cross.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import fx

from export.lowering.partition import Partition
from pockettune.errors import LoweringFailed

__all__ = ["Stage", "cut", "stages"]


@dataclass(frozen=True, slots=True)
class Stage:
    """``portable`` operators, then ``chunks`` of delegated ones, both in program order."""

    portable: tuple[fx.Node, ...]
    chunks: tuple[tuple[fx.Node, ...], ...]


def stages(name: str, graph: fx.Graph, parts: Partition, chunk_nodes: int) -> tuple[Stage, ...]:
    """A program as alternating portable and delegated parts.

    A new stage starts only where a delegated operator needs a portable one that itself needs the
    current stage, so portable operators move to the front as far as they can.

    Raises:
        LoweringFailed: operators that must share a delegate cannot.
    """
    number: dict[fx.Node, int] = {}
    current = 0
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        inputs = [value for value in node.all_input_nodes if value in number]
        if node in parts.delegated:
            foreign = (number[value] for value in inputs if value not in parts.delegated)
            current = max([current, *foreign])
            number[node] = current
        else:
            number[node] = max(
                (number[value] + (value in parts.delegated) for value in inputs), default=0
            )
    for node, companions in parts.bound.items():
        if any(number[companion] != number[node] for companion in companions):
            raise LoweringFailed(
                name, str(node.target), "it is apart from the operators of its own delegate"
            )
    count = max(number.values(), default=-1) + 1
    portable: list[list[fx.Node]] = [[] for _ in range(count)]
    delegated: list[list[fx.Node]] = [[] for _ in range(count)]
    for node, stage in number.items():
        (delegated if node in parts.delegated else portable)[stage].append(node)
    return tuple(
        Stage(tuple(portable[stage]), cut(delegated[stage], chunk_nodes, parts.bound))
        for stage in range(count)
    )


def cut(
    run: Sequence[fx.Node],
    chunk_nodes: int,
    bound: Mapping[fx.Node, tuple[fx.Node, ...]] | None = None,
) -> tuple[tuple[fx.Node, ...], ...]:
    """A run of operators in consecutive chunks of 0.5 to 1.5 times ``chunk_nodes``.

    Each cut is where the fewest bytes cross, among equals the last one; never between operators
    that are ``bound`` together. Cutting there also keeps a dequantized weight, or the taps of one
    convolution, inside one delegate.
    """
    if not run:
        return ()
    crossing = _crossing_bytes(run, bound or {})
    chunks: list[tuple[fx.Node, ...]] = []
    start = 0
    while len(run) - start > max(1.5 * chunk_nodes, 1):
        places = range(start + max(chunk_nodes // 2, 1), start + chunk_nodes * 3 // 2 + 1)
        end = min(places, key=lambda place: (crossing[place], -place))
        chunks.append(tuple(run[start:end]))
        start = end
    chunks.append(tuple(run[start:]))
    return tuple(chunks)


def _crossing_bytes(
    run: Sequence[fx.Node], bound: Mapping[fx.Node, tuple[fx.Node, ...]]
) -> list[float]:
    """For each place between two operators, the bytes that are made before and used after."""
    index = {node: position for position, node in enumerate(run)}
    change = [0.0] * (len(run) + 1)

    def span(first: int, last: int, size: float) -> None:
        if last > first:
            change[first + 1] += size
            change[last + 1 if last + 1 <= len(run) else len(run)] -= size

    for node, position in index.items():
        uses = [index[user] for user in node.users if user in index]
        span(position, max(uses, default=position), _bytes(node))
    forbidden = float(2**60)
    for node, companions in bound.items():
        if node in index:
            span(min(index[other] for other in companions), index[node], forbidden)
    total, crossing = 0.0, []
    for step in change:
        total += step
        crossing.append(total)
    return crossing


def _bytes(node: fx.Node) -> int:
    value = node.meta["val"]
    values = value if isinstance(value, (tuple, list)) else (value,)
    return sum(
        item.numel() * item.element_size() for item in values if isinstance(item, torch.Tensor)
    )
