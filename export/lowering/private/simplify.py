"""Nodes that the delegate's graph can do without, taken out before it is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from executorch.backends.xnnpack.serialization.xnnpack_graph_schema import (
    XNNConvert,
    XNNGraph,
    XNNQuantizedTensorValue,
    XNNStaticReshape,
    XNNStaticSlice,
)

__all__ = ["flatten_weights", "merge_slices"]


def merge_slices(graph: XNNGraph) -> None:
    """A slice of a slice is one slice: the delegate's can cut several dimensions at once."""
    made: dict[int, Any] = {}
    for node in graph.xnodes:
        piece = node.xnode_union
        if type(piece) is XNNStaticSlice:
            inner = made.get(piece.input_id)
            if inner is not None:
                pairs = zip(inner.offsets, piece.offsets, strict=True)
                piece.offsets = [first + second for first, second in pairs]
                piece.input_id = inner.input_id
            made[piece.output_id] = piece
    users = _users(graph)
    results = {tensor.id_out for tensor in _tensors(graph) if tensor.flags}
    _drop(graph, {name: name for name in made if name not in users and name not in results})


def flatten_weights(graph: XNNGraph) -> None:
    """Store int8 weights ``[1, rows, columns]`` as the matrices that they are.

    The dimension of size 1 keeps the partitioner from taking a product for a quantized one
    (``export/passes/weights.py``). With it goes the reshape behind each dequantized weight.
    """
    tensors = {tensor.id_out: tensor for tensor in _tensors(graph)}
    users = _users(graph)
    same: dict[int, int] = {}
    for identifier, tensor in tensors.items():
        if not tensor.constant_buffer_idx or tensor.num_dims != 3 or tensor.dims[0] != 1:
            continue
        converted = users.get(identifier, [])
        reshaped = [user for node in converted for user in users.get(node.output_id, [])]
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
    _drop(graph, same)


def _users(graph: XNNGraph) -> dict[int, list[Any]]:
    """The nodes that read each value."""
    users: defaultdict[int, list[Any]] = defaultdict(list)
    for node in graph.xnodes:
        for name in _inputs(node.xnode_union):
            users[getattr(node.xnode_union, name)].append(node.xnode_union)
    return dict(users)


def _drop(graph: XNNGraph, same: Mapping[int, int]) -> None:
    """Drop the values named in ``same`` with the nodes that make them; others read those there."""
    graph.xnodes = [
        node for node in graph.xnodes if getattr(node.xnode_union, "output_id", None) not in same
    ]
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
