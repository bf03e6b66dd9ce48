"""What is compared between the final program and eager PyTorch, and how far they may differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pockettune.method import TRAINED_ROLES

if TYPE_CHECKING:
    from pockettune.method import StateTensor, View
    from pockettune.program import Program, TensorSpec

__all__ = [
    "STEPS",
    "Parity",
    "Tolerances",
    "first_gradient_inputs",
    "gradient_errors",
    "gradient_output",
    "relative_error",
    "trains",
    "worst_of",
]

STEPS = 5
"""Optimizer steps that a training program is followed for."""

# A view whose gradient is a smaller share of the largest is compared with that share of it: such
# gradients are differences of near equals (attention that is nearly even), and eager float32
# is itself off by more than the tolerance there, against float64 (docs/log.md).
_SMALLEST_SHARE = 1e-2
_STATE = "state."


@dataclass(frozen=True, slots=True)
class Tolerances:
    """The largest allowed differences; each is stored in the bundle beside what was measured."""

    # |final - eager|_2 / |eager|_2 of each gradient, by named tensor.
    gradient: float = 1e-4
    # |final - eager| / max(1, |eager|) of the loss, at each of the steps.
    loss: float = 1e-4
    # |final - eager|_2 / |eager|_2 of every other output of one run.
    value: float = 1e-4


@dataclass(frozen=True, slots=True)
class Parity:
    """The differences of one program; relative errors are quotients of L2 norms.

    ``max_relative_error`` is the largest of ``gradients`` for a training program and of ``outputs``
    for others; ``max_abs_difference`` is over all elements of all outputs of one run.
    ``gradients`` is by named tensor, ``loss_differences`` by step.
    """

    tolerance: Mapping[str, float]
    max_abs_difference: float
    max_relative_error: float
    outputs: Mapping[str, float]
    loss_differences: tuple[float, ...] = ()
    gradients: Mapping[str, float] = field(default_factory=dict)


def worst_of(parities: Sequence[Parity]) -> Parity:
    """The same program in several engines: the largest of each difference."""

    def largest(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
        return {name: max(part[name] for part in parts) for name in parts[0]}

    return Parity(
        tolerance=parities[0].tolerance,
        max_abs_difference=max(parity.max_abs_difference for parity in parities),
        max_relative_error=max(parity.max_relative_error for parity in parities),
        outputs=largest([parity.outputs for parity in parities]),
        loss_differences=tuple(
            max(step) for step in zip(*(p.loss_differences for p in parities), strict=True)
        ),
        gradients=largest([parity.gradients for parity in parities]),
    )


def relative_error(found: Tensor, expected: Tensor, floor: float = 0.0) -> float:
    """|found - expected| / max(|expected|, floor) in L2; infinite where found is not finite.

    Both zero is 0; a difference from a zero tensor counts absolutely.
    """
    found, expected = found.detach().double(), expected.detach().double()
    if not bool(torch.isfinite(found).all()):
        return float("inf")
    norm = max(float(expected.norm()), floor)
    difference = float((found - expected).norm())
    return difference / norm if norm > 0 else difference


def trains(program: Program) -> bool:
    """Whether a program gives new state: it is then followed for several steps."""
    return any(spec.binding.startswith(_STATE) for spec in program.outputs)


def gradient_output(program: Program, tensors: Mapping[str, StateTensor]) -> int | None:
    """The position of the output that holds the gradient after a first step from zero moments.

    That is the accumulator where there is one, else the first moment: a multiple of the gradient,
    whose relative error is the gradient's. None when a program keeps neither.
    """
    for role in ("accumulator", "moment"):
        for position, spec in enumerate(program.outputs):
            name = spec.binding.removeprefix(_STATE)
            if spec.binding.startswith(_STATE) and tensors[name].role == role:
                return position
    return None


def first_gradient_inputs(
    program: Program, tensors: Mapping[str, StateTensor], inputs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Inputs under which moments after one step are multiples of the gradient.

    Moments, accumulators and counters are zero, nothing is clipped, no weight decays.
    """

    def value(spec: TensorSpec, given: Tensor) -> Tensor:
        kind, _, name = spec.binding.partition(".")
        if kind == "state" and tensors[name].role not in TRAINED_ROLES:
            return torch.zeros_like(given)
        if spec.binding == "hyper.max_gradient_norm":
            return torch.full_like(given, 1e30)
        if spec.binding == "hyper.weight_decay":
            return torch.zeros_like(given)
        return given

    return tuple(value(spec, given) for spec, given in zip(program.inputs, inputs, strict=True))


def gradient_errors(
    found: Tensor, expected: Tensor, views: Sequence[View]
) -> Iterator[tuple[str, float]]:
    """The relative error of each named tensor of a flat gradient."""

    def part(pack: Tensor, view: View) -> Tensor:
        size = torch.Size(view.shape).numel()
        return pack[view.offset : view.offset + size]

    largest = max((float(part(expected, view).double().norm()) for view in views), default=0.0)
    for view in views:
        error = relative_error(part(found, view), part(expected, view), _SMALLEST_SHARE * largest)
        yield view.name, error
