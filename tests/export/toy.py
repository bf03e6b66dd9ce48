"""A training step and a forward pass small enough to read, captured by hand.

The net is ``o = W2 silu(W1 x + B A x)`` with frozen ``W1``, ``W2`` and the adapter ``A``, ``B``;
the loss is the mean square of ``o - y``; the optimizer is SGD with momentum on one flat vector.
``step_function`` is plain eager PyTorch with autograd. ``capture_step`` writes the same step in
the operators that capture's contract allows, gradients by hand, so neither knows of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from pockettune.program import Program, TensorSpec

BATCH, INPUTS, HIDDEN, RANK = 4, 12, 16, 3
ADAPTER = RANK * INPUTS + HIDDEN * RANK
aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Captured:
    """What export/capture.py hands over, as far as lowering reads it."""

    program: Program
    graph: fx.GraphModule


def weights(seed: int = 0) -> tuple[Tensor, Tensor]:
    """The frozen weights, float32 ``[HIDDEN, INPUTS]`` and ``[INPUTS, HIDDEN]``."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(HIDDEN, INPUTS, generator=generator) * 0.3
    return first, torch.randn(INPUTS, HIDDEN, generator=generator) * 0.3


def trace(function: Callable[..., Any], arguments: Sequence[Tensor]) -> fx.GraphModule:
    """A graph of exactly the operators that ``function`` calls, shapes in ``meta["val"]``."""
    make = make_fx(function, tracing_mode="fake", pre_dispatch=True, _allow_non_fake_inputs=True)
    module = make(*arguments)
    for node in module.graph.nodes:
        if node.op == "get_attr":
            node.meta["val"] = getattr(module, node.target).to("meta")
    return module


def step_function(first: Tensor, second: Tensor) -> Callable[..., tuple[Tensor, ...]]:
    """(adapter, momentum, step, x, y, rate) -> (loss, adapter, momentum, step), eagerly."""

    def step(
        adapter: Tensor, momentum: Tensor, count: Tensor, x: Tensor, y: Tensor, rate: Tensor
    ) -> tuple[Tensor, ...]:
        flat = adapter.detach().clone().requires_grad_()
        down = flat[: RANK * INPUTS].view(RANK, INPUTS)
        up = flat[RANK * INPUTS :].view(HIDDEN, RANK)
        hidden = torch.nn.functional.silu(x @ first.T + x @ down.T @ up.T)
        loss = (hidden @ second.T - y).square().mean().view(1)
        (gradient,) = torch.autograd.grad(loss, flat)
        momentum = 0.9 * momentum + 0.1 * gradient
        return loss.detach(), adapter - rate * momentum, momentum, count + 1

    return step


