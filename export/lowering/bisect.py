"""Which operators a wrong program is wrong at: chunk by chunk, then halves of the wrong chunk.

Each chunk is lowered alone and run on the values that it really gets, those of the captured graph
interpreted by PyTorch, so an early fault does not hide a later one and no run needs the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from export.lowering.chunks import Stage, stages
from export.lowering.delegate import encode_chunk
from export.lowering.edge import to_edge
from export.lowering.partition import partition
from export.lowering.private import (
    ConstantStore,
    exported_program,
    program_file,
    without_code_generation,
)
from export.lowering.runtime import ProgramFile
from export.lowering.split import ChunkGraph, chunk_graph, operator_name, split
from export.parity import relative_error

if TYPE_CHECKING:
    from export.capture import Captured

__all__ = ["first_wrong"]

_METHOD = "chunk"
Values = dict[fx.Node, Any]


def first_wrong(
    captured: Captured, inputs: Sequence[Tensor], tolerance: float, chunk_nodes: int
) -> list[str]:
    """The smallest run of operators that the delegate computes wrongly on its real inputs.

    One text per operator: its name, shape and, for outputs of the run, its relative error. Only
    memory for the values alive at each chunk is needed. When no chunk alone is wrong, the list
    has one text that says so: the fault is then in a portable operator or between delegates.
    """
    with without_code_generation(), torch.no_grad():
        program = to_edge(captured.program.name, captured.graph)
        plan = stages(captured.program.name, program.graph, partition(program), chunk_nodes)
        values: Values = {}
        given = iter(inputs)
        for node in program.graph.nodes:
            if node.op == "placeholder":
                constant = program.state_dict.get(node.name)
                values[node] = next(given) if constant is None else constant
        for run, delegated in _runs(plan):
            _interpret(run, values)
            if delegated and _is_wrong(program, run, values, tolerance):
                smallest = _halve(run, lambda part: _is_wrong(program, part, values, tolerance))
                return _describe(program, smallest, values)
            _forget(program.graph, run, values)
    return ["none (no chunk is wrong alone)"]


def _runs(plan: Sequence[Stage]) -> list[tuple[Sequence[fx.Node], bool]]:
    """All runs of operators in the order in which they execute, and whether each is delegated."""
    runs: list[tuple[Sequence[fx.Node], bool]] = []
    for stage in plan:
        runs.append((stage.portable, False))
        runs.extend((chunk, True) for chunk in stage.chunks)
    return runs


def _interpret(run: Sequence[fx.Node], values: Values) -> None:
    """Compute a run of operators with PyTorch."""
    for node in run:
        arguments = fx.map_arg(node.args, lambda value: values[value])
        keywords = fx.map_arg(node.kwargs, lambda value: values[value])
        target: Any = node.target
        values[node] = target(*arguments, **keywords)


def _forget(graph: fx.Graph, run: Sequence[fx.Node], values: Values) -> None:
    """Drop values that no operator without a value still needs."""
    results = set(graph.output_node().all_input_nodes)
    candidates = {value for node in run for value in (node, *node.all_input_nodes)}
    for node in candidates - results:
        if node.op == "call_function" and all(user in values for user in node.users):
            values[node] = None


def _errors(
    program: ExportedProgram, run: Sequence[fx.Node], values: Values
) -> dict[fx.Node, float]:
    """Relative errors of the outputs of a run that is lowered alone and given the true inputs."""
    piece = chunk_graph(program, run)
    found = _execute(program, piece, [values[node] for node in piece.inputs])
    pairs = zip(piece.outputs, found, strict=True)
    return {node: relative_error(value, values[node]) for node, value in pairs}


def _is_wrong(
    program: ExportedProgram, run: Sequence[fx.Node], values: Values, tolerance: float
) -> bool:
    return not max(_errors(program, run, values).values(), default=0.0) <= tolerance


def _execute(
    program: ExportedProgram, piece: ChunkGraph, inputs: Sequence[Tensor]
) -> Sequence[Tensor]:
    constants: Mapping[str, Tensor] = {
        node.name: program.state_dict[node.name] for node in piece.constants
    }
    alone = exported_program(torch.nn.Module(), piece.graph, constants)
    operators = tuple(node for node in alone.graph.nodes if node.op == "call_function")
    store = ConstantStore()
    lowered = split(
        alone,
        [Stage((), (operators,))],
        lambda chunk: encode_chunk(_METHOD, alone, chunk, store),
    )
    file = bytes(program_file({_METHOD: lowered}, store).buffer)
    return ProgramFile(file).method(_METHOD)(*inputs)


def _halve(
    run: Sequence[fx.Node], is_wrong: Callable[[Sequence[fx.Node]], bool]
) -> Sequence[fx.Node]:
    """The smallest part of a wrong run, found by halving, that is wrong alone.

    A fault between two operators (a constant that both use) is in neither half: the run that holds
    both is then shortened from its ends.
    """
    while len(run) > 1:
        middle = len(run) // 2
        half = next((part for part in (run[:middle], run[middle:]) if is_wrong(part)), None)
        if half is None:
            return _shorten(run, is_wrong)
        run = half
    return run


def _shorten(
    run: Sequence[fx.Node], is_wrong: Callable[[Sequence[fx.Node]], bool]
) -> Sequence[fx.Node]:
    """Drop operators from both ends, by ever smaller steps, while the rest stays wrong."""
    step = len(run) // 2
    while step:
        parts = (run[step:], run[: len(run) - step])
        shorter = next((part for part in parts if part and is_wrong(part)), None)
        if shorter is None:
            step //= 2
        else:
            run = shorter
    return run


def _describe(program: ExportedProgram, run: Sequence[fx.Node], values: Values) -> list[str]:
    errors = _errors(program, run, values)

    def text(node: fx.Node) -> str:
        shape = "x".join(map(str, node.meta["val"].shape)) or "scalar"
        error = f" (error {errors[node]:.2g})" if node in errors else ""
        return f"{operator_name(node)} [{shape}]{error}"

    return [text(node) for node in run]
