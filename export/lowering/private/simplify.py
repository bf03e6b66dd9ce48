"""Nodes that only the delegate's partitioner needed, taken out of its graph again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from executorch.backends.xnnpack.serialization.xnnpack_graph_schema import (
    XNNConvert,
    XNNGraph,
    XNNQuantizedTensorValue,
    XNNStaticReshape,
)

__all__ = ["flatten_weights"]


def flatten_weights(graph: XNNGraph) -> None:
    """Store int8 weights ``[1, rows, columns]`` as the matrices that they are.

    The dimension of size 1 keeps the partitioner from taking a product for a quantized one
    (``export/passes/weights.py``). With it goes the reshape behind each dequantized weight.
    """
    tensors = {tensor.id_out: tensor for tensor in _tensors(graph)}
    users: defaultdict[int, list[Any]] = defaultdict(list)
    for node in graph.xnodes:
        for name in _inputs(node.xnode_union):
            users[getattr(node.xnode_union, name)].append(node.xnode_union)
    same: dict[int, int] = {}
    dropped: set[int] = set()
    for identifier, tensor in tensors.items():
        if not tensor.constant_buffer_idx or tensor.num_dims != 3 or tensor.dims[0] != 1:
            continue
        converted = users[identifier]
        reshaped = [user for node in converted for user in users[node.output_id]]
        if any(type(node) is not XNNConvert for node in converted) or any(
            type(node) is not XNNStaticReshape for node in reshaped
        ):
            continue
        for matrix in (tensor, *(tensors[node.output_id] for node in converted)):
            matrix.num_dims, matrix.dims = 2, matrix.dims[1:]
        for node in reshaped:
            # What leaves the delegate keeps its place.
            if list(node.new_shape) == tensor.dims and not tensors[node.output_id].flags:
                same[node.output_id] = node.input_id
                dropped.add(id(node))
    graph.xnodes = [node for node in graph.xnodes if id(node.xnode_union) not in dropped]
    graph.xvalues = [value for value in graph.xvalues if _tensor(value).id_out not in same]
    for node in graph.xnodes:
        for name in _inputs(node.xnode_union):
            identifier = getattr(node.xnode_union, name)
            setattr(node.xnode_union, name, same.get(identifier, identifier))


def _tensor(value: Any) -> Any:
    """The plain description in a value."""
    union = value.xvalue_union
    return union.tensor_value if isinstance(union, XNNQuantizedTensorValue) else union


def _tensors(graph: XNNGraph) -> Iterator[Any]:
    return map(_tensor, graph.xvalues)


def _inputs(node: Any) -> list[str]:
    """The fields of a node that name what it reads."""
    return [name for name in vars(node) if name.endswith("_id") and not name.startswith("output")]
