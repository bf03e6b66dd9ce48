"""Step 2 of an export: trace a program to a graph of plain operators with shared constants.

A program is traced once, with its backward pass and optimizer, on fake tensors: no value is
computed and no activation allocated. The traced graph is rewritten by ``export/passes`` until the
XNNPACK delegate takes (nearly) all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from export.passes import FrozenWeights, run_passes
from export.passes.editor import arguments
from pockettune.errors import LoweringFailed, ModelUnsupported
from pockettune.program import Program

__all__ = ["CaptureStatistics", "Captured", "FrozenWeights", "capture", "trace"]

aten = torch.ops.aten

# Operators that a pass rewrites from their own form, or that the delegate has as they are. Not
# decomposing the frequent and trivial ones halves the time of tracing.
_KEPT = (
    aten.t.default,
    aten.transpose.int,
    aten.detach.default,
    aten.rsub.Scalar,
    aten.gelu.default,
    aten.native_group_norm.default,
    aten.native_group_norm_backward.default,
    aten.native_layer_norm.default,
    aten.upsample_nearest2d.default,
    aten.upsample_nearest2d.vec,
    aten.upsample_nearest2d_backward.default,
    aten.convolution_backward.default,
    aten.threshold_backward.default,
    aten.max_pool2d_with_indices_backward.default,
    aten.avg_pool2d_backward.default,
)


@dataclass(frozen=True, slots=True)
class CaptureStatistics:
    """What capturing did: for the report."""

    traced_nodes: int
    nodes: int
    constant_bytes: int
    """Bytes of the graph's constants, frozen weights included."""
    peak_live_bytes: int
    """Bytes of the values that live at once at the fullest node: no plan needs less. Reshapes and
    dequantized weights count as free."""
    rewrites: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Captured:
    """A program with its graph, whose inputs and outputs are in the program's order."""

    program: Program
    graph: GraphModule
    statistics: CaptureStatistics


def capture(program: Program, store: FrozenWeights) -> Captured:
    """Capture ``program`` with its frozen weights in ``store``.

    All programs of a bundle take the same store, which gives the same weight the same constant.
    Raises ``LoweringFailed`` when the result has not the program's inputs and outputs, and
    ``ModelUnsupported`` for a layer that cannot be rewritten.
    """
    # Shapes and dtypes suffice: an example would cost a run of whatever makes its values.
    inputs = [torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in program.inputs]
    module = trace(program.function, inputs)
    traced_nodes = len(module.graph.nodes)
    rewrites = run_passes(module, store)
    _check(program, module)
    constants = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    statistics = CaptureStatistics(
        traced_nodes=traced_nodes,
        nodes=len(module.graph.nodes),
        constant_bytes=sum(getattr(module, str(name)).nbytes for name in constants),
        peak_live_bytes=_peak_live_bytes(module),
        rewrites=rewrites,
    )
    return Captured(program, module, statistics)


def trace(function: Callable[..., Any], inputs: Sequence[Tensor]) -> GraphModule:
    """Trace a function of tensors to core ATen, with ``meta["val"]`` on every node.

    Gradients that ``function`` takes are traced too. Inputs must be different objects.
    """
    # The delegate has no fused attention: the mathematical form has operators that it has.
    with sdpa_kernel([SDPBackend.MATH]):
        module = make_fx(
            function,
            decomposition_table=_decompositions(),
            tracing_mode="fake",
            _allow_non_fake_inputs=True,
        )(*inputs)
    _describe(module, inputs)
    return module


@cache
def _decompositions() -> dict[Any, Callable[..., Any]]:
    table: dict[Any, Callable[..., Any]] = dict(core_aten_decompositions())
    for operator in _KEPT:
        table.pop(operator, None)
    table[aten._safe_softmax.default] = _softmax
    table[aten.logsumexp.default] = _log_sum_exp
    return table


def _softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """``_safe_softmax`` differs only for rows that are masked as a whole, which no program has."""
    return torch.softmax(x, dim, dtype)


def _log_sum_exp(x: Tensor, dim: Sequence[int], keepdim: bool = False) -> Tensor:
    """``log sum exp x`` as ``sum p (x - log p)`` with ``p = softmax(x)``: as exact, and without the
    maximum, which the delegate lacks. The offset is far below any p that counts."""
    if len(dim) != 1:
        raise ModelUnsupported("logsumexp", f"{len(dim)} dimensions at once", "one")
    shares = torch.softmax(x, dim[0])
    return (shares * (x - torch.log(shares + 1e-30))).sum(dim[0], keepdim)


def _describe(module: GraphModule, inputs: Sequence[Tensor]) -> None:
    """Give every node its value on the meta device."""
    # Results that nothing uses, such as the gradient of a frozen filter, have no value.
    module.graph.eliminate_dead_code()
    values = iter(inputs)
    for node in module.graph.nodes:
        if node.op == "placeholder":
            node.meta["val"] = _meta(next(values))
        elif node.op == "get_attr":
            node.meta["val"] = _meta(getattr(module, node.target))
        elif node.op == "call_function":
            node.meta["val"] = pytree.tree_map(_meta, node.meta["val"])


def _meta(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return torch.empty(tuple(value.shape), dtype=value.dtype, device="meta")


def _check(program: Program, module: GraphModule) -> None:
    """The graph takes and gives what the program says; anything else is a mistake of ours."""
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    for kind, specs, nodes in (
        ("input", program.inputs, placeholders),
        ("output", program.outputs, list(output.args[0])),
    ):
        if len(specs) != len(nodes):
            raise LoweringFailed(
                program.name, kind, f"{len(nodes)} {kind}s traced, {len(specs)} declared"
            )
        for spec, node in zip(specs, nodes, strict=True):
            value = node.meta["val"]
            found = (str(value.dtype).removeprefix("torch."), tuple(value.shape))
            if found != (spec.dtype, tuple(spec.shape)):
                reason = f"{found[0]} {found[1]} traced, {spec.dtype} {spec.shape} declared"
                raise LoweringFailed(program.name, f"{kind} {spec.name}", reason)


def _peak_live_bytes(module: GraphModule) -> int:
    nodes = list(module.graph.nodes)
    place = {node: index for index, node in enumerate(nodes)}

    def root(node: Node) -> Node:
        while node.target is aten.reshape.default:
            node = arguments(node)[0]
        return node

    last: dict[Node, int] = {}
    weights: set[Node] = set()
    for node in nodes:
        for source in node.all_input_nodes:
            last[root(source)] = place[node]
        if node.all_input_nodes and all(
            n.op == "get_attr" or n in weights for n in node.all_input_nodes
        ):
            weights.add(node)
    change = [0] * (len(nodes) + 1)
    for node in nodes:
        value = node.meta.get("val")
        counted = node.op == "call_function" and node not in weights and root(node) is node
        if counted and isinstance(value, Tensor):
            change[place[node]] += value.nbytes
            change[last.get(node, place[node]) + 1] -= value.nbytes
    peak = live = 0
    for delta in change:
        live += delta
        peak = max(peak, live)
    return peak
