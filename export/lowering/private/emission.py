"""Programs with delegates as methods of one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from executorch.exir import EdgeProgramManager, ExecutorchBackendConfig
from executorch.exir.delegate import executorch_call_delegate
from executorch.exir.lowered_backend_module import LoweredBackendModule
from executorch.exir.memory_planning import MemoryPlanningAlgorithmSuite, greedy
from executorch.exir.passes import MemoryPlanningPass
from torch import Tensor, fx
from torch.export import ExportedProgram

from export.lowering.private.dialect import COMPILE
from export.lowering.private.quirks import type_hints_once, without_deprecations
from export.lowering.private.xnnpack import ConstantStore

__all__ = ["DELEGATE_CALL", "delegate_module", "planned_bytes", "program_file"]

BACKEND = "XnnpackBackend"
DELEGATE_CALL = executorch_call_delegate
# Of constants and delegates in the file, in bytes: what the delegate asks for. Most constants of a
# small model are short, and what lies between them is lost.
_ALIGNMENT = 16


class _Shapes:
    """Stands in for a delegate's source graph: tells the shapes and dtypes of its outputs.

    The runtime's passes ask each delegate for its outputs again and again; the stock way
    interprets the source graph each time.
    """

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        # The emitter looks into the graph for debug handles, of which there are none, and outputs.
        self.graph = fx.Graph()
        self.graph.output((None,) * len(outputs))
        self._outputs = [(tuple(value.shape), value.dtype) for value in outputs]

    def module(self) -> Callable[..., tuple[Tensor, ...]]:
        return lambda *_: tuple(torch.empty(shape, dtype=dtype) for shape, dtype in self._outputs)


def delegate_module(encoded: bytes, outputs: Sequence[Tensor]) -> torch.nn.Module:
    """What a graph calls where a chunk was: the encoded chunk and the shapes of its outputs."""
    module = LoweredBackendModule(
        edge_program=_Shapes(outputs),
        backend_id=BACKEND,
        processed_bytes=encoded,
        compile_specs=[],
        named_data_store_output=None,
    )
    module.meta = {"debug_handle_map": {}}
    return module


def _plan(alignment: int, specs: Any, *rest: Any) -> Any:
    """The stock greedy planner on tensors in a fixed order: a set's order differs by process."""
    order = sorted(specs, key=lambda spec: (spec.allocated_memory, *spec.lifetime))
    return greedy(alignment, order, *rest)


def program_file(programs: Mapping[str, ExportedProgram], store: ConstantStore) -> Any:
    """All programs as methods of one file, planned and emitted; ``write_to_file`` writes it."""
    manager = EdgeProgramManager(dict(programs), None, COMPILE)
    manager._named_data_store = store
    plan = MemoryPlanningPass(memory_planning_algo=MemoryPlanningAlgorithmSuite([_plan]))
    with without_deprecations(), type_hints_once():
        return manager.to_executorch(
            ExecutorchBackendConfig(memory_planning_pass=plan, segment_alignment=_ALIGNMENT)
        )


def planned_bytes(file: Any) -> dict[str, int]:
    """The planned arena of each method of a program file, in bytes."""
    plans = file.executorch_program.execution_plan
    return {plan.name: sum(plan.non_const_buffer_sizes) for plan in plans}
