"""Updates of flat vectors against torch.optim, over several steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pockettune.optimizer import Hyper, Optimizer, OptimizerState

SIZE = 40
STEPS = 6


def hyper(rate: float = 1e-2, decay: float = 0.1, bound: float = 1e30, warmup: float = 0) -> Hyper:
    return Hyper(*(torch.tensor([value]) for value in (rate, decay, bound, warmup)))


def first_state(optimizer: Optimizer, parameters: Tensor) -> OptimizerState:
    rest = [
        torch.zeros(1, dtype=torch.int64) if name == "step" else torch.zeros(SIZE)
        for name in optimizer.names()
    ]
    return optimizer.state(parameters, *rest)


def gradients(count: int = STEPS, scale: float = 1.0) -> list[Tensor]:
    """Of very different sizes, one element always zero: where epsilon and clipping matter."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.logspace(-9, 1, SIZE) * (torch.arange(SIZE) > 0)
    return [torch.randn(SIZE, generator=generator) * sizes * scale for _ in range(count)]


def reference(kind: str, parameter: Tensor, rate: float = 1e-2) -> torch.optim.Optimizer:
    if kind == "adamw":
        return torch.optim.AdamW([parameter], lr=rate, weight_decay=0.1, eps=1e-8)
    return torch.optim.SGD([parameter], lr=rate, weight_decay=0.1, momentum=0.9)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("bound", [1e30, 1.0])
def test_updates_are_those_of_torch(kind: str, bound: float) -> None:
    start = torch.randn(SIZE, generator=torch.Generator().manual_seed(1))
    optimizer = Optimizer(kind)
    state = first_state(optimizer, start)
    parameter = torch.nn.Parameter(start.clone())
    other = reference(kind, parameter)
    for gradient in gradients():
        state, norm = optimizer.update(state, gradient, hyper(bound=bound))
        parameter.grad = gradient.clone()
        expected = torch.nn.utils.clip_grad_norm_([parameter], bound)
        torch.testing.assert_close(norm, expected.reshape(1), rtol=1e-6, atol=0)
        other.step()
        torch.testing.assert_close(state.parameters, parameter.detach(), rtol=2e-6, atol=1e-7)
    assert state.step.tolist() == [STEPS]
    assert not torch.equal(state.parameters, start)


def test_epsilon_survives_in_the_first_steps() -> None:
    """With gradient 1e-8 the first move is rate * 1e-8 / (1e-8 + epsilon), half of the rate."""
    optimizer = Optimizer("adamw")
    state = first_state(optimizer, torch.zeros(SIZE))
    state, _ = optimizer.update(state, torch.full((SIZE,), 1e-8), hyper(rate=1.0, decay=0.0))
    torch.testing.assert_close(state.parameters, torch.full((SIZE,), -0.5), rtol=1e-4, atol=0)


def test_bias_correction_keeps_its_digits() -> None:
    """1 - 0.999^t in float64; the plain difference in float32 is off by 5e-5 at t = 1."""
    optimizer = Optimizer("adamw")
    for step in (0, 1, 10, 1000, 100_000):
        state = OptimizerState(
            torch.zeros(1), torch.zeros(1), torch.ones(1), None, torch.tensor([step])
        )
        state, _ = optimizer.update(state, torch.ones(1), hyper(rate=1.0, decay=0.0))
        spread = math.sqrt(1.0 / (1.0 - 0.999 ** (step + 1)))
        expected = -0.1 / (1.0 - 0.9 ** (step + 1)) / spread
        assert state.parameters.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_accumulation_applies_the_sum_at_each_kth_call(kind: str) -> None:
    k = 3
    start = torch.randn(SIZE, generator=torch.Generator().manual_seed(2))
    optimizer, plain = Optimizer(kind, accumulation=k), Optimizer(kind)
    state, expected = first_state(optimizer, start), first_state(plain, start)
    drawn = gradients(3 * k)
    for call, gradient in enumerate(drawn, 1):
        before = state
        state, _ = optimizer.update(state, gradient, hyper(bound=1.0))
        if call % k:
            assert torch.equal(state.parameters, before.parameters)
            assert torch.equal(state.moment1, before.moment1)
            continue
        total = drawn[call - 3] + drawn[call - 2] + drawn[call - 1]
        expected, _ = plain.update(expected, total, hyper(bound=1.0))
        assert torch.equal(state.parameters, expected.parameters)
        assert torch.equal(state.moment1, expected.moment1)
        assert state.accumulator is not None
        assert not state.accumulator.any()
    assert state.step.tolist() == [3 * k]
    assert all(torch.isfinite(tensor).all() for tensor in state.tensors())


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("warmup", [0, 4])
def test_the_rate_follows_its_schedule(cosine: bool, warmup: int) -> None:
    """SGD with one gradient of 1 from a fresh state moves by exactly the rate."""
    total = 20
    optimizer = Optimizer("sgd", cosine=cosine, total_updates=total)

    def expected(update: int) -> float:
        rise = min(1.0, (update + 1) / max(1, warmup))
        progress = min(1.0, max(0.0, (update - warmup) / (total - warmup)))
        return rise * (0.5 * (1 + math.cos(math.pi * progress)) if cosine else 1.0)

    for update in range(total + 2):
        state = OptimizerState(torch.zeros(1), torch.zeros(1), None, None, torch.tensor([update]))
        state, _ = optimizer.update(state, torch.ones(1), hyper(rate=1.0, decay=0.0, warmup=warmup))
        assert -state.parameters.item() == pytest.approx(expected(update), abs=1e-6)
