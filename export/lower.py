"""The third step of an export: captured graphs to one program file for the runtime.

``lower`` puts all programs of a bundle into one ``.pte`` file, one method each, so that a frozen
weight that several programs use is stored once. Its time is linear in the number of nodes; what
makes it so is told in ``export/lowering``. The result says what every program needs: the planned
arena, its delegates, and each operator that the delegate left to portable kernels, with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram

from export.lowered import Lowered, LoweredProgram, PortableOperator
from export.lowering.chunks import Stage, stages
from export.lowering.delegate import encode_chunk
from export.lowering.edge import to_edge
from export.lowering.partition import Partition, partition
from export.lowering.private import (
    ConstantStore,
    planned_bytes,
    program_file,
    require_version,
    without_code_generation,
)
from export.lowering.split import ChunkGraph, operator_name, split
from export.lowering.workspace import reserve
from export.memory import release_memory
from pockettune.files import storage_errors

if TYPE_CHECKING:
    from export.capture import Captured

__all__ = ["CHUNK_NODES", "ENGINE", "Lowered", "LoweredProgram", "PortableOperator", "lower"]

ENGINE = "executorch"

# Large enough that few bytes cross borders, small enough for a small workspace: stepgraph figures
# in docs/log.md.
CHUNK_NODES = 250

Progress = Callable[[str, int, int], None]


def lower(
    captured: Sequence[Captured],
    path: Path,
    *,
    chunk_nodes: int = CHUNK_NODES,
    on_progress: Progress | None = None,
) -> Lowered:
    """Lower captured programs into one file at ``path``, each a method of its program's name.

    ``chunk_nodes`` is the size that chunks have on average. ``on_progress`` is called with a
    program's name, the operators of it that are done, and their number; lastly with "file". The
    same graphs give the same bytes. The file appears under its name only when it is complete.

    Raises:
        LoweringFailed: a graph breaks capture's contract or the delegate cannot encode it.
        ToolMissing: executorch has another version than the one that this is made for.
        DiskFull, IoFailed: the file cannot be written.
    """
    require_version()
    lowered = _lower(
        captured, path, chunk_nodes, on_progress or (lambda _name, _done, _total: None)
    )
    release_memory()
    return lowered


def _lower(captured: Sequence[Captured], path: Path, chunk_nodes: int, report: Progress) -> Lowered:
    store = ConstantStore()
    programs: dict[str, ExportedProgram] = {}
    reports: dict[str, tuple[int, int, tuple[PortableOperator, ...]]] = {}
    with without_code_generation():
        for item in captured:
            name = item.program.name
            source = to_edge(name, item.graph)
            parts = partition(source)
            plan = reserve(source.graph, stages(name, source.graph, parts, chunk_nodes))
            programs[name] = _delegate(name, source, plan, store, report)
            nodes = sum(node.op == "call_function" for node in source.graph.nodes)
            delegates = sum(len(stage.chunks) for stage in plan)
            reports[name] = (nodes, delegates, _portable(parts))
        report("file", 0, 1)
        file = program_file(programs, store)
        _write(file, path)
        report("file", 1, 1)
    arenas = planned_bytes(file)
    return Lowered(
        path=path,
        programs={name: LoweredProgram(*reports[name], arenas[name]) for name in programs},
        bytes=path.stat().st_size,
        frozen_weight_bytes=store.bytes + _portable_constant_bytes(programs),
        engine=ENGINE,
        files=dict.fromkeys(programs, path),
    )


def _delegate(
    name: str,
    source: ExportedProgram,
    plan: Sequence[Stage],
    store: ConstantStore,
    report: Progress,
) -> ExportedProgram:
    """One program with its chunks encoded, telling the progress by operators."""
    total = sum(len(chunk) for stage in plan for chunk in stage.chunks)
    done = 0
    report(name, 0, total)

    def encode(chunk: ChunkGraph) -> bytes:
        nonlocal done
        encoded = encode_chunk(name, source, chunk, store)
        done += sum(node.op == "call_function" for node in chunk.graph.nodes)
        report(name, min(done, total), total)
        return encoded

    return split(source, plan, encode)


def _portable(parts: Partition) -> tuple[PortableOperator, ...]:
    """The operators outside the delegate, the most frequent first."""
    counts = Counter((operator_name(node), reason) for node, reason in parts.reasons.items())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(PortableOperator(name, count, reason) for (name, reason), count in ordered)


def _portable_constant_bytes(programs: Mapping[str, ExportedProgram]) -> int:
    """Bytes of the constants that portable operators use; programs share the same tensors."""
    tensors = {
        (tensor.data_ptr(), tensor.numel()): tensor.numel() * tensor.element_size()
        for program in programs.values()
        for tensor in program.state_dict.values()
        if isinstance(tensor, torch.Tensor)
    }
    return sum(tensors.values())


def _write(file: Any, path: Path) -> None:
    """Write the file beside its name, then rename it."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with storage_errors("write", path):
            with partial.open("wb") as stream:
                file.write_to_file(stream)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
