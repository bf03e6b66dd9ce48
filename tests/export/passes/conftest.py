"""Tiny graphs for the passes, and their comparison with eager."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter

from export.capture import trace
from export.passes import Editor, FrozenWeights
from export.passes.folding import merge_constants
from export.passes.views import drop_copies

Pass: TypeAlias = Callable[[Editor], Any]


class Rewritten:
    """A traced function after some passes."""

    def __init__(self, module: GraphModule, inputs: Sequence[Tensor], expected: Sequence[Tensor]):
        self.module, self.inputs, self.expected = module, inputs, expected

    def counts(self) -> Counter[str]:
        """Operators of the graph by name, constants as "constant"."""
        return Counter(
            "constant" if node.op == "get_attr" else node.target.__name__
            for node in self.module.graph.nodes
            if node.op in ("get_attr", "call_function")
        )

    def check(self, tolerance: float = 1e-5) -> None:
        """The graph computes what eager computed, and every node has the shape it claims."""

        class Checked(Interpreter):
            def run_node(self, node: torch.fx.Node) -> Any:
                result = super().run_node(node)
                if isinstance(result, Tensor) and node.op != "output":
                    claimed = node.meta["val"]
                    assert (claimed.shape, claimed.dtype) == (result.shape, result.dtype), node
                return result

        with torch.no_grad():
            results = Checked(self.module).run(*self.inputs)
        for result, reference in zip(results, self.expected, strict=True):
            torch.testing.assert_close(result, reference, rtol=tolerance, atol=tolerance)


@pytest.fixture
def rewritten() -> Callable[..., Rewritten]:
    """``rewritten(function, inputs, *passes)``: trace, drop copies, merge constants, passes."""

    def make(
        function: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor], *passes: Pass
    ) -> Rewritten:
        module = trace(function, [tensor.clone() for tensor in inputs])
        expected = [tensor.detach() for tensor in function(*inputs)]
        editor = Editor(module)
        for step in (drop_copies, merge_constants, *passes):
            step(editor)
        module.graph.lint()
        return Rewritten(module, inputs, expected)

    return make


@pytest.fixture
def with_weights() -> Callable[..., Pass]:
    """``with_weights(weight_pass, store)`` is a pass with that store."""

    def bind(step: Callable[[Editor, FrozenWeights], int], store: FrozenWeights) -> Pass:
        return lambda editor: step(editor, store)

    return bind
