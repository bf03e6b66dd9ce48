"""The comparison of the final file with eager: passes what is right, catches and locates faults."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from export import parity
from export.check import Tolerances, check, compare
from export.lower import lower
from export.lowering import bisect
from export.lowering.runtime import ProgramFile
from export.parity import Parity, median, worst_failure
from pockettune.errors import EngineFailed, ParityFailed
from pockettune.program import Program, TensorSpec
from tests.export import toy

aten = torch.ops.aten


def lowered(path: Path, *items: Any) -> Path:
    return lower(items, path, chunk_nodes=8).path


def test_a_right_file_passes_with_its_measured_differences(tmp_path: Path) -> None:
    first, second = toy.weights()
    items = [toy.capture_step(first, second), toy.capture_forward(second)]
    told: list[tuple[str, int, int]] = []
    result = check(
        lowered(tmp_path / "p.pte", *items),
        items,
        toy.method_export(),
        on_progress=lambda *line: told.append(line),
    )
    step = result["train_step"]
    assert set(step.gradients) == {"down", "up"}
    assert 0 < step.max_relative_error == max(step.gradients.values()) < 1e-5
    assert len(step.loss_differences) == 5
    assert max(step.loss_differences) < 1e-5
    assert step.tolerance == {"value": 1e-4, "loss": 1e-4, "gradient": 1e-4}
    assert set(step.outputs) == {"loss", "adapter", "momentum", "step"}
    forward = result["forward"]
    assert forward.tolerance == {"value": 1e-4}
    assert (forward.gradients, forward.loss_differences) == ({}, ())
    assert told[0] == ("train_step", 0, 2)
    assert told[-1] == ("", 2, 2)


def test_a_wrong_gradient_is_caught_although_the_loss_is_right(tmp_path: Path) -> None:
    item = toy.capture_step(*toy.weights(), error=1e-4)
    path = lowered(tmp_path / "p.pte", item)
    with pytest.raises(ParityFailed, match="gradient of down") as caught:
        check(path, [item], toy.method_export())
    # The graph itself is wrong here, not its lowering: no chunk differs from what it says.
    assert "no chunk is wrong alone" in str(caught.value)


def of_weight(*values: float) -> list[Parity]:
    """A program's differences in one gradient, by example."""
    limits = {"value": 1e-4, "gradient": 1e-4, "loss": 1e-4}
    return [Parity(limits, 0.0, 0.0, {"out": 0.0}, (0.0,), {"weight": value}) for value in values]


def test_what_one_example_amplifies_is_told_from_a_fault() -> None:
    """Limits are exact; in two of three examples, not finite or large in one, is a fault."""
    bearable = median(of_weight(5e-3, 1e-4, 1e-6))
    assert (bearable.gradients, bearable.examples) == ({"weight": 1e-4}, 3)
    assert worst_failure(bearable) is None
    above = math.nextafter(1e-4, 1)
    assert worst_failure(median(of_weight(5e-3, above, 1e-6))) == (
        "gradient of weight",
        above,
        1e-4,
    )
    for fault in (math.inf, math.nan, 0.02):
        for order in ((fault, 0.0, 0.0), (0.0, fault, 0.0), (0.0, 0.0, fault)):
            assert worst_failure(median(of_weight(*order))) is not None


def test_a_tolerance_that_float32_cannot_keep_is_not_stretched(tmp_path: Path) -> None:
    right = toy.capture_step(*toy.weights())
    path = lowered(tmp_path / "p.pte", right)
    with pytest.raises(ParityFailed, match="gradient of"):
        check(path, [right], toy.method_export(), Tolerances(gradient=1e-9))
    (once,) = check(path, [right], toy.method_export()).values()
    assert once.examples == 1


def test_a_closer_look_keeps_what_the_first_example_showed(tmp_path: Path) -> None:
    """Three examples of five steps, none of them run twice, and the final program's second step
    from eager's state. The very first gradient is off by a thousandth here."""
    item = toy.capture_step(*toy.weights())
    final = ProgramFile(lowered(tmp_path / "p.pte", item)).method("train_step")
    calls = {"eager": 0, "final": 0}

    def eager(*inputs: Tensor) -> Sequence[Tensor]:
        calls["eager"] += 1
        return item.program.function(*inputs)

    def amplified(*inputs: Tensor) -> Sequence[Tensor]:
        calls["final"] += 1
        loss, adapter, momentum, count = final(*inputs)
        return loss, adapter, momentum * (1.001 if calls["final"] == 1 else 1.0), count

    captured = toy.Captured(dataclasses.replace(item.program, function=eager), item.graph)
    result = compare(lambda name: amplified, lambda *_: [], [captured], toy.method_export())
    assert result["train_step"].examples == 3
    assert calls == {"eager": 15, "final": 18}


def test_a_wrong_optimizer_is_caught_although_the_gradient_is_right(tmp_path: Path) -> None:
    item = toy.capture_step(*toy.weights(), decay=0.8999)
    path = lowered(tmp_path / "p.pte", item)
    with pytest.raises(ParityFailed, match="momentum"):
        check(path, [item], toy.method_export(), Tolerances(value=1e-5))


