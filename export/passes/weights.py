"""Frozen weights: each is stored once and read by forward, backward and every program.

With 8 bits a weight is an int8 constant that the delegate dequantizes in place of a float32 one;
the scale of an output channel multiplies the output of a forward product, or the gradient that
enters a backward one, so that the same constant serves both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import executorch.exir  # noqa: F401  (registers the quantized_decomposed operators)
import torch
from torch import Tensor
from torch.fx import Node

from export.passes.editor import Editor, Rule, apply_rules, arguments
from pockettune.nn import quantize  # noqa: F401  (registers pockettune::dequantize_rows)

__all__ = ["FrozenWeights", "StoredWeight", "TracedWeight", "share_embeddings", "share_linears"]

aten = torch.ops.aten
quantized = torch.ops.quantized_decomposed


@dataclass(frozen=True, slots=True)
class TracedWeight:
    """A frozen weight as a traced graph has it: float32, or an int8 grid with scales by row."""

    values: Tensor
    scale: Tensor | None

    @classmethod
    def at(cls, editor: Editor, node: object) -> TracedWeight | None:
        """The weight that a node is; None for a value that is computed or trained."""
        if not isinstance(node, Node):
            return None
        value = editor.constant_value(node)
        if value is not None:
            return cls(value, None) if value.dtype == torch.float32 else None
        if node.target is torch.ops.pockettune.dequantize_rows.default:
            grid, scale = (editor.constant_value(part) for part in arguments(node))
            if grid is not None:
                return cls(grid, scale)
        return None


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """A matrix ``[rows, columns]`` as it is stored: float32, or int8 with a scale for each row."""

    name: str
    stored: Tensor
    scale: Tensor | None

    def node(self, editor: Editor) -> Node:
        """Emit the matrix as float32, without its scale.

        Emitted anew for each use, next to it: the dequantized matrix then lives only there.
        """
        constant = editor.constant(self.stored, self.name)
        editor.frozen.add(constant)
        if self.scale is None:
            return constant
        # The extra dimension of size 1 keeps the partitioner from taking the product for a
        # quantized one, for which the scale would have to be per tensor.
        dequantized = editor.call(
            quantized.dequantize_per_tensor.default, constant, 1.0, 0, -128, 127, torch.int8
        )
        return editor.reshape(dequantized, self.stored.shape[1:])

    def scaled(self, editor: Editor, node: Node) -> Node:
        """``node``, whose last dimension is the rows, times the scales."""
        if self.scale is None:
            return node
        return editor.call(aten.mul.Tensor, node, editor.constant(self.scale, f"{self.name}_scale"))


class FrozenWeights:
    """Stores frozen weights for the programs of a bundle.

    A weight is known by its storage, so modules that share parameters share constants; the store
    keeps the weights alive. ``bytes`` counts what is stored so far.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._stored: dict[tuple[Any, ...], tuple[StoredWeight, ...]] = {}
        self._weights: list[TracedWeight] = []
        self._names = 0

    def matrix(self, weight: TracedWeight) -> StoredWeight:
        """The stored form of a weight ``[rows, columns]``."""
        return self.taps(TracedWeight(weight.values[:, :, None, None], weight.scale))[0]

    def taps(
        self, weight: TracedWeight, *, joined: bool = False, stacked: bool = False
    ) -> tuple[StoredWeight, ...]:
        """The stored parts of a filter ``[outputs, inputs, h, w]``, row by row.

        A part is one tap ``[outputs, inputs]``, or ``joined`` a row of taps side by side
        ``[outputs, w * inputs]``, or ``stacked`` all these rows ``[h * outputs, w * inputs]``; the
        first use of a filter decides for all uses. All parts share one scale for each output.
        """
        values = weight.values
        key = (
            values.untyped_storage().data_ptr(),
            values.storage_offset(),
            tuple(values.shape[:2]),
            tuple(values.stride()[:2]),
            tuple(values.shape[2:]),
        )
        if key not in self._stored:
            self._weights.append(weight)
            self._stored[key] = self._store(values.detach(), weight.scale, joined, stacked)
        return self._stored[key]

    def _store(
        self, values: Tensor, scale: Tensor | None, joined: bool, stacked: bool
    ) -> tuple[StoredWeight, ...]:
        self.bytes += 0 if scale is None else scale.nbytes
        name = f"weight_{self._names}"
        self._names += 1
        outputs, inputs, height, width = values.shape
        rows = values.permute(2, 0, 3, 1)
        if stacked:
            parts = [rows.reshape(height * outputs, width * inputs)]
        elif joined:
            parts = list(rows.reshape(height, outputs, width * inputs))
        else:
            parts = [rows[row, :, column] for row in range(height) for column in range(width)]
        stored = []
        for index, part in enumerate(parts):
            tap = _own_storage(part)
            self.bytes += tap.nbytes
            tap_name = name if len(parts) == 1 else f"{name}_tap_{index}"
            stored.append(StoredWeight(tap_name, tap if scale is None else tap[None], scale))
        return tuple(stored)


