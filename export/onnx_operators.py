"""A captured graph's operators as ONNX nodes: one rule for each, and nothing that is guessed.

Operator set 17 of the default domain, which ONNX Runtime has had since 1.13. Nothing is simplified
here: PyTorch's own exporter, asked to optimize, deletes Adam's ``+ 1e-8`` as too small to count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import fx

from export.passes.editor import arguments
from pockettune.errors import LoweringFailed

__all__ = ["ELEMENT_TYPES", "RULES", "Writer"]

aten = torch.ops.aten

ELEMENT_TYPES: Mapping[torch.dtype, int] = {
    torch.float32: onnx.TensorProto.FLOAT,
    torch.float16: onnx.TensorProto.FLOAT16,
    torch.int64: onnx.TensorProto.INT64,
    torch.int32: onnx.TensorProto.INT32,
    torch.uint8: onnx.TensorProto.UINT8,
    torch.int8: onnx.TensorProto.INT8,
    torch.bool: onnx.TensorProto.BOOL,
}
_NUMPY: Mapping[torch.dtype, Any] = {
    torch.float32: np.float32,
    torch.int64: np.int64,
    torch.int32: np.int32,
    torch.bool: np.bool_,
}


class Writer:
    """Collects the nodes and constants of one graph; values are known by their names."""

    def __init__(self, program: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._names: dict[fx.Node, str] = {}
        self._program = program
        self._small: dict[tuple[str, bytes, tuple[int, ...]], str] = {}

    def bind(self, node: fx.Node, name: str) -> None:
        """The value of a graph's node bears this name."""
        self._names[node] = name

    def value(self, node: Any) -> str:
        """The name of a node's value."""
        return self._names[node]

    def emit(self, kind: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """Add a node; returns the name of its value, a fresh one when none is given."""
        name = name or f"value.{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, value: Any, dtype: torch.dtype = torch.int64) -> str:
        """The name of a small constant; the same one is stored once."""
        array = np.asarray(value, dtype=_NUMPY[dtype])
        key = (array.dtype.str, array.tobytes(), array.shape)
        if key not in self._small:
            self._small[key] = name = f"constant.{len(self._small)}"
            self.constants[name] = numpy_helper.from_array(array, name)
        return self._small[key]

    def operand(self, value: Any, dtype: torch.dtype) -> str:
        """A node's value or a number, as ``dtype``."""
        if not isinstance(value, fx.Node):
            return self.constant(value, dtype)
        if value.meta["val"].dtype == dtype:
            return self.value(value)
        return self.emit("Cast", [self.value(value)], to=ELEMENT_TYPES[dtype])

    def fail(self, node: fx.Node, reason: str) -> LoweringFailed:
        """The error that a rule raises."""
        return LoweringFailed(self._program, str(node.target), reason)


Rule = Callable[[Writer, fx.Node, str], object]


def _dtype(node: fx.Node) -> torch.dtype:
    found: torch.dtype = node.meta["val"].dtype
    return found


def _plain(kind: str) -> Rule:
    """An operator of one tensor that ONNX has under another name."""

    def rule(writer: Writer, node: fx.Node, name: str) -> None:
        writer.emit(kind, [writer.value(arguments(node)[0])], name)

    return rule


def _arithmetic(kind: str) -> Rule:
    """Two operands, either a number, computed in the result's type."""

    def rule(writer: Writer, node: fx.Node, name: str) -> None:
        if node.kwargs:
            raise writer.fail(node, f"it has {', '.join(node.kwargs)}")
        operands = [writer.operand(value, _dtype(node)) for value in arguments(node)[:2]]
        writer.emit(kind, operands, name)

    return rule


def _logic(kind: str) -> Rule:
    def rule(writer: Writer, node: fx.Node, name: str) -> None:
        if _dtype(node) != torch.bool:
            raise writer.fail(node, "it takes numbers; booleans are supported")
        writer.emit(kind, [writer.value(value) for value in arguments(node)[:2]], name)

    return rule


def _comparison(kind: str) -> Rule:
    """Compared in PyTorch's type: that of both tensors, or of the one beside a number."""

    def rule(writer: Writer, node: fx.Node, name: str) -> None:
        left, right = arguments(node)[:2]
        dtype = _dtype(left)
        if isinstance(right, fx.Node):
            dtype = torch.promote_types(dtype, _dtype(right))
        elif isinstance(right, float) and not dtype.is_floating_point:
            dtype = torch.float32
        writer.emit(kind, [writer.operand(value, dtype) for value in (left, right)], name)

    return rule


def _reshape(writer: Writer, node: fx.Node, name: str) -> None:
    shape = writer.constant(tuple(node.meta["val"].shape))
    writer.emit("Reshape", [writer.value(arguments(node)[0]), shape], name)


def _permute(writer: Writer, node: fx.Node, name: str) -> None:
    order = [int(d) % node.meta["val"].dim() for d in arguments(node)[1]]
    writer.emit("Transpose", [writer.value(arguments(node)[0])], name, perm=order)


def _slice(writer: Writer, node: fx.Node, name: str) -> None:
    x, dimension, start, end, step = (*arguments(node), *(None,) * 5)[:5]
    bounds = (start or 0, 2**63 - 1 if end is None else end, dimension or 0, step or 1)
    writer.emit("Slice", [writer.value(x), *(writer.constant([bound]) for bound in bounds)], name)


def _pad(writer: Writer, node: fx.Node, name: str) -> None:
    x, widths, *rest = arguments(node)
    pairs = list(zip(widths[::2], widths[1::2], strict=True))[::-1]
    missing = node.meta["val"].dim() - len(pairs)
    pads = [0] * missing + [p[0] for p in pairs] + [0] * missing + [p[1] for p in pairs]
    value = writer.constant(rest[0] if rest else 0, _dtype(node))
    writer.emit("Pad", [writer.value(x), writer.constant(pads), value], name)


def _cat(writer: Writer, node: fx.Node, name: str) -> None:
    parts, dimension = (*arguments(node), 0)[:2]
    values = [writer.value(part) for part in parts]
    writer.emit("Concat", values, name, axis=int(dimension) % node.meta["val"].dim())


def _linear(writer: Writer, node: fx.Node, name: str) -> None:
    x, weight, *bias = (writer.value(value) for value in arguments(node) if value is not None)
    if node.meta["val"].dim() == 2:
        writer.emit("Gemm", [x, weight, *bias], name, transB=1)
        return
    product = writer.emit("Transpose", [weight], perm=[1, 0])
    product = writer.emit("MatMul", [x, product], "" if bias else name)
    if bias:
        writer.emit("Add", [product, *bias], name)


def _product(writer: Writer, node: fx.Node, name: str) -> None:
    writer.emit("MatMul", [writer.value(value) for value in arguments(node)[:2]], name)


def _clamp(writer: Writer, node: fx.Node, name: str) -> None:
    x, *bounds = arguments(node)
    named = [
        "" if bound is None else writer.constant(bound, _dtype(node))  # an empty name is no bound
        for bound in bounds
    ]
    writer.emit("Clip", [writer.operand(x, _dtype(node)), *named], name)


def _rsqrt(writer: Writer, node: fx.Node, name: str) -> None:
    root = writer.emit("Sqrt", [writer.value(arguments(node)[0])])
    writer.emit("Div", [writer.constant(1.0, _dtype(node)), root], name)


def _log1p(writer: Writer, node: fx.Node, name: str) -> None:
    """``log(u) x / (u - 1)`` with ``u = 1 + x`` as rounded, which undoes the rounding (Kahan; in
    Higham, "Accuracy and Stability of Numerical Algorithms", 1.14.1); ``x`` where ``u`` is 1, and
    ``log(u)`` from 1 on, where nothing is lost."""
    x, one = writer.value(arguments(node)[0]), writer.constant(1.0, _dtype(node))
    u = writer.emit("Add", [x, one])
    logarithm = writer.emit("Log", [u])
    share = writer.emit("Div", [x, writer.emit("Sub", [u, one])])
    exact = writer.emit("Mul", [logarithm, share])
    small = writer.emit("Where", [writer.emit("Equal", [u, one]), x, exact])
    writer.emit("Where", [writer.emit("Less", [x, one]), small, logarithm], name)


def _where(writer: Writer, node: fx.Node, name: str) -> None:
    condition, *sides = arguments(node)
    values = [writer.operand(side, _dtype(node)) for side in sides]
    writer.emit("Where", [writer.value(condition), *values], name)


def _amax(writer: Writer, node: fx.Node, name: str) -> None:
    x, dimensions, keep = (*arguments(node), *(None,) * 3)[:3]
    axes = {"axes": [int(d) for d in dimensions]} if dimensions else {}
    writer.emit("ReduceMax", [writer.value(x)], name, keepdims=int(bool(keep)), **axes)


def _argmax(writer: Writer, node: fx.Node, name: str) -> None:
    x, dimension, keep = (*arguments(node), *(None,) * 3)[:3]
    if dimension is None:
        raise writer.fail(node, "it has no dimension")
    axis = int(dimension) % x.meta["val"].dim()
    writer.emit("ArgMax", [writer.value(x)], name, axis=axis, keepdims=int(bool(keep)))


def _cast(writer: Writer, node: fx.Node, name: str) -> None:
    writer.emit("Cast", [writer.value(arguments(node)[0])], name, to=ELEMENT_TYPES[_dtype(node)])


def _softmax(writer: Writer, node: fx.Node, name: str) -> None:
    axis = int(arguments(node)[1]) % node.meta["val"].dim()
    writer.emit("Softmax", [writer.value(arguments(node)[0])], name, axis=axis)


RULES: Mapping[Any, Rule] = {
    aten.reshape.default: _reshape,
    aten.permute.default: _permute,
    aten.slice.Tensor: _slice,
    aten.constant_pad_nd.default: _pad,
    aten.cat.default: _cat,
    aten.linear.default: _linear,
    aten.mm.default: _product,
    aten.bmm.default: _product,
    aten.clamp.default: _clamp,
    aten.rsqrt.default: _rsqrt,
    aten.log1p.default: _log1p,
    aten.where.self: _where,
    aten.amax.default: _amax,
    aten.argmax.default: _argmax,
    aten._to_copy.default: _cast,
    aten._softmax.default: _softmax,
    **{
        getattr(getattr(aten, ours), overload): _arithmetic(theirs)
        for ours, theirs in (("add", "Add"), ("sub", "Sub"), ("mul", "Mul"), ("div", "Div"))
        for overload in ("Tensor", "Scalar")
    },
    aten.maximum.default: _arithmetic("Max"),
    aten.minimum.default: _arithmetic("Min"),
    aten.bitwise_and.Tensor: _logic("And"),
    aten.bitwise_or.Tensor: _logic("Or"),
    **{
        getattr(getattr(aten, ours), overload): _comparison(theirs)
        for ours, theirs in (
            ("gt", "Greater"),
            ("ge", "GreaterOrEqual"),
            ("lt", "Less"),
            ("le", "LessOrEqual"),
            ("eq", "Equal"),
        )
        for overload in ("Tensor", "Scalar")
    },
    **{
        getattr(aten, ours).default: _plain(theirs)
        for ours, theirs in (
            ("abs", "Abs"),
            ("clone", "Identity"),
            ("exp", "Exp"),
            ("log", "Log"),
            ("neg", "Neg"),
            ("relu", "Relu"),
            ("round", "Round"),
            ("sigmoid", "Sigmoid"),
            ("sqrt", "Sqrt"),
            ("tanh", "Tanh"),
        )
    },
}
