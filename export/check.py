"""The fourth step of an export: the final program file, run by the runtime, against PyTorch.

Every program runs on example inputs and is compared with its eager function. A program that trains
is followed for several optimizer steps, each side on its own state: its gradient is compared tensor
by tensor after the first, all outputs after the second, and the loss at each. This cannot be
switched off: the delegate can be silently wrong (``tests/export/test_hazards.py``). Where it is,
``lowering/bisect`` finds the operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from export.exact import in_float64
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
    relative_error,
    trains,
)
from pockettune.errors import ParityFailed
from pockettune.method import TRAINED_ROLES

if TYPE_CHECKING:
    from export.capture import Captured
    from pockettune.method import MethodExport, StateTensor, View
    from pockettune.program import Program

__all__ = ["Parity", "Tolerances", "check", "compare"]

_SEED = 17
# A gradient that is a difference of near equals is off by rounding in eager float32 too
# (docs/log.md). Beyond its tolerance the final program may be off this many times eager's largest.
_OF_EAGER = 4.0
Run = Callable[..., Sequence[Tensor]]


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
        parity, worst = _measure(item, parts.tensors, opened(program.name), tolerances)
        if worst is not None:
            what, difference, tolerance = worst
            operators = located(item, program.example(_SEED), tolerances.value)
            raise ParityFailed(program.name, what, difference, tolerance, operators)
        measured[program.name] = parity
        release_memory()
    report("", len(captured), len(captured))
    return measured


def _measure(
    item: Captured, tensors: Mapping[str, StateTensor], run: Run, tolerances: Tolerances
) -> tuple[Parity, tuple[str, float, float] | None]:
    """The differences of a program, and the first that is too large: name, value, tolerance."""
    program = item.program
    steps = _steps(program, tensors, run)
    # The second of several steps: its state is not zero, and its gradient is clipped.
    found, expected = steps[:2][-1]
    outputs: dict[str, float] = {}
    largest = 0.0
    for spec, one, other in zip(program.outputs, found, expected, strict=True):
        outputs[spec.name] = relative_error(one, other)
        largest = max(largest, float((one.double() - other.double()).abs().max()))
    limits = {"value": tolerances.value}
    failures = [
        (name, error, tolerances.value)
        for name, error in outputs.items()
        if not error <= tolerances.value
    ]
    gradients: dict[str, float] = {}
    losses: tuple[float, ...] = ()
    if trains(program):
        limits |= {"loss": tolerances.loss, "gradient": tolerances.gradient}
        gradients = _gradients(program, tensors, *steps[0])
        rounding: set[str] = set()
        if max(gradients.values(), default=0.0) > tolerances.gradient:
            rounding = _rounding(item, tensors, *steps[0], tolerances.gradient)
        losses = tuple(_losses(program, steps))
        failures += [
            (f"gradient of {name}", error, tolerances.gradient)
            for name, error in gradients.items()
            if not error <= tolerances.gradient and name not in rounding
        ]
        failures += [
            (f"loss of step {step}", error, tolerances.loss)
            for step, error in enumerate(losses, 1)
            if not error <= tolerances.loss
        ]
    parity = Parity(
        tolerance=limits,
        max_abs_difference=largest,
        max_relative_error=max((gradients or outputs).values()),
        outputs=outputs,
        loss_differences=losses,
        gradients=gradients,
    )
    return parity, max(failures, key=lambda failure: failure[1] / failure[2], default=None)


def _eager(program: Program, *inputs: Tensor) -> Sequence[Tensor]:
    """The program's own function; only one that trains keeps what a backward pass needs."""
    with torch.set_grad_enabled(trains(program)):
        return [value.detach() for value in program.function(*inputs)]


def _steps(
    program: Program, tensors: Mapping[str, StateTensor], run: Run
) -> list[tuple[Sequence[Tensor], Sequence[Tensor]]]:
    """Outputs of the final program and of eager, step by step, each going on from its own state.

    The first step of a program that trains is taken so that it shows the gradient
    (``first_gradient_inputs``). Any other program is run once.
    """
    sides: tuple[Run, Run] = (run, partial(_eager, program))
    states: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    results: list[tuple[Sequence[Tensor], Sequence[Tensor]]] = []
    for step in range(STEPS if trains(program) else 1):
        example = program.example(_SEED + step)
        if step == 0 and trains(program):
            example = first_gradient_inputs(program, tensors, example)
        outputs: list[Sequence[Tensor]] = []
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
    return results


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


def _rounding(
    item: Captured,
    tensors: Mapping[str, StateTensor],
    found: Sequence[Tensor],
    expected: Sequence[Tensor],
    tolerance: float,
) -> set[str]:
    """Names of the gradients whose difference is rounding.

    Against the graph in float64 the final program is then off by no more than a few times what
    eager float32 itself is off at most, and eager by less than the tolerance: it agrees with the
    graph. What eager is off in one gradient is a single draw; its largest is the size of rounding.
    """
    program = item.program
    inputs = first_gradient_inputs(program, tensors, program.example(_SEED))
    exact = in_float64(item.graph, inputs)
    final, eager = (_gradients(program, tensors, side, exact) for side in (found, expected))
    largest = max(eager.values())
    if not largest <= tolerance:
        return set()
    return {name for name, error in final.items() if error <= _OF_EAGER * largest}


def _views(tensors: Mapping[str, StateTensor], shape: tuple[int, ...]) -> Sequence[View]:
    """The named tensors of what is trained, whose layout gradients and moments share."""
    packs = (tensor for tensor in tensors.values() if tensor.role in TRAINED_ROLES)
    return next((pack.views for pack in packs if pack.shape == shape), ())


def _losses(
    program: Program, steps: Sequence[tuple[Sequence[Tensor], Sequence[Tensor]]]
) -> Iterator[float]:
    """Differences of the loss, by step."""
    for position, spec in enumerate(program.outputs):
        if spec.binding == "loss":
            for found, expected in steps:
                final, eager = float(found[position]), float(expected[position])
                difference = abs(final - eager) / max(1.0, abs(eager))
                yield difference if difference == difference else float("inf")
