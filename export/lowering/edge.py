"""A captured graph in the runtime's dialect, converted by one walk over its nodes.

The graph is functional core ATen already (``export/capture.py``), so nothing is decomposed or
traced again: every target is swapped for the runtime's form of it, views for the forms that copy.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from export.lowering.private import edge_operator, exported_program
from pockettune.errors import LoweringFailed

__all__ = ["to_edge"]

_aten = torch.ops.aten
_Scalar: TypeAlias = tuple[int | float, torch.dtype]
# A constant's name in the module, and whether the delegate repacks it there.
_Use: TypeAlias = tuple[str, bool]

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
# Where the delegate repacks a constant for its kernels. It then frees the original, so a constant
# that is a plain operand as well would be read after that: other values, or a crash.
_REPACKED: Mapping[Any, tuple[int, ...]] = {
    _aten.linear.default: (1, 2),
    _aten.convolution.default: (1, 2),
}
# The delegate's widest concatenation. Its own pass for wider ones traces the whole chunk again.
_WIDEST_CONCATENATION = 5
_RESHAPING = (_aten.reshape.default, _aten.view.default, _aten._unsafe_view.default)


def to_edge(name: str, module: fx.GraphModule) -> ExportedProgram:
    """The program ``name`` as an exported program in the runtime's dialect.

    ``module`` is a captured graph (its contract is in ``export/capture.py``); it is not changed.
    Constants become buffers in order of first use, one per registered tensor, or two where it is
    both repacked and a plain operand (a file holds equal bytes once). What no output needs is left
    out.

    Raises:
        LoweringFailed: a node is not in the dialect.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    constants: dict[str, Tensor] = {}
    scalars: dict[_Scalar, fx.Node] = {}
    by_use: dict[_Use, fx.Node] = {}

    def constant(tensor: Tensor) -> fx.Node:
        node = graph.placeholder(f"constant_{len(constants)}")
        node.meta["val"] = tensor.to("meta")
        constants[node.name] = tensor
        return node

    needed = _needed(module.graph)
    for node in module.graph.nodes:
        if node.op == "call_function" and node in needed:
            for use in _uses(node).values():
                if use not in by_use:
                    by_use[use] = constant(_attribute(module, use[0]))
            for scalar in _scalars(node).values():
                if scalar not in scalars:
                    number, dtype = scalar
                    scalars[scalar] = constant(torch.tensor(number, dtype=dtype))
    for node in module.graph.nodes:
        if node.op == "placeholder":
            copies[node] = graph.placeholder(f"input_{node.name}")
        elif node.op == "call_function" and node in needed:
            own = {value: by_use[use] for value, use in _uses(node).items()}
            copies[node] = _call(name, graph, node, ChainMap(own, copies), scalars)
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


def _attribute(module: fx.GraphModule, target: str) -> Tensor:
    value: Any = module
    for part in target.split("."):
        value = getattr(value, part)
    return value.detach().contiguous()


def _uses(node: fx.Node) -> dict[fx.Node, _Use]:
    """The constants among the inputs of a node."""
    repacked = [node.args[p] for p in _REPACKED.get(node.target, ()) if p < len(node.args)]
    return {
        value: (str(value.target), value in repacked)
        for value in node.all_input_nodes
        if value.op == "get_attr"
    }


def _scalars(node: fx.Node) -> dict[int, _Scalar]:
    """Numbers where an operator's schema has a tensor, by their position.

    PyTorch makes tensors of them; the runtime stops the process.
    """
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {}
    slots = zip(enumerate(node.args), schema.arguments, strict=False)
    return {
        position: (value, torch.result_type(node.all_input_nodes[0].meta["val"], value))
        for (position, value), argument in slots
        if isinstance(value, (int, float)) and isinstance(argument.type, torch.TensorType)
    }


def _call(
    name: str,
    graph: fx.Graph,
    node: fx.Node,
    copies: Mapping[fx.Node, fx.Node],
    scalars: Mapping[_Scalar, fx.Node],
) -> fx.Node:
    """The node in the runtime's dialect, at the end of ``graph``."""
    found = _scalars(node)
    arguments: tuple[Any, ...] = tuple(
        scalars[found[position]]
        if position in found
        else fx.map_arg(value, lambda value: copies[value])
        for position, value in enumerate(node.args)
    )
    keywords = fx.map_arg(node.kwargs, lambda value: copies[value])
    target: Any = node.target
    if target is _aten.cat.default:
        arguments = (_narrowed(graph, *arguments), *arguments[1:])
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


def _narrowed(graph: fx.Graph, parts: Sequence[fx.Node], dimension: int = 0) -> list[fx.Node]:
    """The operands of a concatenation, the first of them put together until it is narrow enough."""
    parts = list(parts)
    while len(parts) > _WIDEST_CONCATENATION:
        # As few as leave a full last operator, since their values are copied twice.
        count = min(_WIDEST_CONCATENATION, len(parts) - _WIDEST_CONCATENATION + 1)
        joined = graph.call_function(edge_operator(_aten.cat.default), (parts[:count], dimension))
        joined.meta["val"] = torch.cat([part.meta["val"] for part in parts[:count]], dimension)
        parts[:count] = [joined]
    return parts