def _own_storage(tensor: Tensor) -> Tensor:
    """``tensor``, contiguous, as the whole of its storage: delegates write storages to files.

    The memory is not copied when it is contiguous already, as int8 weights lie.
    """
    return torch.from_numpy(tensor.contiguous().numpy())


def share_linears(editor: Editor, weights: FrozenWeights) -> int:
    """Products with a frozen matrix become ``linear`` with the stored weight.

    ``x @ W.T`` (forward) scales the output, ``g @ W`` (backward) scales the gradient first and
    takes the weight through a permute, of which the delegate keeps no copy (as it does for
    ``bmm``).
    """

    def product(editor: Editor, left: Node, right: Node, bias: Node | None) -> Node | None:
        constant, transposed = _through_transposes(right)
        weight = TracedWeight.at(editor, constant)
        if weight is None or weight.values.dim() != 2 or not weight.values.numel():
            return None
        if constant in editor.frozen:
            return None
        stored = weights.matrix(weight)
        if transposed:
            matrix = stored.node(editor)
            result = stored.scaled(editor, editor.call(aten.linear.default, left, matrix))
        else:
            scaled = stored.scaled(editor, left)
            matrix = editor.permute(stored.node(editor), (1, 0))
            result = editor.call(aten.linear.default, scaled, matrix)
        return result if bias is None else editor.call(aten.add.Tensor, result, bias)

    def mm(editor: Editor, node: Node) -> Node | None:
        left, right = arguments(node)
        return product(editor, left, right, None)

    def addmm(editor: Editor, node: Node) -> Node | None:
        if node.kwargs:  # alpha or beta
            return None
        bias, left, right = arguments(node)
        return product(editor, left, right, bias)

    rules: dict[Any, Rule] = {aten.mm.default: mm, aten.addmm.default: addmm}
    return apply_rules(editor, rules)


def share_embeddings(editor: Editor, weights: FrozenWeights) -> int:
    """Look-ups in a frozen table read the stored rows and, with 8 bits, their scales."""

    def embedding(editor: Editor, node: Node) -> Node | None:
        table, indices = arguments(node)[:2]
        weight = TracedWeight.at(editor, table)
        if weight is None or indices.op == "get_attr":
            return None
        stored = weights.matrix(weight)
        if stored.scale is None:
            constant = editor.constant(stored.stored, stored.name)
            editor.frozen.add(constant)
            return editor.call(aten.embedding.default, constant, indices)
        # Tables in [rows, columns] form: the look-up is not the delegate's, which needs the other.
        constant = editor.constant(stored.stored[0], f"{stored.name}_rows")
        scale = editor.constant(stored.scale[:, None], f"{stored.name}_row_scale")
        rows = editor.call(aten.embedding.default, constant, indices)
        factors = editor.call(aten.embedding.default, scale, indices)
        converted = editor.graph.call_function(
            aten._to_copy.default, (rows,), {"dtype": torch.float32}
        )
        converted.meta["val"] = rows.meta["val"].to(torch.float32)
        return editor.call(aten.mul.Tensor, converted, factors)

    return apply_rules(editor, {aten.embedding.default: embedding})


def _through_transposes(node: Node) -> tuple[Node, bool]:
    """The node behind transposes of a matrix, and whether their number is odd."""
    transposed = False
    while node.target in (aten.permute.default, aten.t.default, aten.transpose.int):
        transposed = not transposed
        node = arguments(node)[0]
    return node, transposed