def test_a_constant_changed_in_the_file_is_caught(tmp_path: Path) -> None:
    second = toy.weights()[1]
    item = toy.capture_forward(second)
    path = lowered(tmp_path / "p.pte", item)
    content = path.read_bytes()
    weight = second.numpy().tobytes()
    assert content.count(weight) == 1
    path.write_bytes(content.replace(weight, (second * 1.001).numpy().tobytes()))
    with pytest.raises(ParityFailed, match="forward"):
        check(path, [item], toy.method_export())


def hazard(size: int = 5) -> Any:
    """A chain with the delegate's known fault in it: one filter used both ways (test_hazards)."""
    weight = torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(0))

    def function(x: Tensor) -> tuple[Tensor, ...]:
        for _ in range(size):
            x = aten.tanh.default(x)
        y = x
        for transposed in (False, True):
            y = aten.convolution.default(
                y, weight, None, [1, 1], [1, 1], [1, 1], transposed, [0, 0], 1
            )
        for _ in range(size):
            y = aten.tanh.default(y)
        return (y,)

    def example(seed: int) -> tuple[Tensor, ...]:
        return (torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(seed)),)

    image = TensorSpec("x", "float32", (1, 4, 6, 6), "cache.x")
    program = Program("hazard", function, (image,), (image,), example)
    return toy.Captured(program, toy.trace(function, example(0)))


def test_a_delegate_that_is_wrong_is_caught_and_located(tmp_path: Path) -> None:
    item = hazard()
    path = lower([item], tmp_path / "p.pte", chunk_nodes=8).path
    with pytest.raises(ParityFailed) as caught:
        check(path, [item], SimpleNamespace(tensors={}), chunk_nodes=8)
    sentence = str(caught.value)
    assert sentence.count("aten.convolution.default [1x4x6x6]") == 2
    # Of twelve operators, the two and nothing else.
    assert "aten.tanh" not in sentence
    assert "error" in sentence


def test_a_file_that_the_runtime_cannot_read_is_said_to_be_so(tmp_path: Path) -> None:
    path = tmp_path / "p.pte"
    path.write_bytes(b"not a program" * 100)
    item = toy.capture_forward(toy.weights()[1])
    with pytest.raises(EngineFailed, match="forward"):
        check(path, [item], toy.method_export())


def test_tolerances_are_what_decides(tmp_path: Path) -> None:
    item = toy.capture_step(*toy.weights())
    path = lowered(tmp_path / "p.pte", item)
    with pytest.raises(ParityFailed, match="tolerance 1e-12"):
        check(path, [item], toy.method_export(), Tolerances(gradient=1e-12))


def test_relative_errors_are_quotients_of_norms() -> None:
    expected = torch.tensor([3.0, 4.0])
    assert parity.relative_error(torch.tensor([3.0, 4.5]), expected) == pytest.approx(0.1)
    assert parity.relative_error(torch.tensor([3.0, 4.5]), expected, 50.0) == pytest.approx(0.01)
    assert parity.relative_error(torch.zeros(2), torch.zeros(2)) == 0
    assert parity.relative_error(torch.tensor([float("nan"), 4.0]), expected) == float("inf")


def test_a_tiny_gradient_is_measured_against_the_largest() -> None:
    views = toy.method_export().tensors["adapter"].views
    size = toy.RANK * toy.INPUTS
    expected = torch.cat([torch.ones(size), torch.zeros(toy.ADAPTER - size)])
    found = expected.clone()
    found[size] = 6e-5  # A hundredth of the largest gradient, whose norm is 6, is 0.06.
    errors = dict(parity.gradient_errors(found, expected, views))
    assert errors == {"down": 0.0, "up": pytest.approx(1e-3)}


def test_the_gradient_is_read_after_a_step_from_zero() -> None:
    program = toy.step_program(*toy.weights())
    tensors = toy.method_export().tensors
    inputs = parity.first_gradient_inputs(program, tensors, program.example(0))
    zero = [not value.any() for value in inputs]
    assert zero == [False, True, True, False, False, False]
    position = parity.gradient_output(program, tensors)
    assert position is not None
    assert program.outputs[position].name == "momentum"


def test_halving_finds_one_operator_or_a_pair() -> None:
    run: list[Any] = list(range(100))

    def has(*wanted: int) -> Any:
        return lambda part: set(wanted) <= set(part)

    assert list(bisect._halve(run, has(73))) == [73]
    assert list(bisect._halve(run, has(49, 52))) == [49, 50, 51, 52]


def test_a_program_without_state_has_no_gradient() -> None:
    program = toy.capture_forward(toy.weights()[1]).program
    assert not parity.trains(program)
    assert parity.gradient_output(program, {}) is None


def test_accumulated_gradients_are_read_from_the_accumulator() -> None:
    def function(*inputs: Tensor) -> Sequence[Tensor]:
        return inputs

    names = ("moment1", "accumulator")
    specs = tuple(TensorSpec(name, "float32", (2,), f"state.{name}") for name in names)
    program = Program("step", function, specs, specs, lambda seed: ())
    roles = {"moment1": "moment", "accumulator": "accumulator"}
    tensors: Any = {name: SimpleNamespace(role=role) for name, role in roles.items()}
    assert parity.gradient_output(program, tensors) == 1
