"""What the delegate takes of a program, and why it leaves the rest to portable operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx
from torch.export import ExportedProgram

from export.lowering.private import Refusals

__all__ = ["Partition", "partition"]

_DELEGATED_TYPES = (torch.float32, torch.float16)


@dataclass(frozen=True, slots=True)
class Partition:
    """``delegated``: the nodes that the delegate takes. ``reasons``: why it refused each other one.

    ``bound`` maps a node to the nodes before it that must be in the same delegate.
    """

    delegated: frozenset[fx.Node]
    bound: Mapping[fx.Node, tuple[fx.Node, ...]]
    reasons: Mapping[fx.Node, str]


def partition(program: ExportedProgram) -> Partition:
    """Ask the delegate about every operator of a program, once each."""
    refusals = Refusals(program)
    accepted: set[fx.Node] = set()
    bound: dict[fx.Node, tuple[fx.Node, ...]] = {}
    reasons: dict[fx.Node, str] = {}
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        if refusals.accepts(node):
            accepted.add(node)
            companions = refusals.companions(node)
            accepted.update(companions)
            if companions:
                bound[node] = tuple(companions)
        else:
            reasons[node] = _reason(refusals, node)
    return Partition(
        delegated=frozenset(accepted),
        bound=bound,
        reasons={node: reason for node, reason in reasons.items() if node not in accepted},
    )


def _reason(refusals: Refusals, node: fx.Node) -> str:
    """The most telling reason: no such operator, a dtype, or the delegate's own words."""
    if not refusals.knows(node):
        return "the delegate has no such operator"
    values = [node.meta.get("val"), *(value.meta.get("val") for value in node.all_input_nodes)]
    types = {value.dtype for value in values if isinstance(value, torch.Tensor)}
    foreign = sorted(str(kind).removeprefix("torch.") for kind in types - {*_DELEGATED_TYPES})
    if foreign:
        return f"dtype {', '.join(foreign)}"
    return refusals.reason(node) or "the delegate's rules refuse its arguments"
