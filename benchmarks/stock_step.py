"""The same step by the runtime's stock flow: traced, and lowered by its own partitioner."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from export.lowering.runtime import ProgramFile
from pockettune.errors import EngineFailed
from pockettune.program import Program

__all__ = ["StockStep", "stock_step"]

_SEED = 3


@dataclass(frozen=True, slots=True)
class StockStep:
    """Median ``seconds`` of a step, and the largest relative ``error`` of its outputs."""

    seconds: float
    error: float


def stock_step(program: Program, repeats: int = 5) -> StockStep | None:
    """Lower ``program`` the stock way and run it on one thread; None when the runtime cannot load
    the result, since it lacks an operator."""
    example = program.example(_SEED)
    # Torch says that its own table is none of those that it takes.
    table: Any = core_aten_decompositions()
    graph = make_fx(
        program.function,
        decomposition_table=table,
        tracing_mode="fake",
        _allow_non_fake_inputs=True,
    )(*example)
    # A traced constant is an attribute, and export knows buffers only.
    for name in {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}:
        value = getattr(graph, name)
        delattr(graph, name)
        graph.register_buffer(name, value)
    lowered = to_edge_transform_and_lower(
        torch.export.export(graph, example, strict=False),
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
        partitioner=[XnnpackPartitioner()],
    )
    try:
        run = ProgramFile(bytes(lowered.to_executorch().buffer)).method("forward")
        found = run(*example)
    except EngineFailed:
        return None
    expected = [value.detach() for value in program.function(*example)]
    errors = [
        float((one.double() - other.double()).norm() / (other.double().norm() + 1e-12))
        for one, other in zip(found, expected, strict=True)
    ]
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run(*example)
        seconds.append(time.perf_counter() - begin)
    return StockStep(statistics.median(seconds), max(errors))
