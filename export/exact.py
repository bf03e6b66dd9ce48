"""A captured graph in float64: what both sides of a comparison are rounded versions of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter

__all__ = ["in_float64"]


def in_float64(graph: GraphModule, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """The graph's outputs with every float tensor in float64."""
    with torch.no_grad():
        return _Float64(graph).run(*inputs)


class _Float64(Interpreter):
    """Whatever a node gives is widened, operators that ask for float32 included."""

    def run_node(self, n: Any) -> Any:
        return torch.fx.node.map_aggregate(super().run_node(n), _widened)


def _widened(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
