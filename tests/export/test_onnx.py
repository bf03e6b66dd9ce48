"""Programs in stock ONNX Runtime: the step graph, its hazards, and the command that makes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from export import cli
from export.capture import capture
from export.check import compare
from export.onnx_session import first_wrong_value, open_model
from export.passes import FrozenWeights
from export.to_onnx import IR_VERSION, OPERATOR_SET, lower_to_onnx, model_of
from pockettune.bundle import open_bundle
from pockettune.errors import EngineFailed, LoweringFailed, ParityFailed
from pockettune.program import Program, TensorSpec
from tests.export import toy

aten = torch.ops.aten
COMMAND = "--model har-conv --input-shape 2x8 --classes 3 --batch-size 4"


@pytest.fixture(autouse=True)
def _calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command silences libraries for good; a test must not."""
    monkeypatch.setattr(cli, "_quiet_libraries", lambda: None)


def export(words: str, out: Path) -> int:
    return cli.main([*words.split(), *COMMAND.split(), "--out", str(out)])


class Loaded:
    """A bundle's program run by the stock runtime from what the bundle says alone."""

    def __init__(self, folder: Path, name: str) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        self.program = manifest["programs"][name]
        place = self.program["engines"]["onnxruntime"]
        self.session = onnxruntime.InferenceSession(str(folder / place["file"]))

    def __call__(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        feeds = {
            f"in.{entry['name']}": values[entry["binding"]].astype(entry["dtype"])
            for entry in self.program["inputs"]
        }
        names = [f"out.{entry['name']}" for entry in self.program["outputs"]]
        found = self.session.run(names, feeds)
        bindings = (entry["binding"] for entry in self.program["outputs"])
        return dict(zip(bindings, found, strict=True))


@pytest.fixture(scope="module")
def adam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bundle for both engines whose optimizer is AdamW."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "_quiet_libraries", lambda: None)
        out = tmp_path_factory.mktemp("onnx") / "bundle"
        words = "--method fedavg --target executorch,onnxruntime --optimizer adamw"
        assert export(words, out) == 0
        yield out


def values(folder: Path, seed: int = 0) -> dict[str, np.ndarray]:
    bundle = open_bundle(folder)
    generator = np.random.default_rng(seed)
    hyper = bundle.manifest["training"]["hyper"]
    return {
        **{f"state.{name}": value for name, value in bundle.initial_state().items()},
        **{f"hyper.{name}": np.full(1, value) for name, value in hyper.items()},
        "batch.inputs": generator.normal(size=(4, 2, 8)).astype(np.float32),
        "batch.labels": np.arange(4) % 3,
        "batch.weights": np.ones(4, np.float32),
    }


def test_a_bundle_for_both_engines_names_a_graph_of_each_program(adam: Path) -> None:
    manifest = open_bundle(adam).manifest
    for name, program in manifest["programs"].items():
        assert program["engines"] == {
            "executorch": {"file": "programs.pte", "method": name},
            "onnxruntime": {"file": f"{name}.onnx", "method": name},
        }
        model = onnx.load(adam / f"{name}.onnx")
        onnx.checker.check_model(model, full_check=True)
        assert (model.graph.name, model.ir_version) == (name, IR_VERSION)
        assert [(o.domain, o.version) for o in model.opset_import] == [("", OPERATOR_SET)]
        described = [
            (value.name, [d.dim_value for d in value.type.tensor_type.shape.dim])
            for value in (*model.graph.input, *model.graph.output)
        ]
        assert described == [
            (f"{side}.{entry['name']}", list(entry["shape"]))
            for side, entries in (("in", program["inputs"]), ("out", program["outputs"]))
            for entry in entries
        ]
    assert {"onnx", "onnxruntime", "executorch"} <= set(manifest["tools"])


def test_adam_follows_its_equations_and_keeps_its_epsilon(adam: Path) -> None:
    """Ten steps against AdamW in NumPy on the program's own gradients; where a gradient is exactly
    zero, sqrt(v) + 1e-8 is all that keeps 0 / 0 away."""
    given = values(adam)
    # An input that is all zeros gives the first filters no gradient at all.
    given["batch.inputs"] = np.zeros((4, 2, 8), np.float32)
    step = Loaded(adam, "train_step")
    rate = float(given["hyper.learning_rate"][0])
    decay = float(given["hyper.weight_decay"][0])
    parameters = given["state.parameters"].astype(np.float64)
    first = np.zeros_like(parameters)
    second = np.zeros_like(parameters)
    before = np.zeros_like(given["state.parameters"])
    for count in range(1, 11):
        results = step(given)
        moment = results["state.moment1"]
        gradient = (moment.astype(np.float64) - 0.9 * before.astype(np.float64)) / 0.1
        gradient[moment == 0] = 0.0
        before = moment
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        change = (first / (1 - 0.9**count)) / (np.sqrt(second / (1 - 0.999**count)) + 1e-8)
        parameters = parameters * (1 - rate * decay) - rate * change
        assert np.isfinite(results["state.parameters"]).all()
        np.testing.assert_allclose(results["state.parameters"], parameters, rtol=0, atol=2e-4)
        given |= {name: v for name, v in results.items() if name.startswith("state.")}
    assert (moment == 0).any()
    assert (moment != 0).any()


def test_both_engines_evaluate_and_predict_alike(adam: Path) -> None:
    from export.lowering.runtime import ProgramFile

    given = values(adam, seed=1)
    for name in ("evaluate", "predict", "predict_8", "predict_4"):
        loaded = Loaded(adam, name)
        inputs = [
            torch.from_numpy(given[entry["binding"]].astype(entry["dtype"]))
            for entry in loaded.program["inputs"]
        ]
        other = ProgramFile(adam / "programs.pte").method(name)(*inputs)
        for found, expected in zip(loaded(given).values(), other, strict=True):
            np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_the_bytes_are_always_the_same(tmp_path: Path) -> None:
    words = "--method quant_robust --target onnxruntime"
    assert export(words, tmp_path / "one") == 0
    assert export(words, tmp_path / "two") == 0
    ids = [open_bundle(tmp_path / name).bundle_id for name in ("one", "two")]
    assert ids[0] == ids[1]
    bundle = open_bundle(tmp_path / "one")
    assert set(bundle.manifest["programs"]["train_step"]["engines"]) == {"onnxruntime"}
    assert "executorch" not in bundle.manifest["tools"]


def test_the_most_complicated_step_is_checked_too(tmp_path: Path) -> None:
    assert export("--method relaxed_quant --target onnxruntime", tmp_path / "bundle") == 0
    parity = open_bundle(tmp_path / "bundle").manifest["parity"]["train_step"]
    assert len(parity["loss_differences"]) == 5


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        ("--method fedavg --target tflite", 55, "'tflite'; valid: executorch, onnxruntime"),
        ("--target onnxruntime", 55, "'onnxruntime'; valid: executorch"),
        ("--method fedavg --target onnxruntime --measure", 2, "--measure has no place here"),
    ],
)
def test_a_target_that_cannot_be_is_one_sentence(
    words: str, status: int, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = COMMAND.split() if "fedavg" in words else []
    assert cli.main([*words.split(), *model, "--out", str(tmp_path / "b")]) == status
    assert part in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_lists_and_explains_targets(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--list", "--target", "onnxruntime"]) == 0
    fleet = capsys.readouterr().out.split()
    assert cli.main(["--list"]) == 0
    assert set(fleet) < set(capsys.readouterr().out.split())
    words = "--method fedavg --explain --target executorch,onnxruntime"
    assert cli.main([*words.split(), *COMMAND.split()]) == 0
    assert "programs for executorch, onnxruntime" in capsys.readouterr().out


def program(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Program:
    """A program of float32 tensors whose results are those of ``function``."""

    def example(seed: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(shape, generator=generator) for shape in shapes)

    def several(*inputs: Tensor) -> tuple[Tensor, ...]:
        results = function(*inputs)
        return results if isinstance(results, tuple) else (results,)

    outputs = several(*example(0))
    return Program(
        "some",
        several,
        tuple(TensorSpec(f"x{i}", "float32", s, f"cache.x{i}") for i, s in enumerate(shapes)),
        tuple(
            TensorSpec(f"y{i}", str(y.dtype).removeprefix("torch."), tuple(y.shape), f"cache.y{i}")
            for i, y in enumerate(outputs)
        ),
        example,
    )


def run(function: Callable[..., Any], *inputs: Tensor) -> list[Tensor]:
    """Captured and run by the runtime."""
    item = capture(program(function, *(tuple(x.shape) for x in inputs)), FrozenWeights())
    return list(open_model("some", model_of(item).SerializeToString())(*inputs))


CASES: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "pad": (lambda x: aten.constant_pad_nd.default(x, [1, 2, 0, -1], 0.5), ((2, 3, 4),)),
    "slice": (lambda x: (aten.slice.Tensor(x, 1, -3, 9, 2), x[:, 1:]), ((2, 6),)),
    "linear": (lambda x, w, b: torch.nn.functional.linear(x, w, b), ((2, 5, 4), (3, 4), (3,))),
    "products": (lambda a, b: (aten.mm.default(a[0], b[0]), aten.bmm.default(a, b)),
                 ((2, 3, 4), (2, 4, 5))),
    "clamp": (lambda x: (x.clamp(min=0.1), x.clamp(max=0.2), x.clamp(-0.3, 0.4)), ((9,),)),
    "compare": (lambda x, y: torch.where((x > y) | (x <= 0.1), x * 2.0, y / 3.0), ((9,), (9,))),
    "largest": (lambda x: (x.amax(), x.amax([1], keepdim=True), x.argmax(-1)), ((3, 7),)),
    "round": (lambda x: torch.round(x * 4 + 0.5), ((2, 8),)),
    "softmax": (lambda x: (torch.softmax(x, 0), x.rsqrt()), ((4, 3),)),
    "types": (lambda x: (x.to(torch.int64) + 1, (x > 0).to(torch.float32)), ((9,),)),
    "cat": (lambda x, y: torch.cat([x, y], -1).permute(1, 0).reshape(-1), ((2, 3), (2, 5))),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operators_give_pytorch_s_values(name: str) -> None:
    function, shapes = CASES[name]
    generator = torch.Generator().manual_seed(3)
    inputs = [torch.randn(shape, generator=generator).abs_() + 0.01 for shape in shapes]
    inputs = [x - 0.5 if name not in ("softmax",) else x for x in inputs]
    expected = function(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for one, other in zip(run(function, *inputs), expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_halves_round_to_even_and_the_first_of_equals_is_largest() -> None:
    x = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    assert run(torch.round, x)[0].tolist() == [-2, -2, 0, 0, 2, 2]
    assert run(lambda y: y.argmax(-1), torch.ones(2, 3))[0].tolist() == [0, 0]


def test_log1p_is_exact_where_the_sum_is_not() -> None:
    x = torch.tensor([1e-30, 1e-8, 1e-4, 0.3, 0.999, 1.0, 7.0, 3e38, float("inf"), -0.5, 0.0])
    expected = np.log1p(x.numpy().astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(run(torch.log1p, x)[0].numpy(), expected, rtol=3e-7)


def test_an_operator_without_a_rule_is_named() -> None:
    made = program(lambda x: torch.cumsum(x, 0), (4,))
    with pytest.raises(LoweringFailed, match="cumsum"):
        model_of(capture(made, FrozenWeights()))


def test_a_wrong_model_is_caught_and_located(tmp_path: Path) -> None:
    made = toy.capture_step(*toy.weights())
    statistics = SimpleNamespace(peak_live_bytes=0)
    step: Any = SimpleNamespace(program=made.program, graph=made.graph, statistics=statistics)
    lowered = lower_to_onnx([step], tmp_path)
    parts = toy.method_export()

    def opened(name: str) -> Callable[..., Any]:
        return open_model(name, lowered.files[name])

    right = compare(opened, first_wrong_value, [step], parts)["train_step"]
    assert max(right.gradients.values()) < 1e-5
    assert max(right.loss_differences) < 1e-5
    model = onnx.load(lowered.files["train_step"])
    decay = np.float32(0.9).tobytes()
    (tensor,) = (t for t in model.graph.initializer if t.raw_data == decay)
    tensor.raw_data = np.float32(0.899).tobytes()
    onnx.save(model, lowered.files["train_step"])
    with pytest.raises(ParityFailed):
        compare(opened, first_wrong_value, [step], parts)
    lowered.files["train_step"].write_bytes(b"nothing")
    with pytest.raises(EngineFailed):
        compare(opened, first_wrong_value, [step], parts)


def test_the_first_wrong_value_is_found() -> None:
    """float64 constants would differ; here a rule that is wrong on purpose stands for one."""
    from export import onnx_operators

    item = toy.capture_step(*toy.weights())
    inputs = toy.example(1)
    assert first_wrong_value(item, inputs, 1e-4)[0].startswith("none")
    with pytest.MonkeyPatch.context() as patch:
        wrong = {**onnx_operators.RULES, aten.sigmoid.default: onnx_operators._plain("Tanh")}
        patch.setattr(onnx_operators, "RULES", wrong)
        assert first_wrong_value(item, inputs, 1e-4)[0].startswith("sigmoid")
