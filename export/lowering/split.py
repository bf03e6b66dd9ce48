"""A staged program as a short graph that calls one delegate per chunk."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from export.lowering.chunks import Stage
from export.lowering.private import DELEGATE_CALL, delegate_module, exported_program, faked

__all__ = ["ChunkGraph", "chunk_graph", "operator_name", "split"]


@dataclass(frozen=True, slots=True)
class ChunkGraph:
    """One chunk as a graph of its own.

    Its placeholders are ``constants``, then ``inputs`` (both nodes of the program, by the same
    names); its outputs are copies of ``outputs``, the nodes of the chunk that others need.
    """

    graph: fx.Graph
    constants: tuple[fx.Node, ...]
    inputs: tuple[fx.Node, ...]
    outputs: tuple[fx.Node, ...]


def operator_name(node: fx.Node) -> str:
    """The name of a node's operator, without its namespace."""
    target: Any = node.target
    return str(target.__name__)


def chunk_graph(program: ExportedProgram, chunk: Sequence[fx.Node]) -> ChunkGraph:
    """Copy a chunk of a program's nodes into a graph of its own."""
    inside = set(chunk)
    outside = dict.fromkeys(
        value for node in chunk for value in node.all_input_nodes if value not in inside
    )
    constants = tuple(node for node in outside if node.name in program.state_dict)
    inputs = tuple(node for node in outside if node.name not in program.state_dict)
    outputs = tuple(node for node in chunk if any(user not in inside for user in node.users))
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in (*constants, *inputs):
        copies[node] = graph.placeholder(node.name)
        copies[node].meta["val"] = node.meta["val"]
    for node in chunk:
        copies[node] = graph.node_copy(node, lambda value: copies[value])
    graph.output(tuple(copies[node] for node in outputs))
    return ChunkGraph(graph, constants, inputs, outputs)


def split(
    program: ExportedProgram,
    parts: Sequence[Stage],
    encode: Callable[[ChunkGraph], bytes],
) -> ExportedProgram:
    """The program with each chunk replaced by a call of its delegate, in one walk.

    ``encode`` turns a chunk into the delegate's bytes. Constants stay in the graph only where a
    portable operator uses them; those of the delegates are in the delegates' own store.
    """
    graph = fx.Graph()
    root = torch.nn.Module()
    copies: dict[fx.Node, fx.Node] = {}
    kept = {value for stage in parts for node in stage.portable for value in node.all_input_nodes}
    for node in program.graph.nodes:
        if node.op == "placeholder" and (node.name not in program.state_dict or node in kept):
            copies[node] = graph.node_copy(node)
    delegates = 0
    for stage in parts:
        for node in stage.portable:
            copies[node] = graph.node_copy(node, lambda value: copies[value])
        for chunk in stage.chunks:
            piece = chunk_graph(program, chunk)
            attribute = f"delegate_{delegates}"
            values = [node.meta["val"] for node in piece.outputs]
            setattr(root, attribute, delegate_module(encode(piece), values))
            delegates += 1
            call = graph.call_function(
                DELEGATE_CALL,
                (
                    graph.create_node("get_attr", attribute),
                    *(copies[node] for node in piece.inputs),
                ),
            )
            call.meta.update(val=values, debug_handle=delegates)
            for index, node in enumerate(piece.outputs):
                item = graph.call_function(operator.getitem, (call, index))
                item.meta["val"] = node.meta["val"]
                copies[node] = item
    results = program.graph.output_node().args[0]
    graph.output(tuple(copies[node] for node in results))
    faked(graph)
    constants = {
        node.name: program.state_dict[node.name]
        for node in graph.nodes
        if node.op == "placeholder" and node.name in program.state_dict
    }
    return exported_program(root, graph, constants)
