"""The delegate's graphs as we write them: what the library's own writer says, in fewer bytes."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from executorch.backends.xnnpack import serialization
from executorch.backends.xnnpack.serialization.xnnpack_graph_schema import XNNGraph
from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import (
    XNNHeader,
    serialize_xnnpack_binary,
)
from executorch.exir._serialize._flatbuffer import _flatc_decompile
from torch import Tensor

from export.lower import lower
from export.lowering.private import xnnpack
from export.lowering.private.payload import payload
from export.lowering.runtime import ProgramFile
from tests.export import toy

aten = torch.ops.aten
quantized = torch.ops.quantized_decomposed


def stock(graph: XNNGraph) -> bytes:
    return bytes(serialize_xnnpack_binary(graph, bytearray()))


def as_json(encoded: bytes, folder: Path) -> Any:
    """What the format's own compiler reads from a payload."""
    header = XNNHeader.from_bytes(encoded[: XNNHeader.EXPECTED_LENGTH])
    start = header.flatbuffer_offset
    schema, binary = folder / "schema.fbs", folder / "graph.bin"
    schema.write_bytes((resources.files(serialization) / "schema.fbs").read_bytes())
    binary.write_bytes(encoded[start : start + header.flatbuffer_size])
    _flatc_decompile(str(folder), str(schema), str(binary), ["--raw-binary"])
    # JSON has no infinity; the compiler writes "inf", Python reads "Infinity".
    return json.loads((folder / "graph.json").read_text().replace(": inf", ": Infinity"))


def lowered(item: Any, path: Path, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    lower([item], path)
    return list(ProgramFile(path).method(item.program.name)(*inputs))


def test_a_compact_payload_says_and_computes_the_same_in_fewer_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, inputs = toy.capture_step(*toy.weights()), toy.example(1)
    found = lowered(step, tmp_path / "compact.pte", inputs)
    graphs: list[XNNGraph] = []

    def spy(graph: XNNGraph) -> bytes:
        graphs.append(graph)
        return stock(graph)

    monkeypatch.setattr(xnnpack, "payload", spy)
    expected = lowered(step, tmp_path / "stock.pte", inputs)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    (graph,) = graphs
    assert as_json(payload(graph), tmp_path) == as_json(stock(graph), tmp_path)
    assert len(payload(graph)) < 0.9 * len(stock(graph))
    assert len(payload(graph)) < 100 * len(graph.xnodes) + 1000


def test_a_limit_and_a_quantized_constant_are_written_as_the_library_does(tmp_path: Path) -> None:
    # The library spells an infinite limit as a text.
    limits = limited_graph()
    assert as_json(payload(limits), tmp_path) == as_json(stock(limits), tmp_path)


def limited_graph() -> XNNGraph:
    from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema

    tensor = schema.XNNTensorValue(
        schema.XNNDatatype.xnn_datatype_qint8, 2, [2, 3], 1, 2**32 - 1, 0, 7
    )
    return schema.XNNGraph(
        version="0",
        xnodes=[
            schema.XNode(schema.XNNClamp(7, 8, 0), 0, schema.OutputMinMax(0.0, "+inf")),
            schema.XNode(schema.XNNStaticReshape(2, (3, 2), 7, 9, 0), 5),
        ],
        xvalues=[
            schema.XValue(schema.XNNQuantizedTensorValue(tensor, schema.PerTensorQuant(0.5, -3))),
            schema.XValue(
                schema.XNNQuantizedTensorValue(tensor, schema.PerChannelQuant([0.5, 2.0], 0, 1, 2))
            ),
        ],
        num_externs=2,
        input_ids=[0],
        output_ids=[1],
        constant_data=[
            schema.ConstantDataOffset(0, 0),
            schema.ConstantDataOffset(2**64 - 1, 6, "name"),
        ],
    )


def test_an_int8_weight_is_a_matrix_without_a_reshape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = torch.randint(-127, 128, (1, 24, 24), dtype=torch.int8)

    def function(x: Tensor, y: Tensor) -> Any:
        def matrix() -> Tensor:
            wide = quantized.dequantize_per_tensor.default(weight, 1.0, 0, -127, 127, torch.int8)
            return aten.reshape.default(wide, [24, 24])

        # Forward, backward, and as an output of its own.
        forward = aten.linear.default(x, matrix())
        return forward, aten.mm.default(y, matrix()), aten.reshape.default(matrix(), [12, 48])

    inputs = (torch.randn(3, 24), torch.randn(2, 24))
    item = toy.Captured(SimpleNamespace(name="int8"), toy.trace(function, inputs))
    counts: list[int] = []

    def spy(graph: XNNGraph) -> bytes:
        counts.append(len(graph.xnodes))
        return payload(graph)

    monkeypatch.setattr(xnnpack, "payload", spy)
    found = lowered(item, tmp_path / "matrix.pte", inputs)
    monkeypatch.setattr(xnnpack, "flatten_weights", lambda graph: None)
    expected = lowered(item, tmp_path / "reshaped.pte", inputs)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    torch.testing.assert_close(found[0], inputs[0] @ weight[0].float().T, rtol=1e-5, atol=1e-3)
    assert counts[0] < counts[1]


def test_a_slice_of_a_slice_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def function(x: Tensor) -> Any:
        lines = aten.slice.Tensor(x, 0, 2, 9)
        first = aten.slice.Tensor(lines, 1, 1, 4)
        # Another slice of the same lines, one of a slice's slice, and lines that leave the program.
        return (
            aten.neg.default(first),
            aten.neg.default(aten.slice.Tensor(aten.slice.Tensor(lines, 1, 2, 8), 0, 3, 5)),
            aten.slice.Tensor(x, 0, 0, 2),
            aten.slice.Tensor(aten.slice.Tensor(x, 1, 0, 2), 1, 1, 2),
        )

    x = torch.arange(80.0).reshape(10, 8)
    item = toy.Captured(SimpleNamespace(name="slices"), toy.trace(function, [x]))
    slices: list[int] = []

    def spy(graph: XNNGraph) -> bytes:
        names = [type(node.xnode_union).__name__ for node in graph.xnodes]
        slices.append(names.count("XNNStaticSlice"))
        return payload(graph)

    monkeypatch.setattr(xnnpack, "payload", spy)
    found = lowered(item, tmp_path / "slices.pte", (x,))
    assert slices == [4]
    for one, other in zip(found, function(x), strict=True):
        assert torch.equal(one, other)
