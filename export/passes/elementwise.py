"""Elementwise operators in the delegate's own: two tensors each, no numbers, no lone broadcasts."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from export.passes.editor import Editor, Rule, apply_rules, arguments

__all__ = ["expand_elementwise", "expand_error_function", "numbers_to_tensors"]

aten = torch.ops.aten

# Abramowitz and Stegun, "Handbook of Mathematical Functions", 7.1.26: |error| <= 1.5e-7.
_ERF_P = 0.3275911
_ERF_COEFFICIENTS = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


def expand_error_function(editor: Editor) -> int:
    """``erf`` by a polynomial in ``1 / (1 + p |x|)`` times ``exp(-x * x)``."""

    def erf(editor: Editor, node: Node) -> Node:
        x: Node = arguments(node)[0]
        mul, add, div = aten.mul.Tensor, aten.add.Tensor, aten.div.Tensor
        magnitude = editor.call(aten.abs.default, x)
        denominator = editor.binary(add, editor.binary(mul, magnitude, _ERF_P), 1.0)
        t = editor.call(div, editor.scalar(1.0), denominator)
        polynomial = editor.binary(mul, t, _ERF_COEFFICIENTS[0])
        for coefficient in _ERF_COEFFICIENTS[1:]:
            polynomial = editor.call(mul, editor.binary(add, polynomial, coefficient), t)
        negated = editor.call(aten.neg.default, editor.call(mul, x, x))
        decay = editor.call(aten.exp.default, negated)
        value = editor.call(
            aten.sub.Tensor, editor.scalar(1.0), editor.call(mul, polynomial, decay)
        )
        # The sign of x without a comparison; 0 at 0.
        sign = editor.call(div, x, editor.binary(add, magnitude, 1e-20))
        return editor.reshape(editor.call(mul, value, sign), node.meta["val"].shape)

    return apply_rules(editor, {aten.erf.default: erf})


def expand_elementwise(editor: Editor) -> int:
    """Squares, reciprocals, broadcasts and scattered slices in simpler operators."""

    def power(editor: Editor, node: Node) -> Node | None:
        x, exponent = arguments(node)
        if node.meta["val"].dtype != torch.float32:
            return None
        if exponent == 1:
            return x
        if exponent == 2:
            return editor.call(aten.mul.Tensor, x, x)
        if exponent == 0.5:
            return editor.call(aten.sqrt.default, x)
        if exponent == -0.5:
            return editor.call(aten.rsqrt.default, x)
        return None

    def reciprocal(editor: Editor, node: Node) -> Node | None:
        if node.meta["val"].dtype != torch.float32:
            return None
        inverse = editor.call(aten.div.Tensor, editor.scalar(1.0), arguments(node)[0])
        return editor.reshape(inverse, node.meta["val"].shape)

    def expand(editor: Editor, node: Node) -> Node | None:
        x: Node = arguments(node)[0]
        old, new = x.meta["val"].shape, node.meta["val"].shape
        if node.meta["val"].dtype != torch.float32:
            return None
        old = (1,) * (len(new) - len(old)) + tuple(old)
        # Ones that are wide only where x is not.
        wide = [after if before != after else 1 for before, after in zip(old, new, strict=True)]
        ones = editor.constant(torch.ones(wide))
        return editor.call(aten.mul.Tensor, editor.reshape(x, old), ones)

    def slice_scatter(editor: Editor, node: Node) -> Node | None:
        source, *rest = arguments(node)[1:]
        base: Node = arguments(node)[0]
        zeros = editor.constant_value(base)
        is_fill = any(base.target is target for target in _ZERO_FILLS) or (
            base.target is aten.full.default and arguments(base)[1] == 0
        )
        if not is_fill and (zeros is None or zeros.any()):
            return None
        shape = node.meta["val"].shape
        dimension = int(rest[0]) % len(shape) if rest else 0
        if len(rest) > 3 and rest[3] != 1:
            return None
        length = source.meta["val"].shape[dimension]
        start = int(rest[1] or 0) if len(rest) > 1 else 0
        start = start + shape[dimension] if start < 0 else start
        widths = [0] * (2 * len(shape))
        widths[2 * (len(shape) - 1 - dimension)] = start
        widths[2 * (len(shape) - 1 - dimension) + 1] = shape[dimension] - start - length
        return editor.pad(source, widths)

    return apply_rules(
        editor,
        {
            aten.pow.Tensor_Scalar: power,
            aten.reciprocal.default: reciprocal,
            aten.reciprocal_.default: reciprocal,
            aten.expand.default: expand,
            aten.slice_scatter.default: slice_scatter,
        },
    )


_ZERO_FILLS = (aten.zeros.default, aten.zeros_like.default, aten.new_zeros.default)


def numbers_to_tensors(editor: Editor) -> int:
    """Numbers in float32 arithmetic become one-element constants; int64 arithmetic stays.

    A product or quotient by 1, which resnets have for their output, is what it is of.
    """

    def arithmetic(target: Any, *, swap: bool = False) -> Rule:
        def rule(editor: Editor, node: Node) -> Node | None:
            left, right = arguments(node)[:2]
            if node.meta["val"].dtype != torch.float32:
                return None
            if isinstance(left, Node) and isinstance(right, Node):
                return None
            if node.kwargs:  # alpha, rounding mode
                return None
            if right == 1 and target in (aten.mul.Tensor, aten.div.Tensor):
                return left
            operands = [n if isinstance(n, Node) else editor.scalar(n) for n in (left, right)]
            if any(n.meta["val"].dtype != torch.float32 for n in operands):
                return None
            if swap:
                operands.reverse()
            result = editor.call(target, *operands)
            return editor.reshape(result, node.meta["val"].shape)

        return rule

    rules: dict[Any, Rule] = {}
    for name in ("add", "sub", "mul", "div"):
        packet = getattr(aten, name)
        rules[packet.Tensor] = arithmetic(packet.Tensor)
        rules[packet.Scalar] = arithmetic(packet.Tensor)
    rules[aten.rsub.Scalar] = arithmetic(aten.sub.Tensor, swap=True)
    return apply_rules(editor, rules)
