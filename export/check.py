"""The fourth step of an export: the final program file, run by the runtime, against PyTorch.

Every program runs on example inputs and is compared with its eager function. A program that trains
is followed for several optimizer steps, each side on its own state: its gradient is compared tensor
by tensor after the first, all outputs after the second, and the loss at each. This cannot be
switched off: the delegate can be silently wrong (``tests/export/test_hazards.py``). Where it is,
``lowering/bisect`` finds the operators.

A net amplifies what float32 rounds, on some inputs beyond any tolerance, in eager PyTorch as well
(docs/log.md). Where a difference is too large, the median over three examples counts, and both
sides take the second step from eager's state: a fault is in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from export.lower import CHUNK_NODES
from export.lowering.bisect import first_wrong
from export.lowering.runtime import ProgramFile
from export.memory import release_memory
from export.parity import (
    STEPS,
    Parity,
    Tolerances,
    first_gradient_inputs,
    gradient_errors,
    gradient_output,
    median,
    relative_error,
    trains,
    worst_failure,
)
from pockettune.errors import ParityFailed
from pockettune.method import TRAINED_ROLES

if TYPE_CHECKING:
    from export.capture import Captured
    from pockettune.method import MethodExport, StateTensor, View
    from pockettune.program import Program

__all__ = ["Parity", "Tolerances", "check", "compare"]

_SEED = 17
# Of a difference that is too large on the first of them.
_EXAMPLES = 3
Run = Callable[..., Sequence[Tensor]]
# Outputs of the final program and of eager.
Pair = tuple[Sequence[Tensor], Sequence[Tensor]]


def check(
    path: Path,
    captured: Sequence[Captured],
    parts: MethodExport,
    tolerances: Tolerances | None = None,
    *,
    chunk_nodes: int = CHUNK_NODES,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Parity]:
    """Compare each program of the file at ``path`` with its eager function.

    ``chunk_nodes`` is what the file was lowered with; it matters for finding a fault only. Returns
    the measured differences by program.

    Raises:
        ParityFailed: a difference is above its tolerance; names the smallest run of operators that
            is already wrong when lowered alone.
        EngineFailed: the runtime cannot load or run a program.
    """
    return compare(
        ProgramFile(path).method,
        partial(first_wrong, chunk_nodes=chunk_nodes),
        captured,
        parts,
        tolerances,
        on_progress=on_progress,
    )


def compare(
    opened: Callable[[str], Run],
    located: Callable[[Captured, Sequence[Tensor], float], Sequence[str]],
    captured: Sequence[Captured],
    parts: MethodExport,
    tolerances: Tolerances | None = None,
    *,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Parity]:
    """``check`` for any runtime: ``opened`` gives a final program by its name; ``located`` takes a
    wrong one, inputs and the tolerance of a value, and names the first wrong operators."""
    tolerances = tolerances or Tolerances()
    report = on_progress or (lambda _name, _done, _total: None)
    measured: dict[str, Parity] = {}
    for index, item in enumerate(captured):
        program = item.program
        report(program.name, index, len(captured))
        # No name for the method: its memory, and with it the workspace that all methods share, is
        # to be free before the next one is loaded.
        parity = _measure(item, parts.tensors, opened(program.name), tolerances)
        if (failure := worst_failure(parity)) is not None:
            what, difference, tolerance = failure
            operators = located(item, program.example(_SEED), tolerances.value)
            raise ParityFailed(program.name, what, difference, tolerance, operators)
        measured[program.name] = parity
        release_memory()
    report("", len(captured), len(captured))
    return measured


@dataclass(frozen=True, slots=True)
class _Followed:
    """The differences of one example, and eager's inputs and outputs at the step whose outputs are
    compared: the second of a program that trains."""

    parity: Parity
    inputs: Sequence[Tensor]
    expected: Sequence[Tensor]


def _measure(
    item: Captured, tensors: Mapping[str, StateTensor], run: Run, tolerances: Tolerances
) -> Parity:
    """The differences of a program; a closer look where the first example shows a failure."""
    program = item.program
    first = _follow(program, tensors, run, _SEED, tolerances)
    if worst_failure(first.parity) is None:
        return first.parity
    closer = [_from_eagers_state(program, first, run)]
    for example in range(1, _EXAMPLES):
        more = _follow(program, tensors, run, _SEED + STEPS * example, tolerances)
        closer.append(_from_eagers_state(program, more, run))
    return median(closer)


def _from_eagers_state(program: Program, followed: _Followed, run: Run) -> Parity:
    """The differences with the second step taken from eager's state on both sides: an optimizer
    that divides a gradient by its size turns what is rounded in the smallest into whole steps, and
    the states differ by these. Of a program that does not train they are what they were."""
    if not trains(program):
        return followed.parity
    outputs, largest = _outputs(program, run(*followed.inputs), followed.expected)
    return replace(
        followed.parity,
        max_abs_difference=largest,
        max_relative_error=max((followed.parity.gradients or outputs).values()),
        outputs=outputs,
    )


def _follow(
    program: Program,
    tensors: Mapping[str, StateTensor],
    run: Run,
    seed: int,
    tolerances: Tolerances,
) -> _Followed:
    """What is compared of the steps of one example, each side going on from its own state
    (``_steps``)."""
    steps, inputs = _steps(program, tensors, run, seed)
    # The second step's state is not zero, and its gradient is clipped.
    found, expected = steps[min(1, len(steps) - 1)]
    outputs, largest = _outputs(program, found, expected)
    limits = {"value": tolerances.value}
    gradients: dict[str, float] = {}
    losses: tuple[float, ...] = ()
    if trains(program):
        limits |= {"loss": tolerances.loss, "gradient": tolerances.gradient}
        gradients = _gradients(program, tensors, *steps[0])
        losses = tuple(_losses(program, steps))
    parity = Parity(
        tolerance=limits,
        max_abs_difference=largest,
        max_relative_error=max((gradients or outputs).values()),
        outputs=outputs,
        loss_differences=losses,
        gradients=gradients,
    )
    return _Followed(parity, inputs, expected)


def _outputs(
    program: Program, found: Sequence[Tensor], expected: Sequence[Tensor]
) -> tuple[dict[str, float], float]:
    """The relative error of each output by name, and the largest difference of any element."""
    errors: dict[str, float] = {}
    largest = 0.0
    for spec, one, other in zip(program.outputs, found, expected, strict=True):
        errors[spec.name] = relative_error(one, other)
        largest = max(largest, float((one.double() - other.double()).abs().max()))
    return errors, largest


def _eager(program: Program, *inputs: Tensor) -> Sequence[Tensor]:
    """The program's own function; only one that trains keeps what a backward pass needs."""
    with torch.set_grad_enabled(trains(program)):
        return [value.detach() for value in program.function(*inputs)]


