"""ONNX models in ONNX Runtime, within this process: to run them, and to find what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from export.parity import relative_error
from export.to_onnx import model_of
from pockettune.errors import EngineFailed

if TYPE_CHECKING:
    from export.capture import Captured

__all__ = ["first_wrong_value", "open_model"]


def open_model(name: str, source: Path | bytes) -> Callable[..., Sequence[Tensor]]:
    """A program's model as a function of tensors in the program's order; outputs are the caller's.

    One thread, and no processor but this one: what devices have. Raises ``EngineFailed`` when the
    model cannot be loaded; the function raises it when a run fails.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # as on devices: half the memory, in the same time
    options.log_severity_level = 3  # errors: its warnings are about our unused inputs
    given = source if isinstance(source, bytes) else str(source)
    try:
        session: Any = onnxruntime.InferenceSession(
            given, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise _failed(name, error) from error
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: Tensor) -> Sequence[Tensor]:
        feeds = {
            key: value.detach().contiguous().numpy()
            for key, value in zip(names, inputs, strict=True)
        }
        try:
            return [torch.from_numpy(value) for value in session.run(None, feeds)]
        except Exception as error:
            raise _failed(name, error) from error

    return run


def _failed(name: str, error: Exception) -> EngineFailed:
    return EngineFailed(name, (str(error).splitlines() or [type(error).__name__])[0])


def first_wrong_value(captured: Captured, inputs: Sequence[Tensor], tolerance: float) -> list[str]:
    """The first operator of a graph whose value the runtime computes otherwise than PyTorch.

    Every value is an output of the model that is run, so it holds all of them at once.
    """
    watched = {
        f"watched.{node.name}": node
        for node in captured.graph.graph.nodes
        if node.op == "call_function"
    }
    expected: dict[fx.Node, Any] = {}

    class Recording(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            expected[n] = super().run_node(n)
            return expected[n]

    with torch.no_grad():
        Recording(captured.graph).run(*inputs)
    model = model_of(captured, watched)
    run = open_model(captured.program.name, model.SerializeToString())
    places = {value.name: index for index, value in enumerate(model.graph.output)}
    found = run(*inputs)
    for name, node in watched.items():
        if name in places:
            error = relative_error(found[places[name]], expected[node])
            if not error <= tolerance:
                shape = "x".join(map(str, node.meta["val"].shape)) or "scalar"
                return [f"{node.target.__name__} [{shape}] (error {error:.2g})"]
    return ["none (no value is wrong when all are looked at)"]
