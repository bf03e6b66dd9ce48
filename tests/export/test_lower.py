"""Lowering of small captured graphs: right results, nothing stored twice, same bytes each time."""

from __future__ import annotations

import dataclasses
import operator
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from export.lower import lower
from export.lowering.chunks import cut, stages
from export.lowering.edge import to_edge
from export.lowering.partition import partition
from export.lowering.private import version, without_code_generation
from export.lowering.runtime import ProgramFile
from pockettune.errors import IoFailed, LoweringFailed, ToolMissing
from tests.export import toy

aten = torch.ops.aten


def captured(name: str, function: Callable[..., Any], inputs: Sequence[Tensor]) -> Any:
    """A hand-written graph in the form that lowering takes."""
    return toy.Captured(SimpleNamespace(name=name), toy.trace(function, inputs))


def run(item: Any, path: Path, inputs: Sequence[Tensor], **options: Any) -> tuple[Any, Any]:
    """Lower one graph and run it: the report and the outputs."""
    lowered = lower([item], path, **options)
    return lowered, ProgramFile(path).method(item.program.name)(*inputs)


@pytest.mark.parametrize("chunk_nodes", [1, 4, 250])
def test_a_step_gives_what_eager_gives_however_it_is_cut(tmp_path: Path, chunk_nodes: int) -> None:
    step = toy.capture_step(*toy.weights())
    inputs = toy.example(1)
    lowered, found = run(step, tmp_path / "step.pte", inputs, chunk_nodes=chunk_nodes)
    for value, expected in zip(found, step.program.function(*inputs), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    nodes = lowered.programs["train_step"].nodes
    assert lowered.programs["train_step"].delegates >= (nodes - 1) / (1.5 * chunk_nodes)


def test_operators_left_out_are_counted_with_the_reason(tmp_path: Path) -> None:
    ceil_mode = True

    def function(x: Tensor, index: Tensor, table: Tensor) -> Any:
        return (
            aten.add.Tensor(aten.mul.Scalar(x, 2.0), aten.mul.Scalar(x, 3.0)),
            aten.add.Tensor(index, index),
            aten.avg_pool2d.default(table, [2, 2], [2, 2], [0, 0], ceil_mode),
        )

    inputs = (torch.randn(3), torch.tensor([4]), torch.randn(1, 1, 3, 3))
    lowered, found = run(captured("mixed", function, inputs), tmp_path / "mixed.pte", inputs)
    report = {item.operator: item for item in lowered.programs["mixed"].portable}
    assert report["aten.mul.Scalar"].count == 2
    assert report["aten.mul.Scalar"].reason == "the delegate has no such operator"
    assert report["aten.add.Tensor"].reason == "dtype int64"
    assert report["aten.avg_pool2d.default"].reason == "ceil mode is not supported"
    assert lowered.programs["mixed"].delegates == 1
    torch.testing.assert_close(found[0], 5 * inputs[0])
    torch.testing.assert_close(found[1], torch.tensor([8]))


def test_a_delegate_that_needs_its_own_result_back_is_split_in_two(tmp_path: Path) -> None:
    def function(x: Tensor) -> Any:
        inner = aten.mul.Scalar(aten.exp.default(x), 2.0)
        return (aten.add.Tensor(aten.tanh.default(x), inner),)

    inputs = (torch.randn(5),)
    lowered, (found,) = run(captured("two", function, inputs), tmp_path / "two.pte", inputs)
    assert lowered.programs["two"].delegates == 2
    torch.testing.assert_close(found, inputs[0].tanh() + 2 * inputs[0].exp())


def test_a_weight_of_two_programs_is_stored_once(tmp_path: Path) -> None:
    first, second = (weight.repeat(8, 8) for weight in toy.weights())

    def two(x: Tensor) -> Any:
        return (aten.linear.default(aten.linear.default(x, first), second),)

    def one(x: Tensor) -> Any:
        return (aten.linear.default(x, second),)

    inputs = (torch.randn(2, first.shape[1]),)
    hidden = (torch.randn(2, second.shape[1]),)
    items = [captured("two", two, inputs), captured("one", one, hidden)]
    both = lower(items, tmp_path / "both.pte")
    weights = first.nbytes + second.nbytes
    assert both.frozen_weight_bytes == weights
    assert both.bytes < 1.1 * weights
    file = (tmp_path / "both.pte").read_bytes()
    assert file.count(second.numpy().tobytes()) == 1
    # Equal bytes in another tensor object, and in a delegate of another chunk, too.
    copy = second.clone()
    again = captured("one", lambda x: (aten.linear.default(x, copy),), hidden)
    assert lower([items[0], again], tmp_path / "copy.pte", chunk_nodes=1).bytes < 1.1 * weights


def test_a_table_of_a_portable_operator_is_stored_once_for_two_programs(tmp_path: Path) -> None:
    table = torch.randn(500, 16)

    def function(index: Tensor) -> Any:
        return (aten.embedding.default(table, index),)

    inputs = (torch.tensor([3, 499]),)
    items = [captured(name, function, inputs) for name in ("one", "two")]
    lowered = lower(items, tmp_path / "tables.pte")
    assert lowered.frozen_weight_bytes == table.nbytes
    assert lowered.bytes < 1.1 * table.nbytes
    (found,) = ProgramFile(tmp_path / "tables.pte").method("two")(*inputs)
    assert torch.equal(found, table[[3, 499]])


def test_int8_weights_stay_int8_in_the_file(tmp_path: Path) -> None:
    from torch.ao.quantization.fx import _decomposed  # noqa: F401

    quantized = torch.ops.quantized_decomposed
    weight = torch.randint(-127, 128, (1, 64, 64), dtype=torch.int8)
    scale = torch.rand(64) * 0.01

    def function(x: Tensor) -> Any:
        wide = quantized.dequantize_per_tensor.default(weight, 1.0, 0, -127, 127, torch.int8)
        product = aten.linear.default(x, aten.reshape.default(wide, [64, 64]))
        return (aten.mul.Tensor(product, scale),)

    inputs = (torch.randn(3, 64),)
    item = captured("int8", function, inputs)
    lowered, (found,) = run(item, tmp_path / "int8.pte", inputs)
    assert lowered.programs["int8"].portable == ()
    assert lowered.frozen_weight_bytes == weight.nbytes + scale.nbytes
    torch.testing.assert_close(found, inputs[0] @ (weight[0].float() * scale[:, None]).T)


@pytest.mark.parametrize("count", [5, 6, 8, 9, 10, 30])
def test_a_wide_concatenation_is_split_where_the_fewest_values_are_copied(
    tmp_path: Path, count: int
) -> None:
    def function(*parts: Tensor) -> Any:
        return (aten.cat.default(parts, -1),)

    inputs = tuple(torch.randn(2, width + 1) for width in range(count))
    item = captured("wide", function, inputs)
    program = to_edge("wide", item.graph)
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    assert max(len(node.all_input_nodes) for node in nodes) <= 5
    assert len(nodes) == -(-(count - 1) // 4)
    lowered, (found,) = run(item, tmp_path / "wide.pte", inputs)
    assert lowered.programs["wide"].portable == ()
    assert torch.equal(found, torch.cat(inputs, -1))


def test_a_number_in_the_place_of_a_tensor_becomes_one(tmp_path: Path) -> None:
    def function(x: Tensor, index: Tensor) -> Any:
        return aten.mul.Tensor(x, 0.5), aten.add.Tensor(index, 2), aten.add.Tensor(index, 2.5)

    inputs = (torch.randn(3), torch.tensor([4]))
    item = captured("numbers", function, inputs)
    scalars = [node.args[1] for node in item.graph.graph.nodes if node.op == "call_function"]
    assert scalars == [0.5, 2, 2.5]
    _, found = run(item, tmp_path / "numbers.pte", inputs)
    torch.testing.assert_close(found[0], inputs[0] / 2)
    torch.testing.assert_close(found[1], torch.tensor([6]))
    torch.testing.assert_close(found[2], torch.tensor([6.5]))


SCRIPT = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from tests.export import toy
from export.lower import lower
first, second = toy.weights()
items = [toy.capture_step(first, second), toy.capture_forward(second)]
lower(items, Path(sys.argv[1]), chunk_nodes=6)
"""


@pytest.mark.e2e
def test_the_same_graphs_give_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    first, second = toy.weights()
    items = [toy.capture_step(first, second), toy.capture_forward(second)]
    lower(items, tmp_path / "here.pte", chunk_nodes=6)
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "there.pte")],
        check=True,
        capture_output=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )
    assert (tmp_path / "here.pte").read_bytes() == (tmp_path / "there.pte").read_bytes()


def test_chunks_are_cut_where_the_fewest_bytes_cross() -> None:
    # Eight operators in a chain on 100 numbers each, but the value after the fifth has only one.
    def function(x: Tensor) -> Any:
        value = x
        for _ in range(4):
            value = aten.neg.default(value)
        value = aten.neg.default(aten.slice.Tensor(value, 0, 0, 1))
        for _ in range(3):
            value = aten.neg.default(aten.cat.default([value] * 100))
            value = aten.slice.Tensor(value, 0, 0, 50)
        return (value,)

    program = to_edge("chain", toy.trace(function, [torch.randn(100)]))
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    chunks = cut(nodes, 5)
    assert [node for chunk in chunks for node in chunk] == nodes
    assert chunks[0] == tuple(nodes[:6])
    assert cut([], 5) == ()
    assert cut(nodes, 100) == (tuple(nodes),)


def test_bound_operators_are_never_cut_apart() -> None:
    def function(x: Tensor) -> Any:
        for _ in range(12):
            x = aten.neg.default(x)
        return (x,)

    program = to_edge("chain", toy.trace(function, [torch.randn(4)]))
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    bound = {nodes[6]: (nodes[3],)}
    chunks = cut(nodes, 4, bound)
    assert any({nodes[3], nodes[6]} <= set(chunk) for chunk in chunks)


def test_program_order_is_kept() -> None:
    step = toy.capture_step(*toy.weights())
    program = to_edge("train_step", step.graph)
    plan = stages("train_step", program.graph, partition(program), 7)
    position = {node: index for index, node in enumerate(program.graph.nodes)}
    order = [position[node] for stage in plan for chunk in stage.chunks for node in chunk]
    assert order == sorted(order)


def test_what_no_output_needs_is_left_out() -> None:
    unused = torch.randn(3)

    def function(x: Tensor) -> Any:
        aten.mul.Tensor(x, unused)
        return (aten.neg.default(x),)

    program = to_edge("lean", toy.trace(function, [torch.randn(3)]))
    assert [node.op for node in program.graph.nodes] == ["placeholder", "call_function", "output"]
    assert not program.state_dict


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    step = toy.capture_step(*toy.weights())
    lower([step], tmp_path / "p.pte", chunk_nodes=9, on_progress=lambda *line: told.append(line))
    assert told[0][:2] == ("train_step", 0)
    of_step = [line for line in told if line[0] == "train_step"]
    assert of_step[-1][1] == of_step[-1][2]
    assert told[-1] == ("file", 1, 1)


def test_an_operator_that_the_runtime_lacks_is_named(tmp_path: Path) -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    x.meta["val"] = torch.empty(3, device="meta")
    call = graph.call_function(operator.neg, (x,))
    call.meta["val"] = x.meta["val"]
    graph.output((call,))
    item = toy.Captured(SimpleNamespace(name="odd"), fx.GraphModule({}, graph))
    with pytest.raises(LoweringFailed, match="neg"):
        lower([item], tmp_path / "odd.pte")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    second = toy.weights()[1]
    with pytest.raises(IoFailed, match=r"folder/p\.pte"):
        lower([toy.capture_forward(second)], tmp_path / "folder" / "p.pte")
    assert not list(tmp_path.iterdir())


def test_another_version_of_the_library_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "VERSION", "0.0.1")
    with pytest.raises(ToolMissing, match=r"executorch 0\.0\.1"):
        lower([], tmp_path / "p.pte")


def test_code_generation_is_back_afterwards() -> None:
    before = fx.GraphModule.recompile
    with pytest.raises(KeyError), without_code_generation():
        raise KeyError
    assert fx.GraphModule.recompile is before


def test_reports_are_records() -> None:
    from export.lower import Lowered, LoweredProgram, PortableOperator

    for kind in (Lowered, LoweredProgram, PortableOperator):
        assert dataclasses.is_dataclass(kind)
        assert kind.__dataclass_params__.frozen
