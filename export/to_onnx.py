"""The third step of an export for ONNX Runtime: captured graphs to one ONNX model for each.

The graph is the one that other engines get, node for node, so all engines train by the same
arithmetic up to rounding. Inputs are named ``in.NAME`` and outputs ``out.NAME`` after those of the
program: state has one name on both sides, and ONNX wants different ones. The same graphs give the
same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx

import pockettune
from export.lowered import Lowered, LoweredProgram
from pockettune.errors import ToolMissing
from pockettune.files import storage_errors

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

    from export.capture import Captured
    from export.onnx_operators import Writer

__all__ = ["ENGINE", "IR_VERSION", "OPERATOR_SET", "lower_to_onnx", "model_of", "require_onnx"]

ENGINE = "onnxruntime"
IR_VERSION, OPERATOR_SET = 8, 17
"""What ``spec/bundle.md`` promises to devices; ONNX Runtime has both since 1.13."""
_SUFFIX = ".onnx"
# The runtime's arena over the bytes that live at once: 1.5 to 1.8 for our models, since it grows by
# doubling. That is without its memory patterns, which take twice as much (docs/onnxruntime.md).
_ARENA = 2

Progress = Callable[[str, int, int], None]


def require_onnx() -> None:
    """Stop before any work is done when a package is missing.

    Raises:
        ToolMissing: onnx or onnxruntime is not installed.
    """
    for package in ("onnx", "onnxruntime"):
        if find_spec(package) is None:
            raise ToolMissing(package, "pip install 'pockettune[onnx]'")


def lower_to_onnx(
    captured: Sequence[Captured], folder: Path, *, on_progress: Progress | None = None
) -> Lowered:
    """Write each captured program to ``folder/NAME.onnx``, whose graph bears its name.

    ``on_progress`` is called with a program's name, the programs that are done, and their number.

    Raises:
        LoweringFailed: a graph has an operator that ONNX lacks.
        ToolMissing: a package is not installed.
        DiskFull, IoFailed: a file cannot be written.
    """
    require_onnx()
    report = on_progress or (lambda _name, _done, _total: None)
    files: dict[str, Path] = {}
    programs: dict[str, LoweredProgram] = {}
    constants = 0
    with storage_errors("create", folder):
        folder.mkdir(parents=True, exist_ok=True)
    for index, item in enumerate(captured):
        name = item.program.name
        report(name, index, len(captured))
        model = model_of(item)
        files[name] = folder / f"{name}{_SUFFIX}"
        with storage_errors("write", files[name]):
            files[name].write_bytes(model.SerializeToString(deterministic=True))
        constants += sum(len(tensor.raw_data) for tensor in model.graph.initializer)
        programs[name] = LoweredProgram(
            nodes=len(model.graph.node),
            delegates=0,
            portable=(),
            arena_bytes=_ARENA * item.statistics.peak_live_bytes,
        )
    report("", len(captured), len(captured))
    return Lowered(
        path=folder,
        programs=programs,
        bytes=sum(path.stat().st_size for path in files.values()),
        frozen_weight_bytes=constants,
        engine=ENGINE,
        files=files,
    )


def model_of(captured: Captured, watched: Mapping[str, fx.Node] | None = None) -> ModelProto:
    """A captured program as an ONNX model.

    ``watched`` values of the graph, by the names that they get, are outputs too. Raises
    ``LoweringFailed`` for an operator that has no rule.
    """
    from onnx import helper

    from export.onnx_operators import RULES, Writer

    program, graph = captured.program, captured.graph.graph
    writer = Writer(program.name)
    inputs = iter(program.inputs)
    (output,) = (node for node in graph.nodes if node.op == "output")
    results = dict(zip(output.args[0], program.outputs, strict=True))
    watched = {} if watched is None else watched
    names = {node: name for name, node in watched.items()} | {
        node: f"out.{spec.name}" for node, spec in results.items()
    }
    for node in graph.nodes:
        if node.op == "placeholder":
            writer.bind(node, f"in.{next(inputs).name}")
        elif node.op == "get_attr":
            _store(writer, node, getattr(captured.graph, str(node.target)))
        elif node.op == "call_function":
            rule = RULES.get(node.target)
            if rule is None:
                raise writer.fail(node, "there is no rule for it in ONNX")
            name = names.get(node, node.name)
            rule(writer, node, name)
            writer.bind(node, name)
    given = [
        _described(f"in.{spec.name}", getattr(torch, spec.dtype), spec.shape)
        for spec in program.inputs
    ]
    made = [
        _described(f"out.{spec.name}", getattr(torch, spec.dtype), spec.shape)
        for spec in program.outputs
    ]
    seen = [
        _described(name, node.meta["val"].dtype, tuple(node.meta["val"].shape))
        for name, node in watched.items()
        if node not in results
    ]
    return helper.make_model(
        helper.make_graph(
            writer.nodes, program.name, given, [*made, *seen], list(writer.constants.values())
        ),
        producer_name="pockettune",
        producer_version=pockettune.__version__,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPERATOR_SET)],
    )


def _store(writer: Writer, node: fx.Node, value: Tensor) -> None:
    from onnx import numpy_helper

    name = f"weight.{node.target}"
    writer.bind(node, name)
    if name not in writer.constants:
        array = value.detach().contiguous().numpy()
        writer.constants[name] = numpy_helper.from_array(array, name)


def _described(name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> ValueInfoProto:
    from onnx import helper

    from export.onnx_operators import ELEMENT_TYPES

    return helper.make_tensor_value_info(name, ELEMENT_TYPES[dtype], shape)
