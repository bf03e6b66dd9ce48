"""The delegate: which operators it takes, and a chunk of them in its format."""

from __future__ import annotations

from typing import Any

import torch
from executorch.backends.transforms.remove_getitem_op import RemoveGetItemPass
from executorch.backends.xnnpack._passes import XNNPACKPassManager
from executorch.backends.xnnpack._passes.channels_last_tagged_reshape_pass import (
    ChannelsLastTaggedReshapePass,
)
from executorch.backends.xnnpack._passes.convert_to_linear import ConvertToLinearPass
from executorch.backends.xnnpack._passes.fuse_activation_pass import FuseActivationPass
from executorch.backends.xnnpack._passes.remove_redundant_copy_pass import RemoveRedundantCopyPass
from executorch.backends.xnnpack.operators.node_visitor import get_node_visitors
from executorch.backends.xnnpack.partition.config import (
    gemm_configs,
    generic_node_configs,
    node_configs,
    xnnpack_config,
)
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.serialization.xnnpack_graph_schema import (
    ConstantDataOffset,
    XNNGraph,
)
from executorch.backends.xnnpack.xnnpack_preprocess import generate_node_to_external_map
from executorch.exir._serialize._named_data_store import NamedDataStore
from torch import fx
from torch.export import ExportedProgram

from export.lowering.private.dialect import exported_program, faked
from export.lowering.private.payload import payload
from export.lowering.private.quirks import without_deprecations
from export.lowering.private.simplify import flatten_weights, merge_slices

__all__ = ["ConstantStore", "Refusals", "encode"]

# A default value takes no room in the file: there are as many handles as operators.
_NO_HANDLE = 0

# Of the delegate's seventeen graph passes those that a graph of core ATen operators can need, in
# the stock order. The others look for patterns of quantized or unusual layers.
_PASSES = [
    ConvertToLinearPass,
    FuseActivationPass,
    RemoveGetItemPass,
    ChannelsLastTaggedReshapePass,
    RemoveRedundantCopyPass,
]


class Refusals:
    """The delegate's own rules: which nodes it takes, and its reason when it does not."""

    _REPORTERS = tuple(
        module.why for module in (gemm_configs, generic_node_configs, node_configs, xnnpack_config)
    )

    def __init__(self, program: ExportedProgram) -> None:
        # Linear layers with computed weights: int8 weights are dequantized in the graph, and a
        # backward pass multiplies two activations.
        partitioner = XnnpackPartitioner(force_non_static_weights_for_f32_linear=True)
        self._rules = partitioner.target_partitioner_configs
        self._program = program

    def knows(self, node: fx.Node) -> bool:
        """Whether the delegate has the operator at all."""
        return _short_name(node) in self._rules

    def accepts(self, node: fx.Node) -> bool:
        """Whether the delegate takes this node."""
        rule = self._rules.get(_short_name(node))
        return rule is not None and bool(rule.check_constraints(node, self._program))

    def companions(self, node: fx.Node) -> list[fx.Node]:
        """The other operators that have to be in the same delegate as an accepted node."""
        rule = self._rules[_short_name(node)]
        found = rule.get_node_and_deps(node, self._program)
        return [other for other in found if other.op == "call_function" and other is not node]

    def reason(self, node: fx.Node) -> str:
        """What the delegate said about a node that it just refused, or an empty string."""
        said = (reporter.reason for reporter in self._REPORTERS if reporter.node is node)
        return next(said, "")


def _short_name(node: fx.Node) -> str:
    """An operator's name as the delegate's rules spell it: without the name space."""
    name = str(getattr(node.target, "__name__", node.target))
    return name.partition(".")[2] if name.count(".") > 1 else name


class ConstantStore(NamedDataStore):
    """The file's constants by the hash of their bytes: one store for all delegates of all programs.

    The stock way keeps one store per delegate, each with its own copies, and hashes every entry
    again when they are merged. Names in the file are numbers in order of first use, since every
    delegate repeats the name of every constant that it uses.
    """

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[str, int] = {}

    def short(self, name: str) -> str:
        """The name in the file of the constant that the delegate calls ``name``."""
        return f"{self._numbers.setdefault(name, len(self._numbers)):x}"

    def add_named_data(
        self,
        key: str,
        data: Any,
        alignment: int | None = 1,
        external_tag: str | None = None,
        tensor_layout: Any = None,
    ) -> None:
        if self.short(key) not in self.pte_data:
            super().add_named_data(self.short(key), data, alignment, external_tag, tensor_layout)

    @property
    def bytes(self) -> int:
        """Bytes of all constants, each counted once."""
        return sum(map(len, self.buffers))


def encode(
    program: ExportedProgram, graph: fx.Graph, store: ConstantStore, *, passes: bool
) -> bytes:
    """One chunk in the delegate's format; its constants go to the store.

    ``graph`` has placeholders for constants (buffers of ``program``, by name) and for inputs.
    ``passes`` runs the delegate's own graph passes first; they retrace the graph, so they are left
    out where no operator of the chunk needs them.
    """
    if passes:
        with_constants = {
            node.name: program.state_dict[node.name]
            for node in graph.nodes
            if node.op == "placeholder" and node.name in program.state_dict
        }
        faked(graph)
        program = exported_program(torch.nn.Module(), graph, with_constants)
        with without_deprecations():
            program = XNNPACKPassManager(program, _PASSES).transform()
        graph = program.graph_module.graph
    external = generate_node_to_external_map(program, fx.GraphModule(torch.nn.Module(), graph))
    encoded = XNNGraph(
        version="0",
        xnodes=[],
        xvalues=[],
        num_externs=len(external),
        input_ids=[],
        output_ids=[],
        constant_data=[ConstantDataOffset(0, 0)],
    )
    visitors = get_node_visitors(program, external, store)
    identifiers: dict[fx.Node, int] = {}
    for node in graph.nodes:
        if node.op == "call_function":
            visitors[node.target.__name__].define_node(node, encoded, identifiers, _NO_HANDLE)
    flatten_weights(encoded)
    merge_slices(encoded)
    _, *constants = encoded.constant_data
    for constant in constants:
        constant.named_key = store.short(constant.named_key)
        # The runtime looks at nothing else where there is a name.
        constant.offset = constant.size = 0
    return payload(encoded)
