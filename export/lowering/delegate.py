"""One chunk of a program in the delegate's format."""

from __future__ import annotations

from torch import fx
from torch.export import ExportedProgram

from export.lowering.private import ConstantStore, encode
from export.lowering.split import ChunkGraph, operator_name
from pockettune.errors import LoweringFailed

__all__ = ["encode_chunk"]

# The delegate's own passes change layouts for convolutions and pools, fuse activations, spell
# matrix products as linear layers and split long concatenations. A chunk of only these operators
# comes out as it went in, and the passes retrace the chunk: nine tenths of stock lowering's time.
_UNTOUCHED_BY_PASSES = frozenset(
    [
        "aten._softmax.default",
        "aten.abs.default",
        "aten.add.Tensor",
        "aten.bmm.default",
        "aten.cat.default",
        "aten.ceil.default",
        "aten.clamp.default",
        "aten.constant_pad_nd.default",
        "aten.cos.default",
        "aten.div.Tensor",
        "aten.exp.default",
        "aten.floor.default",
        "aten.gelu.default",
        "aten.linear.default",
        "aten.log.default",
        "aten.maximum.default",
        "aten.minimum.default",
        "aten.mm.default",
        "aten.mul.Tensor",
        "aten.neg.default",
        "aten.permute_copy.default",
        "aten.pow.Tensor_Scalar",
        "aten.rsqrt.default",
        "aten.sigmoid.default",
        "aten.sin.default",
        "aten.slice_copy.Tensor",
        "aten.sqrt.default",
        "aten.sub.Tensor",
        "aten.tanh.default",
        "aten.view_copy.default",
        "quantized_decomposed.dequantize_per_tensor.default",
    ]
)


def encode_chunk(
    name: str, program: ExportedProgram, chunk: ChunkGraph, store: ConstantStore
) -> bytes:
    """The delegate's bytes for a chunk of ``program``; its constants are added to the store.

    Raises:
        LoweringFailed: the delegate accepted the operators and cannot encode them.
    """
    operators = [node for node in chunk.graph.nodes if node.op == "call_function"]
    try:
        return encode(program, chunk.graph, store, passes=any(map(_needs_passes, operators)))
    except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        names = dict.fromkeys(map(operator_name, operators))
        raise LoweringFailed(name, ", ".join(names), f"{type(error).__name__}: {error}") from error


def _needs_passes(node: fx.Node) -> bool:
    return operator_name(node) not in _UNTOUCHED_BY_PASSES
