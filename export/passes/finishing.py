"""The last touches: outputs of their own, nothing unused, and the contract of a captured graph."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import Node

from export.passes.editor import Editor

__all__ = ["drop_unused_constants", "own_outputs"]

aten = torch.ops.aten


def own_outputs(editor: Editor) -> int:
    """Copy outputs that are inputs, constants or other outputs: an engine gives each a buffer."""
    (output,) = (node for node in editor.graph.nodes if node.op == "output")
    seen: set[Node] = set()
    results: list[Node] = []
    count = 0
    for node in output.args[0]:
        result: Node = node
        if result.op in ("placeholder", "get_attr") or result in seen:
            with editor.before(output):
                result = editor.call(aten.clone.default, result)
            count += 1
        seen.add(result)
        results.append(result)
    output.args = (tuple(results),)
    output.meta["val"] = tuple(result.meta["val"] for result in results)
    return count


def drop_unused_constants(editor: Editor) -> int:
    """Take constants off the module that no node reads."""
    editor.graph.eliminate_dead_code()
    used = {str(node.target) for node in editor.graph.nodes if node.op == "get_attr"}
    module = editor.module
    names = [name for name, value in _tensors(module) if name not in used]
    for name in names:
        delattr(module, name)
    editor.forget(set(names))
    return len(names)


def _tensors(module: torch.nn.Module) -> list[tuple[str, Tensor]]:
    plain = [(name, value) for name, value in vars(module).items() if isinstance(value, Tensor)]
    return [*module.named_parameters(), *module.named_buffers(), *plain]