def example(seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    adapter = torch.randn(ADAPTER, generator=generator) * 0.2
    momentum = torch.randn(ADAPTER, generator=generator) * 0.01
    x = torch.randn(BATCH, INPUTS, generator=generator)
    y = torch.randn(BATCH, INPUTS, generator=generator)
    return adapter, momentum, torch.tensor([3]), x, y, torch.tensor([0.1])


def step_program(first: Tensor, second: Tensor) -> Program:
    state = [
        TensorSpec("adapter", "float32", (ADAPTER,), "state.adapter"),
        TensorSpec("momentum", "float32", (ADAPTER,), "state.momentum"),
        TensorSpec("step", "int64", (1,), "state.step"),
    ]
    return Program(
        name="train_step",
        function=step_function(first, second),
        inputs=(
            *state,
            TensorSpec("x", "float32", (BATCH, INPUTS), "cache.x"),
            TensorSpec("y", "float32", (BATCH, INPUTS), "cache.y"),
            TensorSpec("rate", "float32", (1,), "hyper.learning_rate"),
        ),
        outputs=(TensorSpec("loss", "float32", (1,), "loss"), *state),
        example=example,
    )


def capture_step(
    first: Tensor, second: Tensor, *, error: float = 0.0, decay: float = 0.9
) -> Captured:
    """The step as a captured graph; ``error`` is added to one gradient, to have a wrong graph, and
    with another ``decay`` the momentum is wrong."""
    constants = {
        "one": torch.ones(1),
        "decay": torch.full((1,), decay),
        "rest": torch.full((1,), 0.1),
        "scale": torch.full((1,), 2.0 / (BATCH * INPUTS)),
        "mean": torch.full((1, BATCH * INPUTS), 1.0 / (BATCH * INPUTS)),
        "wrong": torch.full((1,), error),
        "count": torch.ones(1, dtype=torch.int64),
    }

    def graph(
        adapter: Tensor, momentum: Tensor, count: Tensor, x: Tensor, y: Tensor, rate: Tensor
    ) -> tuple[Tensor, ...]:
        linear, turn = aten.linear.default, lambda value: aten.permute.default(value, [1, 0])
        down = aten.reshape.default(aten.slice.Tensor(adapter, 0, 0, RANK * INPUTS), [RANK, INPUTS])
        up = aten.reshape.default(
            aten.slice.Tensor(adapter, 0, RANK * INPUTS, ADAPTER), [HIDDEN, RANK]
        )
        low = linear(x, down)
        before = aten.add.Tensor(linear(x, first), linear(low, up))
        gate = aten.sigmoid.default(before)
        difference = aten.sub.Tensor(linear(aten.mul.Tensor(before, gate), second), y)
        square = aten.reshape.default(aten.mul.Tensor(difference, difference), [1, -1])
        loss = aten.reshape.default(linear(square, constants["mean"]), [1])
        outer = linear(aten.mul.Tensor(difference, constants["scale"]), turn(second))
        # silu'(z) = s + z s (1 - s)
        slope = aten.add.Tensor(
            gate,
            aten.mul.Tensor(aten.mul.Tensor(before, gate), aten.sub.Tensor(constants["one"], gate)),
        )
        inner = aten.mul.Tensor(outer, slope)
        grad_up = linear(turn(inner), turn(low))
        grad_down = linear(turn(linear(inner, turn(up))), turn(x))
        if error:
            grad_down = aten.add.Tensor(grad_down, constants["wrong"])
        gradient = aten.cat.default(
            [aten.reshape.default(grad_down, [-1]), aten.reshape.default(grad_up, [-1])]
        )
        momentum = aten.add.Tensor(
            aten.mul.Tensor(momentum, constants["decay"]),
            aten.mul.Tensor(gradient, constants["rest"]),
        )
        adapter = aten.sub.Tensor(adapter, aten.mul.Tensor(momentum, rate))
        return loss, adapter, momentum, aten.add.Tensor(count, constants["count"])

    return Captured(step_program(first, second), trace(graph, example(0)))


def capture_forward(second: Tensor) -> Captured:
    """A second program, ``h -> W2 h``, that shares a frozen weight with the step."""

    def function(hidden: Tensor) -> tuple[Tensor, ...]:
        return (aten.linear.default(hidden, second),)

    def inputs(seed: int) -> tuple[Tensor, ...]:
        return (torch.randn(BATCH, HIDDEN, generator=torch.Generator().manual_seed(seed)),)

    program = Program(
        name="forward",
        function=function,
        inputs=(TensorSpec("hidden", "float32", (BATCH, HIDDEN), "cache.hidden"),),
        outputs=(TensorSpec("o", "float32", (BATCH, INPUTS), "cache.o"),),
        example=inputs,
    )
    return Captured(program, trace(function, inputs(0)))


def method_export() -> Any:
    """The part of a method's export that the check reads: roles and views of the state."""
    views = (
        SimpleNamespace(name="down", shape=(RANK, INPUTS), offset=0),
        SimpleNamespace(name="up", shape=(HIDDEN, RANK), offset=RANK * INPUTS),
    )
    shape = (ADAPTER,)
    return SimpleNamespace(
        tensors={
            "adapter": SimpleNamespace(dtype="float32", shape=shape, role="adapter", views=views),
            "momentum": SimpleNamespace(dtype="float32", shape=shape, role="moment", views=()),
            "step": SimpleNamespace(dtype="int64", shape=(1,), role="counter", views=()),
        }
    )