def _steps(
    program: Program, tensors: Mapping[str, StateTensor], run: Run, seed: int
) -> tuple[list[Pair], Sequence[Tensor]]:
    """Outputs of the final program and of eager, step by step, each going on from its own state;
    and eager's inputs at the second step.

    The first step of a program that trains is taken so that it shows the gradient
    (``first_gradient_inputs``). Any other program is run once. Examples of the steps are those of
    ``seed`` and after it.
    """
    sides: tuple[Run, Run] = (run, partial(_eager, program))
    states: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    results: list[Pair] = []
    second: Sequence[Tensor] = ()
    for step in range(STEPS if trains(program) else 1):
        example = program.example(seed + step)
        if step == 0 and trains(program):
            example = first_gradient_inputs(program, tensors, example)
        outputs: list[Sequence[Tensor]] = []
        inputs: list[Tensor] = []
        for state, function in zip(states, sides, strict=True):
            inputs = [
                state.get(spec.binding, given)
                for spec, given in zip(program.inputs, example, strict=True)
            ]
            outputs.append(function(*inputs))
            state.update(
                (spec.binding, value.clone())
                for spec, value in zip(program.outputs, outputs[-1], strict=True)
                if spec.binding.startswith("state.")
            )
        found, expected = outputs
        results.append((found, expected))
        if step == 1:
            second = inputs
    return results, second


def _gradients(
    program: Program,
    tensors: Mapping[str, StateTensor],
    found: Sequence[Tensor],
    expected: Sequence[Tensor],
) -> dict[str, float]:
    """The errors of the gradient by named tensor, from the outputs of a first step."""
    position = gradient_output(program, tensors)
    if position is None:
        return {}
    views = _views(tensors, tuple(expected[position].shape))
    return dict(gradient_errors(found[position], expected[position], views))


def _views(tensors: Mapping[str, StateTensor], shape: tuple[int, ...]) -> Sequence[View]:
    """The named tensors of what is trained, whose layout gradients and moments share."""
    packs = (tensor for tensor in tensors.values() if tensor.role in TRAINED_ROLES)
    return next((pack.views for pack in packs if pack.shape == shape), ())


def _losses(program: Program, steps: Sequence[Pair]) -> Iterator[float]:
    """Differences of the loss, by step."""
    for position, spec in enumerate(program.outputs):
        if spec.binding == "loss":
            for found, expected in steps:
                final, eager = float(found[position]), float(expected[position])
                difference = abs(final - eager) / max(1.0, abs(eager))
                yield difference if difference == difference else float("inf")
