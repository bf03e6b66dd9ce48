"""A captured graph in the runtime's dialect, converted by one walk over its nodes.

The graph is functional core ATen already (``export/capture.py``), so nothing is decomposed or
traced again: every target is swapped for the runtime's form of it, views for the forms that copy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from export.lowering.private import edge_operator, exported_program
from pockettune.errors import LoweringFailed

__all__ = ["to_edge"]

_aten = torch.ops.aten

# The runtime has no views inside a graph; memory planning turns plain reshapes back into them.
_COPYING = {
    _aten.alias.default: _aten.alias_copy.default,
    _aten.expand.default: _aten.expand_copy.default,
    _aten.permute.default: _aten.permute_copy.default,
    _aten.select.int: _aten.select_copy.int,
    _aten.slice.Tensor: _aten.slice_copy.Tensor,
    _aten.split.Tensor: _aten.split_copy.Tensor,
    _aten.split_with_sizes.default: _aten.split_with_sizes_copy.default,
    _aten.squeeze.dims: _aten.squeeze_copy.dims,
    _aten.transpose.int: _aten.transpose_copy.int,
    _aten.unsqueeze.default: _aten.unsqueeze_copy.default,
}
_RESHAPING = (_aten.reshape.default, _aten.view.default, _aten._unsafe_view.default)


def to_edge(name: str, module: fx.GraphModule) -> ExportedProgram:
    """The program ``name`` as an exported program in the runtime's dialect.

    ``module`` is a captured graph (its contract is in ``export/capture.py``); it is not changed.
    Constants become buffers, one per registered tensor, in order of first use. What no output
    needs is left out.

    Raises:
        LoweringFailed: a node is not in the dialect.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    constants: dict[str, Tensor] = {}
    needed = _needed(module.graph)
    attributes = [node for node in module.graph.nodes if node.op == "get_attr" and node in needed]
    by_target: dict[str, fx.Node] = {}
    for node in attributes:
        target = str(node.target)
        if target not in by_target:
            tensor = _constant(module, target)
            copy = graph.placeholder(f"constant_{len(by_target)}")
            copy.meta["val"] = tensor.to("meta")
            constants[copy.name] = tensor
            by_target[target] = copy
        copies[node] = by_target[target]
    for node in module.graph.nodes:
        if node.op == "placeholder":
            copies[node] = graph.placeholder(f"input_{node.name}")
        elif node.op == "call_function" and node in needed:
            copies[node] = _call(name, graph, node, copies)
        elif node.op == "output":
            outputs = tuple(copies[value] for value in node.args[0])
            graph.output(outputs)
        if node.op in ("placeholder", "call_function") and node in copies:
            copies[node].meta["val"] = node.meta["val"]
    return exported_program(torch.nn.Module(), graph, constants)


def _needed(graph: fx.Graph) -> set[fx.Node]:
    """The nodes that an output depends on."""
    needed: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.op == "output" or node in needed:
            needed.update(node.all_input_nodes)
    return needed


def _constant(module: fx.GraphModule, target: str) -> Tensor:
    value: Any = module
    for part in target.split("."):
        value = getattr(value, part)
    return value.detach().contiguous()


def _call(name: str, graph: fx.Graph, node: fx.Node, copies: dict[fx.Node, fx.Node]) -> fx.Node:
    arguments = fx.map_arg(node.args, lambda value: copies[value])
    keywords = fx.map_arg(node.kwargs, lambda value: copies[value])
    target: Any = node.target
    if target in _RESHAPING:
        # The shape is known here, so that a -1 need not be resolved on the device.
        target, keywords = _aten.view_copy.default, {}
        arguments = (arguments[0], list(node.meta["val"].shape))
    target = _COPYING.get(target, target)
    try:
        target = edge_operator(target)
    except AttributeError as error:
        raise LoweringFailed(name, str(node.target), "the runtime has no such operator") from error
    return graph.call_function(target, arguments, keywords)
