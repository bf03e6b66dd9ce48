"""Graphs as exported programs in the runtime's dialect."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from executorch.exir import EdgeCompileConfig
from executorch.exir.dialects._ops import ops as edge_operators
from executorch.exir.verification.verifier import EXIREdgeDialectVerifier
from torch import Tensor, fx
from torch._subclasses import FakeTensorMode
from torch.export import ExportedProgram
from torch.export.exported_program import ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.utils import _pytree as pytree

__all__ = ["COMPILE", "edge_operator", "exported_program", "faked"]

# Nothing is verified or decomposed again: the graphs are in the right dialect by construction.
COMPILE = EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True)


@functools.cache
def edge_operator(operator: torch._ops.OpOverload) -> Any:
    """The runtime dialect's form of a core ATen (or quantized_decomposed) operator.

    Raises:
        AttributeError: the dialect has no such operator.
    """
    namespace, name = operator._schema.name.split("::")
    packet = getattr(getattr(edge_operators.edge, namespace), name)
    return getattr(packet, operator._overloadname)


class _CachedSignature(ExportGraphSignature):
    """A signature whose name tables are made once.

    torch makes them anew on every access, and the delegate asks for them at every node: that alone
    would be quadratic.
    """

    @functools.cached_property
    def inputs_to_parameters(self) -> Mapping[str, str]:
        return MappingProxyType(dict(super().inputs_to_parameters))

    @functools.cached_property
    def inputs_to_buffers(self) -> Mapping[str, str]:
        return MappingProxyType(dict(super().inputs_to_buffers))

    @functools.cached_property
    def inputs_to_lifted_tensor_constants(self) -> Mapping[str, str]:
        return MappingProxyType(dict(super().inputs_to_lifted_tensor_constants))


def exported_program(
    root: torch.nn.Module, graph: fx.Graph, constants: Mapping[str, Tensor]
) -> ExportedProgram:
    """An exported program directly from a graph, without tracing.

    Placeholders named in ``constants`` become its buffers and come before the others, which are
    the inputs; the output node has one flat tuple.
    """
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    results: Any = graph.output_node().args[0]
    outputs = tuple(results)
    inputs = [node for node in placeholders if node.name not in constants]
    kinds = [
        InputSpec(InputKind.BUFFER, TensorArgument(node.name), node.name, persistent=True)
        if node.name in constants
        else InputSpec(InputKind.USER_INPUT, TensorArgument(node.name), None)
        for node in placeholders
    ]
    produced = [
        OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(node.name), None) for node in outputs
    ]
    call = ModuleCallSignature(
        inputs=[],
        outputs=[],
        in_spec=pytree.tree_flatten((tuple(range(len(inputs))), {}))[1],
        out_spec=pytree.tree_flatten(tuple(range(len(outputs))))[1],
    )
    module = fx.GraphModule(root, graph)
    return ExportedProgram(
        root=module,
        graph=module.graph,
        graph_signature=_CachedSignature(kinds, produced),
        state_dict={
            node.name: constants[node.name] for node in placeholders if node.name in constants
        },
        range_constraints={},
        module_call_graph=[ModuleCallEntry("", call)],
        constants={},
        verifiers=[EXIREdgeDialectVerifier(edge_compile_config=COMPILE, class_only=True)],
    )


def faked(graph: fx.Graph) -> None:
    """Give every node a fake tensor for its value, as the runtime's passes want."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def fake(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        with mode:
            return torch.empty(tuple(value.shape), dtype=value.dtype)

    for node in graph.nodes:
        if "val" in node.meta:
            node.meta["val"] = pytree.tree_map(fake, node.meta["val"])
