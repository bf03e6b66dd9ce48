"""Captured programs compute what the eager ones compute, in the operators that a delegate takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Interpreter

from benchmarks.synthetic import SIZES, write_model
from export.capture import Captured, FrozenWeights, capture
from pockettune.errors import LoweringFailed
from pockettune.methods.hollowed_net import Config, export
from pockettune.models.pipeline import Pipeline, load_pipeline
from pockettune.nn.lean import LeanOptions, make_lean_
from pockettune.nn.quantize import quantize_
from pockettune.program import Program, TensorSpec

# What the XNNPACK partitioner takes in float32, and what may be left on integers.
DELEGATED = {
    *(
        "_softmax",
        "abs",
        "add",
        "bmm",
        "cat",
        "clamp",
        "constant_pad_nd",
        "cos",
        "div",
        "exp",
        "floor",
    ),
    *("gelu", "linear", "maximum", "minimum", "mm", "mul", "neg", "permute", "reshape", "rsqrt"),
    *("sigmoid", "sin", "slice", "sqrt", "sub", "tanh", "dequantize_per_tensor"),
}
PORTABLE = {"_to_copy", "add", "clamp", "embedding", "expand", "index_select", "reshape"}


def small_step(width: int = 6) -> Program:
    """One SGD step with momentum on a matrix between frozen layers."""
    torch.manual_seed(0)
    first, last = nn.Linear(width, width), nn.Conv2d(1, 2, 3, padding=1)
    for layer in (first, last):
        layer.requires_grad_(requires_grad=False)
        quantize_(layer, 8)

    def function(x: Tensor, weight: Tensor, momentum: Tensor, step: Tensor) -> tuple[Tensor, ...]:
        leaf = weight.detach().requires_grad_()
        hidden = F.silu(F.linear(first(x), leaf))
        loss = last(hidden.reshape(1, 1, *hidden.shape)).pow(2).mean()
        (gradient,) = torch.autograd.grad(loss, leaf)
        momentum = 0.9 * momentum + gradient
        return loss.detach(), weight - 0.1 * momentum, momentum, step + 1

    def example(seed: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        x, weight = (torch.randn(n, width, generator=generator) for n in (4, width))
        return x, weight, torch.zeros(width, width), torch.zeros(1, dtype=torch.int64)

    x = TensorSpec("x", "float32", (4, width), "batch.x")
    state = (
        TensorSpec("weight", "float32", (width, width), "state.weight"),
        TensorSpec("momentum", "float32", (width, width), "state.momentum"),
        TensorSpec("step", "int64", (1,), "state.step"),
    )
    loss = TensorSpec("loss", "float32", (), "loss")
    return Program("train_step", function, (x, *state), (loss, *state), example)


def next_inputs(
    program: Program, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> list[Tensor]:
    """The inputs of a next call: new values for what the program updates."""
    values = {spec.binding: value for spec, value in zip(program.outputs, outputs, strict=True)}
    return [
        values.get(spec.binding, value) for spec, value in zip(program.inputs, inputs, strict=True)
    ]


def largest_error(captured: Captured, calls: int) -> float:
    """The largest relative error of an output over consecutive calls, each side on its own."""
    program = captured.program
    ours = theirs = list(program.example(3))
    worst = 0.0
    for _ in range(calls):
        with torch.no_grad():
            results = Interpreter(captured.graph).run(*ours)
        references = program.function(*theirs)
        for result, reference in zip(results, references, strict=True):
            distance = (result.double() - reference.double()).norm()
            worst = max(worst, float(distance / reference.double().norm().clamp_min(1e-20)))
        ours, theirs = (
            next_inputs(program, ours, results),
            next_inputs(program, theirs, references),
        )
    return worst


def check_contract(captured: Captured) -> None:
    """Names, shapes and operators of a captured graph are as lowering needs them."""
    graph = captured.graph.graph
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    assert len(placeholders) == len(captured.program.inputs)
    for node in graph.nodes:
        assert node.op in ("placeholder", "get_attr", "call_function", "output")
        assert "val" in node.meta
        if node.op == "get_attr":
            constant = getattr(captured.graph, node.target)
            assert constant.is_contiguous()
            assert not constant.requires_grad
        if node.op == "call_function":
            value = node.meta["val"]
            operands = [value, *(source.meta["val"] for source in node.all_input_nodes)]
            plain = all(operand.dtype == torch.float32 for operand in operands)
            name = node.target.__name__.split(".")[0]
            plain = (plain and name != "embedding") or name == "dequantize_per_tensor"
            assert name in (DELEGATED if plain else PORTABLE), node
            assert value.dim() <= 6
            if plain and name in ("add", "sub", "mul", "div"):
                assert all(isinstance(argument, torch.fx.Node) for argument in node.args)
    (output,) = (node for node in graph.nodes if node.op == "output")
    assert len(set(output.args[0])) == len(captured.program.outputs)
    assert all(node.op == "call_function" for node in output.args[0])


@pytest.mark.parametrize("bits", [32, 8])
def test_steps_equal_eager(bits: int) -> None:
    captured = capture(small_step(), FrozenWeights())
    check_contract(captured)
    assert largest_error(captured, 4) < 2e-6


def test_statistics() -> None:
    store = FrozenWeights()
    statistics = capture(small_step(), store).statistics
    assert statistics.nodes > 0
    assert statistics.traced_nodes > 0
    assert statistics.constant_bytes >= store.bytes == 36 + 24 + 18 + 8
    # The gradient, the weight and the momentum live together; the constants do not count.
    assert 3 * 144 <= statistics.peak_live_bytes < 4096
    assert statistics.rewrites["expand_convolutions"] == 2


def test_the_same_program_gives_the_same_graph() -> None:
    first, second = (capture(small_step(), FrozenWeights()).graph for _ in range(2))
    assert str(first.graph) == str(second.graph)
    for (name, value), (other_name, other) in zip(
        first.named_buffers(), second.named_buffers(), strict=True
    ):
        assert name == other_name
        assert torch.equal(value, other)


@pytest.mark.parametrize("change", ["shape", "dtype", "missing"])
def test_undeclared_results_are_refused(change: str) -> None:
    program = small_step()
    *outputs, step = program.outputs
    if change == "shape":
        outputs.append(dataclasses.replace(step, shape=(2,)))
    if change == "dtype":
        outputs.append(dataclasses.replace(step, dtype="float32"))
    with pytest.raises(LoweringFailed, match="declared"):
        capture(dataclasses.replace(program, outputs=tuple(outputs)), FrozenWeights())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_model(folder, SIZES["tiny"])
    return folder


def pipeline(model: Path, bits: int) -> Pipeline:
    loaded = load_pipeline(model)
    make_lean_(loaded, LeanOptions(attention_elements=2048, feed_forward_width=64))
    for component in (loaded.text_encoder, loaded.unet, loaded.vae):
        quantize_(component, bits)
    return loaded


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("bits", "config"),
    [
        (8, Config(cut="A", rank=2)),
        (32, Config(cut="none", rank=2, optimizer="sgd", accumulation=2, recompute="none")),
    ],
    ids=["hollow", "full"],
)
def test_every_program_of_a_method(bits: int, config: Config, model: Path) -> None:
    parts = export(pipeline(model, bits), config)
    store = FrozenWeights()
    captured = {program.name: capture(program, store) for program in parts.programs}
    for item in captured.values():
        check_contract(item)
        assert largest_error(item, 3 if item.program.name == "train_step" else 1) < 5e-5
    # The step reads the very constants that drawing with the full net reads.
    step, draw = (dict(captured[name].graph.named_buffers()) for name in ("train_step", "denoise"))
    shared = {name for name in step if name.startswith("weight_")}
    assert shared
    assert all(step[name] is draw[name] for name in shared)
